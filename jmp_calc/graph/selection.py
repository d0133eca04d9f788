"""The two ways to choose the four graphs: ``official`` ranks and ``smooth`` envelopes (docs/smooth.md).

Graphs (``gemnet_oc.md`` section 3): ``main`` carries the edge embeddings and is symmetric, ``a2a`` the
atom-atom interaction, ``a2ee2a`` the atom-edge and edge-atom interactions, ``qint`` the middle bonds of
quadruplets.

With edge dropout (training) the edges that all four are chosen from are first thinned out: directed edges,
each on its own, under ``official`` those of the a2a graph, under ``smooth`` all within the longest cutoff.
Ranks and adaptive cutoffs are those of the survivors, so that farther neighbours take the places of the
dropped. The main graph is made symmetric
as always: a bond is in it, in both directions, if its edge from the lower to the higher atom survived.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .adaptive import adaptive_cutoffs
from .dropout import EdgeDrop
from .neighbours import EdgeList, Floats, Ints, NeighbourSearch
from .policy import FewerNeighbors, GraphPolicy


@dataclass(frozen=True)
class FourGraphs:
    """The four edge lists of one structure; ``main`` lists K edges and then their K mirrors.

    Where main and a2ee2a have the same edges they are one object, so that nothing is computed twice.
    """

    main: EdgeList
    a2a: EdgeList
    a2ee2a: EdgeList
    qint: EdgeList
    cutoffs: Floats | None = None
    """Adaptive cutoffs (N, 3) in Å of main, a2ee2a and qint; None where all atoms have the same."""


def select_graphs(
    positions: Floats,
    cell: Floats,
    pbc: NDArray[np.bool_],
    policy: GraphPolicy,
    tags: Ints | None,
    qint_tags: tuple[int, ...],
    search: NeighbourSearch,
    drop: EdgeDrop | None,
) -> FourGraphs:
    """Choose the edges of all four graphs by the policy's rule, from all or from the survivors of ``drop``.

    positions (N, 3) and cell (3, 3; zero rows along open directions) in Å, pbc (3,), tags (N,).
    """
    longest = policy.cutoff
    if policy.name == "smooth":
        longest = max(policy.cutoff, policy.a2a_cutoff, policy.a2ee2a_cutoff, policy.qint_cutoff)
    edges, length = search(positions, cell, pbc, longest)
    if policy.name == "official":
        return _official(edges, length, len(positions), policy, tags, qint_tags, drop)
    return _smooth(edges, length, len(positions), policy, drop)


def neighbour_limits(max_neighbors: int) -> tuple[int, int, int, int]:
    """Limits of main, a2a, a2ee2a, qint from one number (``gemnet_oc.md`` 3.3)."""
    return (
        max_neighbors,
        int(max_neighbors * 1000 / 30),
        int(max_neighbors * 20 / 30),
        int(max_neighbors * 8 / 30),
    )


def _official(
    edges: EdgeList,
    length: Floats,
    n_atoms: int,
    policy: GraphPolicy,
    tags: Ints | None,
    qint_tags: tuple[int, ...],
    drop: EdgeDrop | None,
) -> FourGraphs:
    """The nearest neighbours of every atom; lengths (E,) Å, tags (N,)."""
    main_limit, a2a_limit, a2ee2a_limit, qint_limit = neighbour_limits(policy.neighbors_of(n_atoms))
    keep = nearest(edges, length, a2a_limit)
    a2a, length = _surviving(edges.take(keep), length[keep], drop)
    qint = a2a.take(nearest(a2a, length, qint_limit))
    if tags is not None and policy.tags == "atoms":
        chosen = np.isin(tags, qint_tags)
        qint = qint.take(chosen[qint.source] | chosen[qint.target])
    return FourGraphs(
        main=symmetrised(a2a.take(nearest(a2a, length, main_limit))),
        a2a=a2a,
        a2ee2a=a2a.take(nearest(a2a, length, a2ee2a_limit)),
        qint=qint,
    )


def _smooth(
    edges: EdgeList, length: Floats, n_atoms: int, policy: GraphPolicy, drop: EdgeDrop | None
) -> FourGraphs:
    """All edges within fixed or adaptive cutoffs; lengths (E,) Å."""
    edges, length = _surviving(edges, length, drop)
    if not policy.adaptive:
        main = symmetrised(edges.take(length < policy.cutoff))
        same = policy.a2ee2a_cutoff == policy.cutoff and drop is None  # survivors are no symmetric list
        return FourGraphs(
            main=main,
            a2a=edges.take(length < policy.a2a_cutoff),
            a2ee2a=main if same else edges.take(length < policy.a2ee2a_cutoff),
            qint=edges.take(length < policy.qint_cutoff),
        )
    # Beyond its cutoff an edge has weight exactly zero; the margin covers rounding in the recomputed cutoffs.
    cutoffs = adaptive_cutoffs(edges.target, length, n_atoms, policy)
    main_reach, a2ee2a, qint = 1.000001 * cutoffs.T
    pair = 0.5 * (main_reach[edges.source] + main_reach[edges.target])
    return FourGraphs(
        main=symmetrised(edges.take(length < pair)),
        a2a=edges.take(length < policy.a2a_cutoff),
        a2ee2a=edges.take(length < a2ee2a[edges.target]),
        qint=edges.take(length < qint[edges.target]),
        cutoffs=cutoffs,
    )


def _surviving(edges: EdgeList, length: Floats, drop: EdgeDrop | None) -> tuple[EdgeList, Floats]:
    """The edges and lengths (E,) that edge dropout leaves."""
    if drop is None:
        return edges, length
    kept = drop.survivors(len(edges))
    return edges.take(kept), length[kept]


def nearest(edges: EdgeList, length: Floats, limit: int) -> NDArray[np.bool_]:
    """Mask (E,) of the ``limit`` shortest edges, by length (E,), of every target; equal lengths in the order
    of the list."""
    order = np.lexsort((length, edges.target))
    target = edges.target[order]
    first = np.searchsorted(target, target, side="left")
    keep = np.empty(len(edges), dtype=bool)
    keep[order] = np.arange(len(edges)) - first < limit
    return keep


def symmetrised(edges: EdgeList) -> EdgeList:
    """Edges with source < target (own images: negative image), then their mirrors (``gemnet_oc.md`` 3.6).

    Of E edges K are kept; the arrays of the result are (2 K, ...).
    """
    leading = np.zeros(len(edges), dtype=np.int64)
    for axis in (2, 1, 0):  # the first non-zero component of the image decides
        leading = np.where(edges.shift[:, axis] != 0, edges.shift[:, axis], leading)
    kept = edges.take((edges.source < edges.target) | ((edges.source == edges.target) & (leading < 0)))
    return EdgeList(
        source=np.concatenate([kept.source, kept.target]),
        target=np.concatenate([kept.target, kept.source]),
        shift=np.concatenate([kept.shift, -kept.shift]),
    )


def smooth_for_official(
    cutoff: float, max_neighbors: int, fewer_neighbors: tuple[FewerNeighbors, ...] = ()
) -> GraphPolicy:
    """The ``smooth`` policy for published weights: as close to the rank cuts as a C2 energy allows.

    Args:
        cutoff: Å, of the a2a graph and the largest of the adaptive ones.
        max_neighbors: the n of the published limits, wanted as effective numbers (n, 2n/3, 4n/15).
        fewer_neighbors: smaller n of large structures.
    """
    return GraphPolicy(
        name="smooth",
        cutoff=cutoff,
        a2a_cutoff=cutoff,
        a2ee2a_cutoff=cutoff,
        qint_cutoff=cutoff,
        max_neighbors=max_neighbors,
        fewer_neighbors=fewer_neighbors,
        adaptive=True,
        taper=0.3,
        collinear_width=0.1,
    )
