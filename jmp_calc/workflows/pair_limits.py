"""Pairs of atoms nearer than anything that the potential was trained on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ase import Atoms

NEAREST_SHARE = 0.75
"""Of the shortest trained distance of a pair of elements: nearer pairs end a run. Hot bonds swing below what
was trained by a tenth or so."""
LONGEST = 1.5
"""Sums of covalent radii: a pair that was only seen farther apart than this has no bond to be shorter
than."""


@dataclass(frozen=True)
class ClosePair:
    """Two atoms that are too near."""

    first: int
    second: int
    distance: float
    """Å"""
    shortest: float | None
    """Å, in the training data; None: the pair of elements is not in them."""

    def text(self, atoms: Atoms) -> str:
        """The fact in words."""
        one, other = (f"atom {i} ({atoms.symbols[i]})" for i in (self.first, self.second))
        known = (
            "no such pair was in the training data"
            if self.shortest is None
            else f"in the training data such pairs begin at {self.shortest:.2f} Å"
        )
        return f"{one} and {other} are {self.distance:.2f} Å apart; {known}"


@dataclass
class PairLimits:
    """The least distances for the atoms of a run, of the calculator that they have when it is first asked.

    A calculator says what it was trained on by ``shortest_distances``, in Å by pairs of atomic numbers;
    others have no limits.
    """

    _tables: tuple[np.ndarray, np.ndarray] | None = field(default=None, init=False)
    """Limits and shortest distances (Z, Z) in Å; 0: none, NaN: not in the data."""
    _asked: bool = field(default=False, init=False)

    def broken(self, atoms: Atoms) -> ClosePair | None:
        """The pair that is farthest below its limit, relative to it; None where all are above."""
        if not self._asked:
            found = getattr(atoms.calc, "shortest_distances", None)
            self._tables = None if found is None else _tables(found)
            self._asked = True
        if self._tables is None or len(atoms) == 0:
            return None
        from ase.neighborlist import neighbor_list

        limits, shortest = self._tables
        present = np.unique(atoms.numbers)
        reach = float(limits[np.ix_(present, present)].max())
        first, second, distance = neighbor_list("ijd", atoms, reach)
        pair = atoms.numbers[first], atoms.numbers[second]
        share = distance / limits[pair]
        if not len(share) or share.min() >= 1.0:
            return None
        worst = int(share.argmin())
        known = float(shortest[pair][worst])
        ends = sorted((int(first[worst]), int(second[worst])))
        return ClosePair(ends[0], ends[1], float(distance[worst]), None if np.isnan(known) else known)


def _tables(pairs: Mapping[tuple[int, int], float]) -> tuple[np.ndarray, np.ndarray]:
    """Least distances allowed and shortest trained ones (Z, Z), Å."""
    from ase.data import covalent_radii

    sums = covalent_radii[:, None] + covalent_radii
    shortest = np.full(sums.shape, np.nan)
    for (one, other), length in pairs.items():
        shortest[one, other] = shortest[other, one] = length
    known = np.where(np.isnan(shortest), sums, shortest)
    return NEAREST_SHARE * np.minimum(known, LONGEST * sums), shortest
