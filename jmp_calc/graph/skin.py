"""A neighbour list that is kept while atoms and cell move little: dynamics searches once in many steps.

The kept list reaches further than the cutoff by a skin. Every call filters it with the current lengths, in
the order that a new search would have, so that results are bit-equal to those of a new search.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .neighbours import MIN_DISTANCE, EdgeList, Floats, edge_lengths, neighbour_edges


@dataclass(frozen=True)
class _Frame:
    """Positions (N, 3), lattice vectors (3, 3; zero rows along open directions) and periodicity of one
    call."""

    positions: Floats
    cell: Floats
    pbc: NDArray[np.bool_]

    def reach(self, then: _Frame, cutoff: float) -> float:
        """How long, in ``then``, a vector between atoms can have been that is now within ``cutoff``; inf: any
        length.

        With the change F of the lattice and the displacements u beyond it, D_now = D_then F + u_source -
        u_target.
        """
        if self.positions.shape != then.positions.shape or not np.array_equal(self.pbc, then.pbc):
            return np.inf
        if np.array_equal(self.cell, then.cell):
            moved, stretch = self.positions - then.positions, 1.0
        elif self.pbc.all():
            change = np.linalg.solve(then.cell, self.cell)
            moved = self.positions - then.positions @ change
            stretch = 1.0 / np.linalg.svd(change, compute_uv=False)[-1]
        else:
            return np.inf
        largest = float(np.sqrt((moved**2).sum(axis=1).max(initial=0.0)))
        return float(stretch * (cutoff + 2.0 * largest)) if np.isfinite(largest) else np.inf


class ReusedNeighbours:
    """``neighbour_edges`` for calls that follow each other; the first of a structure makes no skin."""

    def __init__(self, skin: float) -> None:
        """skin: Å beyond the cutoff."""
        self.skin = skin
        self.searches = self.calls = 0
        self._last: _Frame | None = None
        self._kept: tuple[_Frame, float, EdgeList] | None = None

    def __call__(
        self, positions: Floats, cell: Floats, pbc: NDArray[np.bool_], cutoff: float
    ) -> tuple[EdgeList, Floats]:
        """All directed edges with length <= cutoff, ordered as by ``neighbour_edges``; their lengths (E,), Å.

        positions (N, 3) and cell (3, 3) in Å, pbc (3,).
        """
        now = _Frame(positions.copy(), cell.copy(), pbc.copy())
        last, self._last = self._last, now
        self.calls += 1
        if self._kept is not None:
            then, longest, edges = self._kept
            # A little less than the list holds, because lengths are rounded.
            if now.reach(then, cutoff) < longest * (1.0 - 1e-9):
                return self._within(edges, now, cutoff)
        self.searches += 1
        if last is None or now.reach(last, cutoff) >= cutoff + self.skin:
            self._kept = None
            return neighbour_edges(positions, cell, pbc, cutoff)
        edges, _ = neighbour_edges(positions, cell, pbc, cutoff + self.skin)
        self._kept = (now, cutoff + self.skin, edges)
        return self._within(edges, now, cutoff)

    @staticmethod
    def _within(edges: EdgeList, now: _Frame, cutoff: float) -> tuple[EdgeList, Floats]:
        """The kept edges that are within the cutoff (Å) now, and their lengths (E,)."""
        length = edge_lengths(edges, now.positions, now.cell)
        keep = (length > MIN_DISTANCE) & (length <= cutoff)
        return edges.take(keep), length[keep]
