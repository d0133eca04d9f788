"""Random molecules as graphs: neutral, closed shell, by the rules of valence and without what falls apart.

A graph begins with a ring, an atom or a small molecule and grows by groups, atoms, rings, multiple bonds and
ring closures until it has about as many atoms as were drawn for it.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Set

from numpy.random import Generator
from rdkit import Chem

from ..model.elements import SYMBOLS
from .draws import one_of, weighted
from .fragments import ATOMS, GROUPS, RINGS, SMALL

MOST_STEPS = 60
"""Additions that a graph may take."""
PLACES = {"C": 1.0, "N": 0.7, "O": 0.3, "S": 0.3}
"""How readily an element of the graph takes another piece in place of a hydrogen."""
ACTIONS = {"group": 0.42, "atom": 0.25, "ring": 0.14, "multiple": 0.11, "closure": 0.08}

FORBIDDEN = tuple(
    Chem.MolFromSmarts(pattern)
    for pattern in (
        "[O,S;!a]-[O;!a]-[O,S,N;!a]",  # chains of oxygen
        "[N,O,S;!a;+0]-[N;!a;+0]-[N,O,S;!a;+0]",  # chains of hetero atoms
        "[N,O;!a;+0]-[N;!a;+0]-[O;!a;+0]",
        "[O,S;!a]-[S;X2;!a]-[O,S,N;!a]",
        "[N,O;!a]-[F,Cl,Br,I]",
        "[P,B,Si;!a]-[P,B;!a]-[P,B,Si;!a]",
        "[OX2H]-[CX4]-[OX2H,NX3H2,SX2H]",  # they lose water
        "[OX2H]-[CX4]-[F,Cl,Br,I]",
        "[NX3;H1,H2;!$(N-*=[O,N,S])]-[CX4]-[F,Cl,Br,I]",
        "[OX2H]-[CX3;!a]=[CX3;!a]-[OX2H]",
        "[r3,r4,r5,r6,r7]#[*]",  # multiple bonds that a ring cannot hold
        "[*]=[*;r3,r4,r5,r6,r7,r8;!S;!P;D2]=[*]",
        "[r3,r4]=[*]-;@[r3,r4]=[*;r4]",  # cyclobutadienes
        "C1=CO1",  # more than 8 pi electrons in three atoms
        "C1=CN1",
        "C1=CS1",
        "[OX2H]-[C,N]#*",
        "[a;r3]",  # bridges over an aromatic ring
        "a1:a:a-*-1",
        "a1:a:a-*-*-1",
        "a1:a:a:a-*-1",
        "a1:a:a:a-*-*-1",
    )
)


class GraphSource:
    """Draws graphs of given elements (atomic numbers)."""

    def __init__(self, elements: Set[int]) -> None:
        self.elements = elements
        self.rings, self.groups = self._allowed(RINGS), self._allowed(GROUPS)
        self.small = self._allowed(SMALL)
        self.atoms = {name: weight for name, weight in ATOMS.items() if SYMBOLS.index(name) in elements}

    def _allowed(self, pieces: Mapping[str, float]) -> dict[str, float]:
        return {piece: weight for piece, weight in pieces.items() if elements_of(piece) <= self.elements}

    def draw(self, rng: Generator, least: int, most: int) -> Chem.Mol | None:
        """A graph of ``least`` to ``most`` atoms, hydrogens included but implicit; None: that try failed."""
        goal = least + int((most - least + 1) * rng.random() ** 0.7)  # the larger ones are more various
        molecule = self._begin(rng, goal)
        for _ in range(MOST_STEPS):
            if n_atoms(molecule) >= goal - 1:
                break
            grown = self._grown(rng, molecule)
            if grown is not None and n_atoms(grown) <= min(goal + 2, most):
                molecule = grown
        return molecule if least <= n_atoms(molecule) <= most and is_acceptable(molecule) else None

    def draw_small(self, rng: Generator, most: int) -> Chem.Mol | None:
        """One of the common small molecules; None: it has more than ``most`` atoms."""
        if not self.small:
            return None
        molecule = _parsed(weighted(rng, self.small))
        return molecule if n_atoms(molecule) <= most else None

    def _begin(self, rng: Generator, goal: int) -> Chem.Mol:
        if self.rings and goal >= 9 and rng.random() < 0.55:
            ring = _parsed(weighted(rng, self.rings))
            if n_atoms(ring) <= goal - 3:
                return ring
        hydride = weighted(rng, {**self.atoms, "C": 3 * self.atoms["C"]} if "C" in self.atoms else self.atoms)
        return Chem.MolFromSmiles(f"[{hydride}H{_HYDROGENS[hydride]}]")

    def _grown(self, rng: Generator, molecule: Chem.Mol) -> Chem.Mol | None:
        """The graph after one change, or None where it is not possible."""
        action = weighted(rng, ACTIONS)
        if action == "multiple":
            return _with_multiple_bond(rng, molecule)
        if action == "closure":
            return _with_closed_ring(rng, molecule)
        if action == "atom" and self.atoms:
            name = weighted(rng, self.atoms)
            return _joined(rng, molecule, Chem.MolFromSmiles(f"*[{name}H{_HYDROGENS[name] - 1}]"))
        if action == "ring" and self.rings:
            return _joined(rng, molecule, _parsed(weighted(rng, self.rings)))
        return _joined(rng, molecule, _parsed(weighted(rng, self.groups))) if self.groups else None


_HYDROGENS = {"B": 3, "C": 4, "N": 3, "O": 2, "Si": 4, "P": 3, "S": 2}


@functools.cache
def _parsed(smiles: str) -> Chem.Mol:
    return Chem.MolFromSmiles(smiles, _as_drawn())


def _as_drawn() -> Chem.SmilesParserParams:
    params = Chem.SmilesParserParams()
    params.removeHs = False  # [H][H] stays a molecule of two atoms
    return params


@functools.cache
def elements_of(smiles: str) -> frozenset[int]:
    """Atomic numbers of a piece, hydrogens included."""
    molecule = _parsed(smiles)
    heavy = {atom.GetAtomicNum() for atom in molecule.GetAtoms()} - {0}
    return frozenset(heavy | ({1} if any(atom.GetTotalNumHs() for atom in molecule.GetAtoms()) else set()))


def n_atoms(molecule: Chem.Mol) -> int:
    """Atoms with their implicit hydrogens."""
    return int(sum(1 + atom.GetTotalNumHs() for atom in molecule.GetAtoms() if atom.GetAtomicNum()))


def is_acceptable(molecule: Chem.Mol) -> bool:
    """Whether a sanitized graph is neutral, without unpaired electrons and free of forbidden patterns."""
    atoms = molecule.GetAtoms()
    if any(atom.GetNumRadicalElectrons() for atom in atoms) or Chem.GetFormalCharge(molecule):
        return False
    return not any(molecule.HasSubstructMatch(pattern) for pattern in FORBIDDEN) and not _breaks_bredt(
        molecule
    )


def _breaks_bredt(molecule: Chem.Mol) -> bool:
    """Whether an atom where small bridged rings meet has a double or aromatic bond."""
    rings = [set(ring) for ring in molecule.GetRingInfo().AtomRings() if len(ring) < 9]
    for number, one in enumerate(rings):
        for other in rings[:number]:
            shared = one & other
            if len(shared) > 2 and any(
                _is_flat_end(molecule.GetAtomWithIdx(i), shared, one | other) for i in shared
            ):
                return True
    return False


def _is_flat_end(atom: Chem.Atom, shared: set[int], both: set[int]) -> bool:
    """Whether an atom of the bridge is one of its ends, and planar."""
    is_end = any(neighbour.GetIdx() in both - shared for neighbour in atom.GetNeighbors())
    return is_end and any(
        bond.GetIsAromatic() or bond.GetBondType() == Chem.BondType.DOUBLE for bond in atom.GetBonds()
    )


def canonical(molecule: Chem.Mol) -> str:
    """Canonical SMILES without stereochemistry: the name of a graph."""
    return str(Chem.MolToSmiles(Chem.RemoveHs(molecule, sanitize=False), isomericSmiles=False))


def _open_places(molecule: Chem.Mol) -> list[Chem.Atom]:
    return [atom for atom in molecule.GetAtoms() if atom.GetAtomicNum() > 1 and atom.GetTotalNumHs() > 0]


def _lose_hydrogens(atom: Chem.Atom, count: int) -> None:
    """Make room for ``count`` bonds at an atom whose hydrogens are written out."""
    atom.SetNumExplicitHs(max(atom.GetNumExplicitHs() - count, 0))


def _joined(rng: Generator, molecule: Chem.Mol, piece: Chem.Mol) -> Chem.Mol | None:
    """``piece`` in place of a hydrogen."""
    weights = {a.GetIdx(): PLACES.get(a.GetSymbol(), 0.5) for a in _open_places(molecule)}
    stars = [atom for atom in piece.GetAtoms() if atom.GetAtomicNum() == 0]
    ends = [stars[0].GetNeighbors()[0]] if stars else _open_places(piece)
    if not weights or not ends:
        return None
    place, end = weighted(rng, weights), one_of(rng, ends).GetIdx() + molecule.GetNumAtoms()
    grown = Chem.RWMol(Chem.CombineMols(molecule, piece))
    _lose_hydrogens(grown.GetAtomWithIdx(place), 1)
    if not stars:
        _lose_hydrogens(grown.GetAtomWithIdx(end), 1)
    grown.AddBond(place, end, Chem.BondType.SINGLE)
    if stars:
        grown.RemoveAtom(stars[0].GetIdx() + molecule.GetNumAtoms())
    return _sanitized(grown)


def _with_multiple_bond(rng: Generator, molecule: Chem.Mol) -> Chem.Mol | None:
    """A double (or triple) bond between two neighbours of the second period."""
    able = {"C", "N", "O"}
    bonds = [
        bond
        for bond in molecule.GetBonds()
        if bond.GetBondType() == Chem.BondType.SINGLE
        and {bond.GetBeginAtom().GetSymbol(), bond.GetEndAtom().GetSymbol()} <= able
        and min(bond.GetBeginAtom().GetTotalNumHs(), bond.GetEndAtom().GetTotalNumHs()) >= 1
    ]
    if not bonds:
        return None
    bond = one_of(rng, bonds)
    room = min(bond.GetBeginAtom().GetTotalNumHs(), bond.GetEndAtom().GetTotalNumHs())
    more = 2 if room >= 2 and not bond.IsInRing() and rng.random() < 0.3 else 1
    grown = Chem.RWMol(molecule)
    changed = grown.GetBondWithIdx(bond.GetIdx())
    changed.SetBondType(Chem.BondType.TRIPLE if more == 2 else Chem.BondType.DOUBLE)
    for atom in (changed.GetBeginAtom(), changed.GetEndAtom()):
        _lose_hydrogens(atom, more)
    return _sanitized(grown)


def _with_closed_ring(rng: Generator, molecule: Chem.Mol) -> Chem.Mol | None:
    """A bond between two atoms that are 2 to 6 bonds apart."""
    places = [atom.GetIdx() for atom in _open_places(molecule)]
    steps = Chem.GetDistanceMatrix(molecule)
    pairs = [(i, j) for i in places for j in places if i < j and 2 <= steps[i, j] <= 6]
    if not pairs:
        return None
    first, last = one_of(rng, pairs)
    if steps[first, last] < 4 and rng.random() < 0.7:  # small rings are the rarer ones
        return None
    grown = Chem.RWMol(molecule)
    for index in (first, last):
        _lose_hydrogens(grown.GetAtomWithIdx(index), 1)
    grown.AddBond(first, last, Chem.BondType.SINGLE)
    return _sanitized(grown)


def _sanitized(grown: Chem.RWMol) -> Chem.Mol | None:
    molecule = grown.GetMol()
    failed = Chem.SanitizeMol(molecule, catchErrors=True) != Chem.SanitizeFlags.SANITIZE_NONE
    return None if failed else molecule
