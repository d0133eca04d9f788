"""Neighbour search on matscipy: any pbc mix, any cell, unwrapped atoms, molecules without a cell.

Conventions (``gemnet_oc.md`` section 1): an edge goes from source to target; ``shift`` is the integer image
of the source, so the raw difference is ``D = x_source + shift @ cell - x_target``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..lattice import Floats, Ints
from .search_cell import SearchCell

MIN_DISTANCE = 0.01
"""Å; closer pairs are no edges (``gemnet_oc.md`` 3.5): an atom is not its own neighbour."""


@dataclass(frozen=True)
class EdgeList:
    """Directed edges of one structure: source (E,), target (E,), shift (E, 3)."""

    source: Ints
    target: Ints
    shift: Ints

    def __len__(self) -> int:
        return len(self.source)

    def take(self, index: NDArray[np.bool_] | Ints) -> EdgeList:
        """The edges selected by a mask (E,) or an index (K,)."""
        return EdgeList(self.source[index], self.target[index], self.shift[index])


def edge_lengths(edges: EdgeList, positions: Floats, cell: Floats) -> Floats:
    """Lengths (E,) in Å."""
    difference = positions[edges.source] + edges.shift @ cell - positions[edges.target]
    return np.sqrt((difference**2).sum(axis=1))


class NeighbourSearch(Protocol):
    """Finds all directed edges within a cutoff, ordered by target, source and image, and their lengths."""

    def __call__(
        self, positions: Floats, cell: Floats, pbc: NDArray[np.bool_], cutoff: float, /
    ) -> tuple[EdgeList, Floats]:
        """Edges with length <= cutoff (Å) and lengths (E,), from positions (N, 3), cell (3, 3) in Å and pbc
        (3,)."""
        ...


def neighbour_edges(
    positions: Floats, cell: Floats, pbc: NDArray[np.bool_], cutoff: float
) -> tuple[EdgeList, Floats]:
    """All directed edges with length <= cutoff (Å), ordered by target, source and image; their lengths (E,).

    positions (N, 3) and cell (3, 3; zero rows along open directions) in Å, pbc (3,). BadStructureError where
    there would be too many (a cell far too small) or too much empty space between them.
    """
    from matscipy.neighbours import neighbour_list

    if len(positions) == 0:
        empty = np.zeros(0, dtype=np.int64)
        return EdgeList(empty, empty, np.zeros((0, 3), dtype=np.int64)), np.zeros(0)
    search = SearchCell.of(positions, cell, pbc, cutoff)
    search.refuse_crowds(pbc, cutoff)
    target, source, image = neighbour_list(
        "ijS",
        positions=search.fractional @ search.cell,
        cell=search.cell,
        pbc=pbc,
        cutoff=cutoff * (1 + 1e-9) + 1e-9,
    )
    target, source = target.astype(np.int64), source.astype(np.int64)
    shift = (image.astype(np.int64) + search.wraps[target] - search.wraps[source]) @ search.basis
    edges = EdgeList(source, target, shift)
    length = edge_lengths(edges, positions, cell)
    keep = (length > MIN_DISTANCE) & (length <= cutoff)
    edges, length = edges.take(keep), length[keep]
    order = np.lexsort((*edges.shift.T[::-1], edges.source, edges.target))
    return edges.take(order), length[order]
