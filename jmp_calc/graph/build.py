"""From positions to the integer topology that the network needs: four graphs and the maps between them.

No edge-edge triplet list and no quadruplet list is ever made (``docs/equations.md``): only which edge is the
same physical bond in another graph, and for pairs of an output edge and a middle edge that share the target
atom the bond that closes the triangle.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .dropout import EdgeDrop, EdgeScales
from .neighbours import EdgeList, Floats, Ints, NeighbourSearch, neighbour_edges
from .policy import GraphPolicy
from .selection import select_graphs


@dataclass(frozen=True)
class Graph:
    """Topology of one structure. Lengths in Å; -1 in a map means "no such edge".

    main, a2a, a2ee2a, qint: edge lists; main lists K edges, then their mirrors in the same order.
    a2ee2a_of_main (E_main,), main_of_a2ee2a (E_ae,), qint_of_main (E_main,): the same bond in the other
    graph. mirror_of_qint (E_q,): the main edge target -> source of the middle edge. triangles (n, 3): main
    edge c->a, qint edge b->a, main edge c->b that closes them.
    scales: what compensates for dropped edges; ones without edge dropout.
    cutoffs (N, 3): adaptive cutoffs of main, a2ee2a and qint; None where all atoms have the same.
    """

    positions: Floats
    numbers: Ints
    cell: Floats
    pbc: NDArray[np.bool_]
    main: EdgeList
    a2a: EdgeList
    a2ee2a: EdgeList
    qint: EdgeList
    a2ee2a_of_main: Ints
    main_of_a2ee2a: Ints
    qint_of_main: Ints
    mirror_of_qint: Ints
    triangles: Ints
    scales: EdgeScales = EdgeScales()
    cutoffs: Floats | None = None

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return len(self.numbers)

    @property
    def n_edges(self) -> int:
        """Number of main edges, the measure of cost."""
        return len(self.main)


def build_graph(
    positions: Floats,
    numbers: Ints,
    cell: Floats,
    pbc: NDArray[np.bool_],
    policy: GraphPolicy,
    tags: Ints | None = None,
    qint_tags: tuple[int, ...] = (1, 2),
    search: NeighbourSearch = neighbour_edges,
    drop: EdgeDrop | None = None,
) -> Graph:
    """Topology of one structure.

    Args:
        positions: (N, 3), Å, wrapped or not.
        numbers: (N,) atomic numbers.
        cell: (3, 3) lattice vectors as rows, Å; rows of open directions are ignored.
        pbc: (3,) periodic directions.
        policy: how edges are chosen.
        tags: (N,) 0 sub-surface, 1 surface, 2 adsorbate; read only if the policy says so.
        qint_tags: tags whose atoms take part in quadruplets.
        search: finds neighbours; one that keeps its list between calls gives the same graph.
        drop: edges to leave out at random, in training; None: none.
    """
    positions = np.ascontiguousarray(positions, dtype=np.float64)
    pbc = np.broadcast_to(np.asarray(pbc, dtype=bool), (3,)).copy()
    cell = np.array(cell, dtype=np.float64)
    four = select_graphs(
        positions, np.where(pbc[:, None], cell, 0.0), pbc, policy, tags, qint_tags, search, drop
    )
    main, qint = four.main, four.qint
    index = _EdgeIndex(main, len(positions))
    return Graph(
        positions=positions,
        numbers=np.asarray(numbers, dtype=np.int64),
        cell=cell,
        pbc=pbc,
        main=main,
        a2a=four.a2a,
        a2ee2a=four.a2ee2a,
        qint=qint,
        a2ee2a_of_main=_EdgeIndex(four.a2ee2a, len(positions)).find(main.source, main.target, main.shift),
        main_of_a2ee2a=index.find(four.a2ee2a.source, four.a2ee2a.target, four.a2ee2a.shift),
        qint_of_main=_EdgeIndex(qint, len(positions)).find(main.source, main.target, main.shift),
        mirror_of_qint=index.find(qint.target, qint.source, -qint.shift),
        triangles=_triangles(main, qint, index, len(positions)),
        scales=EdgeScales() if drop is None else drop.scales,
        cutoffs=four.cutoffs,
    )


class _EdgeIndex:
    """Finds edges by (source, target, image)."""

    def __init__(self, edges: EdgeList, n_atoms: int) -> None:
        """Sort edges, (E,) each, once by a number for source, target and image."""
        self.n_atoms = n_atoms
        self.reach = int(np.abs(edges.shift).max(initial=0))
        keys = self._keys(edges.source, edges.target, edges.shift)
        self.order = np.argsort(keys, kind="stable")
        self.sorted_keys = keys[self.order]

    def _keys(self, source: Ints, target: Ints, shift: Ints) -> Ints:
        """One number (E,) for source (E,), target (E,) and image (E, 3) of every edge."""
        span = 2 * self.reach + 1
        image = (
            ((shift[:, 0] + self.reach) * span + shift[:, 1] + self.reach) * span + shift[:, 2] + self.reach
        )
        return (source * self.n_atoms + target) * span**3 + image

    def find(self, source: Ints, target: Ints, shift: Ints) -> Ints:
        """Edge numbers (E,) for source (E,), target (E,) and image (E, 3), -1 where there is no such edge."""
        if len(self.sorted_keys) == 0:
            return np.full(len(source), -1, dtype=np.int64)
        keys = self._keys(source, target, shift)
        place = np.minimum(np.searchsorted(self.sorted_keys, keys), len(self.sorted_keys) - 1)
        found = (self.sorted_keys[place] == keys) & (np.abs(shift).max(axis=1, initial=0) <= self.reach)
        return np.where(found, self.order[place], -1)


def _triangles(main: EdgeList, qint: EdgeList, index: _EdgeIndex, n_atoms: int) -> Ints:
    """(n, 3): output edge e = c->a, middle edge q = b->a, and main edge g = c->b with image n_e - n_q."""
    by_target = np.argsort(qint.target, kind="stable")
    count = np.bincount(qint.target, minlength=n_atoms)
    first = np.cumsum(count) - count
    repeats = count[main.target]
    edge = np.repeat(np.arange(len(main)), repeats)
    offset = np.arange(len(edge)) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    middle = by_target[first[main.target[edge]] + offset]
    closing = index.find(main.source[edge], qint.source[middle], main.shift[edge] - qint.shift[middle])
    return np.stack([edge, middle, closing], axis=1)[closing >= 0]
