"""Shortest distance of every pair of elements in labelled structures: where a model's knowledge begins.

The smallest one counts, not a quantile, so that the repulsion of a head is zero at every distance that it was
trained on (``jmp_calc/model/repulsion.py``); frames whose atoms are too close are left out before (limits of
forces in recipes, the audit of a fine-tuning).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from jmp_calc.graph.neighbours import neighbour_edges
from jmp_calc.model.elements import pair_name

from .frame import Frame

_COLUMNS = 256
"""Atomic numbers."""
PER_A = 10_000
"""Distances are rounded down to this part of an Å, so that none in the data is shorter."""


class ShortestPairs:
    """The smallest distances seen so far, in memory that does not grow; those of several parts can be
    merged."""

    def __init__(self, cutoff: float) -> None:
        """``cutoff``: Å of the main graph; pairs farther apart in all structures are not known."""
        self.cutoff = cutoff
        self._shortest: NDArray[np.float64] = np.full((_COLUMNS, _COLUMNS), np.inf)

    def add(self, frame: Frame) -> None:
        """One structure."""
        numbers = np.unique(frame.numbers)
        known = self._shortest[np.ix_(numbers, numbers)].max()
        # Only shorter distances matter, and a smaller search takes less time.
        reach = min(self.cutoff, float(known))
        if frame.pbc.any():
            edges, length = neighbour_edges(frame.positions, frame.cell, frame.pbc, reach)
            first, second = frame.numbers[edges.source], frame.numbers[edges.target]
        else:
            one, other = np.triu_indices(frame.n_atoms, 1)
            length = np.linalg.norm(frame.positions[one] - frame.positions[other], axis=1)
            near = length <= reach
            first, second, length = frame.numbers[one[near]], frame.numbers[other[near]], length[near]
        np.minimum.at(self._shortest, (first, second), length)
        np.minimum.at(self._shortest, (second, first), length)

    def merge(self, other: ShortestPairs) -> None:
        """Add what another object has seen."""
        np.minimum(self._shortest, other._shortest, out=self._shortest)

    def named(self) -> dict[str, float]:
        """Distances in Å by name of the pair, rounded down, as a head has them (``HeadConfig.pairs``)."""
        found = np.argwhere(np.triu(np.isfinite(self._shortest)))
        return {
            pair_name(int(one), int(other)): math.floor(self._shortest[one, other] * PER_A) / PER_A
            for one, other in found
        }


def shortest_pairs(frames: Iterable[Frame], cutoff: float) -> dict[str, float]:
    """Shortest distance in Å of every pair of elements in the frames within ``cutoff`` (Å), by name."""
    pairs = ShortestPairs(cutoff)
    for frame in frames:
        pairs.add(frame)
    return pairs.named()


def shorter(pairs: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """The shortest distance of every pair in several tables."""
    result: dict[str, float] = {}
    for table in pairs:
        for name, length in table.items():
            result[name] = min(length, result.get(name, length))
    return dict(sorted(result.items()))
