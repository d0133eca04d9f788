"""Ways from a molecule to an isomer: hydrogen and bonds that move, and where the atoms are in between."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from rdkit import Chem
from scipy.optimize import minimize
from scipy.spatial.distance import pdist

from .conformers import ForceField
from .draws import one_of
from .geometry import Floats, aligned
from .graphs import is_acceptable


@dataclass(frozen=True)
class Change:
    """Bonds that a reaction makes, breaks or turns into others, in the atoms that a pattern finds."""

    name: str
    pattern: Chem.Mol
    bonds: tuple[tuple[int, int, int], ...]
    """First and second atom of the pattern, and the order of the bond afterwards; 0: broken."""


def _change(name: str, smarts: str, *bonds: tuple[int, int, int]) -> Change:
    return Change(name, Chem.MolFromSmarts(smarts), bonds)


CHANGES = (
    _change(
        "hydrogen moves along a double bond",
        "[H][*;+0]-[*]=[*;+0]",
        (0, 1, 0),
        (1, 2, 2),
        (2, 3, 1),
        (0, 3, 1),
    ),
    _change(
        "hydrogen moves along two double bonds",
        "[H][*;+0]-[*]=[*]-[*]=[*;+0]",
        *((0, 1, 0), (1, 2, 2), (2, 3, 1), (3, 4, 2), (4, 5, 1), (0, 5, 1)),
    ),
    _change(
        "elimination", "[H][C,N,O,Si,B;+0]-[C,N,Si;+0]-[!#6;+0]", (0, 1, 0), (1, 2, 2), (2, 3, 0), (0, 3, 1)
    ),
    _change("addition of hydrogen", "[H][C;+0]-[C,N,O;+0][H]", (0, 1, 0), (1, 2, 2), (2, 3, 0), (0, 3, 1)),
    _change("ring of four closes", "[*;+0]=[*]-[*]=[*;+0]", (0, 1, 1), (1, 2, 2), (2, 3, 1), (0, 3, 1)),
    _change("ring of four opens", "[*]1-[*]-[*]-[*]-1", (0, 1, 2), (1, 2, 0), (2, 3, 2), (3, 0, 0)),
    _change("cyclobutene opens", "[*]1=[*]-[*]-[*]-1", (0, 1, 1), (1, 2, 2), (2, 3, 0), (3, 0, 2)),
    _change(
        "Diels-Alder backwards",
        "[*]1=[*]-[*]-[*]-[*]-[*]-1",
        *((0, 1, 1), (1, 2, 2), (2, 3, 0), (3, 4, 2), (4, 5, 0), (5, 0, 2)),
    ),
    _change("carbon monoxide leaves", "[*]-[CX3](=O)-[*]", (0, 1, 0), (1, 3, 0), (0, 3, 1)),
    _change("carbon dioxide leaves", "[H]O-C(=O)-[*]", (0, 1, 0), (1, 2, 2), (2, 4, 0), (0, 4, 1)),
    _change("ring of three opens", "[H][C]-[C]1-[*]-[*]-1", (0, 1, 0), (1, 2, 2), (2, 3, 0), (0, 3, 1)),
    _change("group moves", "[!#1;!R;+0]-[C,N,O,S;+0]-[*]=[*;+0]", (0, 1, 0), (1, 2, 2), (2, 3, 1), (0, 3, 1)),
)


def transformed(rng: Generator, molecule: Chem.Mol, start: Floats) -> tuple[Chem.Mol, Floats] | None:
    """An isomer, and positions (N, 3), Å, somewhere between the molecule at ``start`` and it; None where no
    reaction fits or the isomer has no geometry."""
    sites = [(change, match) for change in CHANGES for match in molecule.GetSubstructMatches(change.pattern)]
    if not sites:
        return None
    # The rarer reactions are taken as often as the common ones.
    change = one_of(rng, sorted({site[0].name for site in sites}))
    chosen, match = one_of(rng, [site for site in sites if site[0].name == change])
    product = _product(molecule, chosen, match)
    if product is None:
        return None
    try:
        end = ForceField(product, _drawn_near(product, chosen, match, start)).relax()
    except ValueError:
        return None
    if not np.isfinite(end).all():
        return None
    return product, between(start, aligned(end, start), float(rng.beta(1.3, 1.3)))


def _product(molecule: Chem.Mol, change: Change, match: tuple[int, ...]) -> Chem.Mol | None:
    """The graph after a change; None where it breaks the rules of valence."""
    edited = Chem.RWMol(molecule)
    Chem.Kekulize(edited, clearAromaticFlags=True)
    for first, second, order in change.bonds:
        pair = match[first], match[second]
        if edited.GetBondBetweenAtoms(*pair) is not None:
            edited.RemoveBond(*pair)
        if order:
            edited.AddBond(*pair, _ORDERS[order])
    for atom in edited.GetAtoms():
        atom.SetNoImplicit(True)
        atom.SetNumExplicitHs(0)
    product = edited.GetMol()
    if Chem.SanitizeMol(product, catchErrors=True) != Chem.SanitizeFlags.SANITIZE_NONE:
        return None
    return product if is_acceptable(product) else None


_ORDERS = {1: Chem.BondType.SINGLE, 2: Chem.BondType.DOUBLE}


def _drawn_near(product: Chem.Mol, change: Change, match: tuple[int, ...], start: Floats) -> Floats:
    """``start`` with the atom that moves (the first of the pattern) beside its new neighbour."""
    positions = start.copy()
    atom = product.GetAtomWithIdx(match[0])
    if atom.GetAtomicNum() != 1:
        return positions
    (partner,) = atom.GetNeighbors()
    centre = positions[partner.GetIdx()]
    others = [positions[n.GetIdx()] - centre for n in partner.GetNeighbors() if n.GetIdx() != match[0]]
    away = -np.sum([v / np.linalg.norm(v) for v in others], axis=0) if others else np.zeros(3)
    towards = positions[match[0]] - centre
    direction = away + 0.5 * towards / np.linalg.norm(towards)
    positions[match[0]] = centre + direction / max(float(np.linalg.norm(direction)), 0.1)
    return positions


def between(start: Floats, end: Floats, part: float) -> Floats:
    """Positions (N, 3) whose distances are those between two geometries (the image dependent pair potential),
    so that atoms pass around each other."""
    goal = (1 - part) * pdist(start) + part * pdist(end)
    weights = goal**-4
    first, second = np.triu_indices(len(start), 1)

    def mismatch(flat: Floats) -> tuple[float, Floats]:
        x = flat.reshape(-1, 3)
        vectors = x[first] - x[second]
        lengths = np.linalg.norm(vectors, axis=1) + 1e-9
        wrong = lengths - goal
        pull = (2 * weights * wrong / lengths)[:, None] * vectors
        gradient = np.zeros_like(x)
        np.add.at(gradient, first, pull)
        np.add.at(gradient, second, -pull)
        return float((weights * wrong**2).sum()), gradient.ravel()

    guess = ((1 - part) * start + part * end).ravel()
    found = minimize(mismatch, guess, jac=True, method="L-BFGS-B", options={"maxiter": 40})
    return np.asarray(found.x).reshape(-1, 3)
