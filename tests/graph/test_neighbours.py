"""Neighbour lists against brute force: any cell, any periodicity, wrapped or not."""

from __future__ import annotations

from collections import Counter
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from jmp_calc.graph.build import build_graph
from jmp_calc.graph.dropout import EdgeDrop
from jmp_calc.graph.neighbours import neighbour_edges
from jmp_calc.graph.policy import GraphPolicy
from jmp_calc.graph.selection import nearest, symmetrised

CELLS = {
    "cube": [[4.0, 0, 0], [0, 4.0, 0], [0, 0, 4.0]],
    "smaller than the cutoff": [[2.1, 0, 0], [0.2, 1.9, 0], [0.1, 0.3, 2.3]],
    "left-handed": [[0, 4.0, 0], [4.0, 0.5, 0], [0.3, 0, 3.7]],
    "angles below 20 degrees": [[3.0, 0, 0], [8.0, 2.0, 0], [7.0, 1.0, 2.5]],
}  # fmt: skip
PBC = list(product([False, True], repeat=3))
Edge = tuple[int, int, int, int, int]


def brute_force(positions: NDArray, cell: NDArray, pbc: NDArray, cutoff: float) -> Counter[Edge]:
    """Every pair with every image that can be within the cutoff, by the distances of lattice planes."""
    inverse = np.linalg.pinv(cell)  # zero columns along open directions
    reach = np.ceil(cutoff * np.linalg.norm(inverse, axis=0)).astype(int) + 1
    steps = [np.arange(-r, r + 1) if periodic else np.zeros(1, dtype=int) for r, periodic in zip(reach, pbc)]
    grid = np.stack(np.meshgrid(*steps, indexing="ij"), -1).reshape(-1, 3)
    found: Counter[Edge] = Counter()
    for target, source in product(range(len(positions)), repeat=2):
        difference = positions[source] - positions[target]
        images = grid - np.rint(difference @ inverse).astype(int)
        length = np.linalg.norm(difference + images @ cell, axis=1)
        for image in images[(length <= cutoff) & (length > 0.01)]:
            found[(source, target, *(int(n) for n in image))] += 1
    return found


@pytest.mark.capability("B7")
@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("pbc", PBC)
def test_all_images_are_found_once(name: str, pbc: tuple[bool, bool, bool]) -> None:
    rng = np.random.default_rng(3)
    cell, flags = np.array(CELLS[name], dtype=float), np.array(pbc)
    positions = rng.uniform(-1.0, 2.0, (4, 3)) @ cell  # some atoms outside of the cell
    used = np.where(flags[:, None], cell, 0.0)
    edges, length = neighbour_edges(positions, used, flags, 3.5)
    ours = Counter(zip(edges.source.tolist(), edges.target.tolist(), *edges.shift.T.tolist()))
    assert ours == brute_force(positions, used, flags, 3.5)
    difference = positions[edges.source] + edges.shift @ used - positions[edges.target]
    np.testing.assert_allclose(length, np.linalg.norm(difference, axis=1), atol=1e-12)


def test_far_fragments_cost_nothing_and_have_no_edges_between_them() -> None:
    positions = np.array([[0, 0, 0], [1, 0, 0], [1e6, 0, 0], [1e6 + 1, 0, 0]], dtype=float)
    edges, _ = neighbour_edges(positions, np.zeros((3, 3)), np.zeros(3, dtype=bool), 5.0)
    assert set(zip(edges.source.tolist(), edges.target.tolist())) == {(0, 1), (1, 0), (2, 3), (3, 2)}


def test_nearest_keeps_the_shortest_of_every_target() -> None:
    positions = np.random.default_rng(0).uniform(0, 5, (20, 3))
    edges, length = neighbour_edges(positions, np.zeros((3, 3)), np.zeros(3, dtype=bool), 4.0)
    keep = nearest(edges, length, 5)
    for target in range(20):
        mine = edges.target == target
        assert sorted(length[mine & keep]) == pytest.approx(sorted(length[mine])[:5])


def test_mirrors_stand_half_a_list_apart() -> None:
    rng = np.random.default_rng(1)
    cell = np.array(CELLS["smaller than the cutoff"])
    edges, _ = neighbour_edges(rng.uniform(0, 2, (3, 3)), cell, np.ones(3, dtype=bool), 4.0)
    main = symmetrised(edges)
    half = len(main) // 2
    np.testing.assert_array_equal(main.source[:half], main.target[half:])
    np.testing.assert_array_equal(main.shift[:half], -main.shift[half:])
    assert len(main) == len(edges)  # nothing was cut, so nothing is lost


@pytest.mark.parametrize("drop", [None, EdgeDrop(0.3, 0)], ids=["all edges", "edge dropout"])
@pytest.mark.parametrize(
    "policy",
    [
        GraphPolicy("official", cutoff=4.0, max_neighbors=9),
        GraphPolicy("smooth", cutoff=4.0, a2a_cutoff=4.5, a2ee2a_cutoff=3.5, qint_cutoff=3.0),
    ],
)
def test_maps_point_at_the_same_bond(policy: GraphPolicy, drop: EdgeDrop | None) -> None:
    rng = np.random.default_rng(2)
    cell = np.array(CELLS["cube"])
    graph = build_graph(
        rng.uniform(0, 4, (6, 3)), np.full(6, 14), cell, np.ones(3, dtype=bool), policy, drop=drop
    )

    def bond(edges: object, k: int) -> tuple[int, ...]:
        return (int(edges.source[k]), int(edges.target[k]), *map(int, edges.shift[k]))  # type: ignore[attr-defined]

    for maps, one, other in (
        (graph.a2ee2a_of_main, graph.main, graph.a2ee2a),
        (graph.main_of_a2ee2a, graph.a2ee2a, graph.main),
        (graph.qint_of_main, graph.main, graph.qint),
    ):
        inside = {bond(other, k) for k in range(len(other))}
        for k, place in enumerate(maps):
            assert (place >= 0) == (bond(one, k) in inside)
            if place >= 0:
                assert bond(one, k) == bond(other, place)
    for k, place in enumerate(graph.mirror_of_qint):
        source, target, *image = bond(graph.qint, k)
        mirror = (target, source, *(-n for n in image))
        assert (place >= 0) == (mirror in {bond(graph.main, j) for j in range(len(graph.main))})
        assert place < 0 or bond(graph.main, place) == mirror
    assert len(graph.triangles)
    for edge, middle, closing in graph.triangles:
        e, q, g = bond(graph.main, edge), bond(graph.qint, middle), bond(graph.main, closing)
        assert (e[0], q[0]) == (g[0], g[1])
        assert e[1] == q[1]
        assert tuple(np.subtract(e[2:], q[2:])) == g[2:]
