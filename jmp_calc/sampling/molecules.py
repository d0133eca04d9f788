"""Molecules: graphs, their conformers, and what they look like hot, twisted, stretched, broken and in
company."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
from ase import Atoms
from numpy.random import Generator
from rdkit import Chem

from .conformers import ForceField, embedded, numbers_of, positions_of, rattled
from .draws import generator, kind_at, log_uniform, one_of, position
from .exclude import Excluded, names_of
from .geometry import CLOSEST, RADII, Floats, Ints, closest_ratio, placed, rotated
from .graphs import GraphSource, canonical, n_atoms
from .paths import transformed
from .refusals import Refused, first_made
from .small import dimer_atoms


@dataclass(frozen=True)
class Geometry:
    """A molecule in space."""

    graph: str
    numbers: Ints
    positions: Floats
    info: Mapping[str, str] = field(default_factory=dict)
    """More entries of the frame's info."""


class MoleculeSource:
    """Draws molecules of given elements and total numbers of atoms."""

    def __init__(
        self,
        elements: frozenset[int],
        atoms: tuple[int, int],
        shares: Mapping[str, float],
        excluded: Excluded,
        seed: int,
    ) -> None:
        self.least, self.most = atoms
        self.elements, self.shares, self.seed = tuple(sorted(elements)), shares, seed
        self.graphs, self.excluded = GraphSource(elements), excluded
        self._makers: dict[str, Callable[[Generator], Geometry]] = {
            "conformer": self._conformer,
            "relaxed": self._relaxed,
            "rattled": self._rattled,
            "torsion": self._torsion,
            "thermal": self._thermal,
            "pair": self._pair,
            "cluster": self._cluster,
            "stretched": self._stretched,
            "path": self._path,
        }

    def draw(self, index: int, refused: Counter[str]) -> Atoms | None:
        """Sample ``index``; None where no attempt gave one. ``refused`` counts the reasons of attempts."""
        rng = generator(self.seed, index)
        kind, place = kind_at(position(self.seed, index), self.shares)
        if kind == "dimer":
            return dimer_atoms(rng, self.elements, place)
        return first_made(lambda: self._made(rng, kind), refused)

    def _made(self, rng: Generator, kind: str) -> Atoms:
        made = self._makers[kind](rng)
        if closest_ratio(made.numbers, made.positions) < CLOSEST:
            raise Refused("overlapping")
        atoms = Atoms(made.numbers, made.positions - made.positions.mean(axis=0))
        names = " ".join(names_of(made.graph))
        atoms.info = {"sample_kind": kind, "graph": made.graph, "molecules": names, **made.info}
        return atoms

    # --- one molecule ---

    def _molecule(self, rng: Generator, least: int, most: int) -> Chem.Mol:
        """A graph in space that is not excluded; Refused where this attempt gave none."""
        small = self.graphs.draw_small(rng, most) if rng.random() < 0.04 else None
        graph = small if small is not None and n_atoms(small) >= least else None
        graph = graph if graph is not None else self.graphs.draw(rng, least, most)
        return self._in_space(rng, graph)

    def _in_space(self, rng: Generator, graph: Chem.Mol | None) -> Chem.Mol:
        """A drawn graph in space; Refused where there is none, or it is excluded."""
        if graph is None:
            raise Refused("no graph")
        if self.excluded.holds_graph(graph):
            raise Refused("excluded")
        molecule = embedded(rng, graph)
        if molecule is None:
            raise Refused("no geometry")
        return molecule

    def _of_any_size(self, rng: Generator) -> Chem.Mol:
        return self._molecule(rng, self.least, self.most)

    def _conformer(self, rng: Generator) -> Geometry:
        return _geometry(self._of_any_size(rng))

    def _relaxed(self, rng: Generator) -> Geometry:
        molecule = self._of_any_size(rng)
        return _geometry(molecule, _field(molecule).relax())

    def _rattled(self, rng: Generator) -> Geometry:
        molecule = self._of_any_size(rng)
        start = _field(molecule).relax() if rng.random() < 0.5 else positions_of(molecule)
        return _geometry(molecule, rattled(rng, start))

    def _thermal(self, rng: Generator) -> Geometry:
        molecule = self._of_any_size(rng)
        field = _field(molecule)
        field.relax()
        temperature, steps = log_uniform(rng, 100.0, 2000.0), int(rng.integers(100, 300))
        return _geometry(molecule, field.heat(rng, temperature, steps))

    def _torsion(self, rng: Generator) -> Geometry:
        molecule = self._of_any_size(rng)
        bonds = molecule.GetSubstructMatches(_ROTATABLE)
        if not bonds:
            raise Refused("nothing to turn")
        positions = positions_of(molecule)
        for _ in range(int(rng.integers(1, 3))):
            first, second = one_of(rng, bonds)
            side = _side_of(molecule, first, second)
            axis = positions[second] - positions[first]
            turned = rotated(positions[side], axis, positions[second], rng.uniform(0.1, 2 * np.pi - 0.1))
            positions[side] = turned
        return _geometry(molecule, rattled(rng, positions, 0.005, 0.06))

    # --- bonds ---

    def _stretched(self, rng: Generator) -> Geometry:
        """A bond between 0.75 and 4 times the sum of its covalent radii; a ring opens within a field."""
        molecule = self._of_any_size(rng)
        bonds = list(molecule.GetBonds())
        if not bonds:
            raise Refused("no bond")
        bond = one_of(rng, bonds)
        first, second = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
        numbers, field = numbers_of(molecule), _field(molecule)
        ratio = rng.uniform(0.75, 2.0) if rng.random() < 0.6 else rng.uniform(2.0, 4.0)
        if bond.IsInRing():
            length = min(ratio, 2.2) * RADII[numbers[[first, second]]].sum()
            field.hold(first, second, length)
            return _geometry(molecule, rattled(rng, field.relax(), 0.005, 0.06))
        positions, side = field.relax(), _side_of(molecule, first, second)
        axis = positions[second] - positions[first]
        length = float(np.linalg.norm(axis))
        positions[side] += axis / length * (ratio * RADII[numbers[[first, second]]].sum() - length)
        return _geometry(molecule, rattled(rng, positions, 0.005, 0.06))

    def _path(self, rng: Generator) -> Geometry:
        molecule = self._of_any_size(rng)
        start = _field(molecule).relax()
        found = transformed(rng, molecule, start)
        if found is None:
            raise Refused("no path")
        product, positions = found
        if self.excluded.holds_graph(product):
            raise Refused("excluded")
        moved = rattled(rng, positions, 0.005, 0.05)
        return Geometry(canonical(molecule), numbers_of(molecule), moved, {"graph_to": canonical(product)})

    # --- several molecules ---

    def _pair(self, rng: Generator) -> Geometry:
        total = max(int(rng.integers(self.least, self.most + 1)), 4)
        if rng.random() < 0.4:
            partner = self._partner(rng, total // 2)
        else:
            partner = self._molecule(rng, 2, max(total // 2, 2))
        rest = total - partner.GetNumAtoms()
        host = self._molecule(rng, max(self.least - partner.GetNumAtoms(), 2), max(rest, 2))
        return self._gathered(rng, [host, partner], 4.0)

    def _cluster(self, rng: Generator) -> Geometry:
        """Three molecules or more, some of them the same."""
        total = max(int(rng.integers(self.least, self.most + 1)), 9)
        kinds = [self._partner(rng, max(total // 3, 3)) for _ in range(int(rng.integers(1, 3)))]
        members: list[Chem.Mol] = []
        while len(members) < 3 or sum(m.GetNumAtoms() for m in members) < total - 2:
            member = one_of(rng, kinds)
            if sum(m.GetNumAtoms() for m in members) + member.GetNumAtoms() > max(total, self.most):
                break
            members.append(member)
        if len(members) < 3 or sum(m.GetNumAtoms() for m in members) < self.least:
            raise Refused("no cluster")
        return self._gathered(rng, members, 3.2)

    def _partner(self, rng: Generator, most: int) -> Chem.Mol:
        graph = self.graphs.draw_small(rng, max(most, 2))
        return self._in_space(rng, graph)

    def _gathered(self, rng: Generator, members: list[Chem.Mol], far: float) -> Geometry:
        """Molecules side by side, each with its nearest atom 1.6 to ``far`` Å from the others."""
        positions = self._shaken(rng, members[0])
        for member in members[1:]:
            guest = placed(rng, positions, self._shaken(rng, member), rng.uniform(1.6, far))
            positions = np.concatenate((positions, guest))
        numbers = np.concatenate([numbers_of(member) for member in members])
        graph = ".".join(sorted(canonical(member) for member in members))
        return Geometry(graph, numbers, positions)

    def _shaken(self, rng: Generator, molecule: Chem.Mol) -> Floats:
        """A member as it is, relaxed, or rattled."""
        positions = positions_of(molecule)
        if rng.random() < 0.5:
            with suppress(ValueError):
                positions = ForceField(molecule, positions).relax()
        return rattled(rng, positions, 0.005, 0.08) if rng.random() < 0.7 else positions


_ROTATABLE = Chem.MolFromSmarts("[!$(*#*);D2,D3,D4,D5,D6]-;!@[!$(*#*);D2,D3,D4,D5,D6]")


def _geometry(molecule: Chem.Mol, positions: Floats | None = None) -> Geometry:
    found = positions_of(molecule) if positions is None else positions
    return Geometry(canonical(molecule), numbers_of(molecule), found)


def _field(molecule: Chem.Mol) -> ForceField:
    try:
        return ForceField(molecule, positions_of(molecule))
    except ValueError as error:
        raise Refused("no force field") from error


def _side_of(molecule: Chem.Mol, first: int, second: int) -> list[int]:
    """Atoms on the side of ``second`` when the bond is cut."""
    found, queue = {second}, [second]
    while queue:
        neighbours = {a.GetIdx() for a in molecule.GetAtomWithIdx(queue.pop()).GetNeighbors()}
        new = neighbours - found - ({first} if len(found) == 1 else set())
        new.discard(first)
        found |= new
        queue += new
    return sorted(found)
