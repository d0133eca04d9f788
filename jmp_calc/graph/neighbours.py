"""Neighbour search on matscipy: any pbc mix, any cell, unwrapped atoms, molecules without a cell.

Conventions (``gemnet_oc.md`` section 1): an edge goes from source to target; ``shift`` is the integer image
of the source, so the raw difference is ``D = x_source + shift @ cell - x_target``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

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
        """The edges selected by a mask or an index."""
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
        """Edges with length <= cutoff (Å)."""
        ...


def neighbour_edges(
    positions: Floats, cell: Floats, pbc: NDArray[np.bool_], cutoff: float
) -> tuple[EdgeList, Floats]:
    """All directed edges with length <= cutoff (Å), ordered by target, source and image; and their
    lengths."""
    from matscipy.neighbours import neighbour_list

    if len(positions) == 0:
        empty = np.zeros(0, dtype=np.int64)
        return EdgeList(empty, empty, np.zeros((0, 3), dtype=np.int64)), np.zeros(0)
    search_cell, basis, wrapped, wraps = _search_frame(positions, cell, pbc, cutoff)
    target, source, image = neighbour_list(
        "ijS", positions=wrapped, cell=search_cell, pbc=pbc, cutoff=cutoff * (1 + 1e-9) + 1e-9
    )
    target, source = target.astype(np.int64), source.astype(np.int64)
    shift = (image.astype(np.int64) + wraps[target] - wraps[source]) @ basis
    edges = EdgeList(source, target, shift)
    length = edge_lengths(edges, positions, cell)
    keep = (length > MIN_DISTANCE) & (length <= cutoff)
    edges, length = edges.take(keep), length[keep]
    order = np.lexsort((*edges.shift.T[::-1], edges.source, edges.target))
    return edges.take(order), length[order]


def _search_frame(
    positions: Floats, cell: Floats, pbc: NDArray[np.bool_], cutoff: float
) -> tuple[Floats, Ints, Floats, Ints]:
    """A compact cell with room along open directions.

    Returns: search cell (3, 3); basis (3, 3) with image_in_cell = image_in_search_cell @ basis; positions
        wrapped into the search cell (N, 3); the wraps removed (N, 3), in the search cell.
    """
    basis = np.zeros((3, 3), dtype=np.int64)
    basis[np.ix_(pbc, pbc)] = _reduce_lattice(cell[pbc])
    search_cell = basis @ cell
    if (~pbc).any():
        search_cell[~pbc] = _orthogonal_complement(search_cell[pbc])
    fractional = positions @ np.linalg.inv(search_cell)
    wraps = np.zeros_like(fractional, dtype=np.int64)
    wraps[:, pbc] = np.floor(fractional[:, pbc]).astype(np.int64)
    fractional = fractional - wraps
    for axis in np.flatnonzero(~pbc):  # unit vectors here, so that fractional coordinates are lengths
        compact = _close_gaps(fractional[:, axis], 2.0 * cutoff)
        length = float(compact.max()) + 2.0 * cutoff + 1.0
        fractional[:, axis] = (compact + 0.5) / length
        search_cell[axis] *= length
    return search_cell, basis, fractional @ search_cell, wraps


def _reduce_lattice(vectors: Floats) -> Ints:
    """Integer matrix H such that H @ vectors is a short basis of the same lattice (pairwise reduction).

    matscipy misses images in very skewed cells; in a reduced cell it finds all.
    """
    count = len(vectors)
    basis = np.eye(count, dtype=np.int64)
    reduced = vectors.copy()
    changed = True
    while changed:
        changed = False
        for i in range(count):
            for j in range(count):
                times = 0 if i == j else int(np.rint(reduced[i] @ reduced[j] / (reduced[j] @ reduced[j])))
                shorter = reduced[i] - times * reduced[j]
                if times and shorter @ shorter < (1 - 1e-9) * (reduced[i] @ reduced[i]):
                    reduced[i], basis[i] = shorter, basis[i] - times * basis[j]
                    changed = True
    return basis


def _orthogonal_complement(vectors: Floats) -> Floats:
    """Orthonormal rows that complete ``vectors`` (0, 1 or 2 rows) to three dimensions."""
    if len(vectors) == 0:
        return np.eye(3)
    _, _, rows = np.linalg.svd(vectors, full_matrices=True)
    return rows[len(vectors) :]


def _close_gaps(coordinate: Floats, largest: float) -> Floats:
    """Coordinates from 0 with every empty gap shortened to ``largest``: pairs within it keep their distance.

    Fragments a metre apart then need no metre of search bins.
    """
    order = np.argsort(coordinate, kind="stable")
    steps = np.minimum(np.diff(coordinate[order]), largest)
    compact = np.empty_like(coordinate)
    compact[order] = np.concatenate(([0.0], np.cumsum(steps)))
    return compact
