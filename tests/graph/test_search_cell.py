"""Bounds of the neighbour search: cells far too small and space far too wide cost nothing."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from jmp_calc.errors import BadStructureError
from jmp_calc.graph.neighbours import neighbour_edges
from tests.graph.test_neighbours import brute_force

ALL = np.ones(3, dtype=bool)
PAIR = np.array([[0.1, 0.2, 0.3], [0.1, 0.2, 1.0]])


def grid(count: int, spacing: float) -> np.ndarray:
    return spacing * np.stack(np.meshgrid(*[np.arange(count)] * 3), -1).reshape(-1, 3)


CROWDS = {
    "tiny cube": (PAIR[:1], 0.01 * np.eye(3), ALL),
    "flat cell": (PAIR, np.array([[8, 0, 0], [0, 8, 0], [8, 0, 1e-4]]), ALL),
    "thread": (PAIR, np.diag([1e-4, 30, 30]), ALL),
    "tiny area": (PAIR, np.diag([0.02, 0.03, 0]), np.array([True, True, False])),
    "tiny period": (PAIR, np.diag([0, 0, 1e-5]), np.array([False, False, True])),
    "positions in Å, cell in nm": (grid(10, 2.0), 2.0 * np.eye(3), ALL),
    "cluster in nm": (grid(30, 0.2), np.zeros((3, 3)), ~ALL),
}


@pytest.mark.parametrize("name", CROWDS)
def test_crowds_are_refused_before_anything_is_allocated(name: str) -> None:
    positions, cell, pbc = CROWDS[name]
    tracemalloc.start()
    with pytest.raises(BadStructureError, match=r"neighbours within 6 Å, .* no material is that dense"):
        neighbour_edges(positions, cell, pbc, 6.0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2e7


@pytest.mark.parametrize("pbc", [ALL, ~ALL], ids=["periodic", "open"])
def test_atoms_all_over_a_huge_box_are_refused(pbc: np.ndarray) -> None:
    positions = np.random.default_rng(0).uniform(0, 1e6, (300, 3))
    with pytest.raises(BadStructureError, match="too far for one neighbour search"):
        neighbour_edges(positions, 1e6 * np.eye(3) * pbc, pbc, 6.0)


def test_dense_matter_is_no_crowd() -> None:
    diamond = (
        3.2
        / 4
        * np.array([[0, 0, 0], [0, 2, 2], [2, 0, 2], [2, 2, 0], [1, 1, 1], [1, 3, 3], [3, 1, 3], [3, 3, 1]])
    )
    positions = np.concatenate([diamond + 3.2 * shift for shift in grid(4, 1.0)])
    edges, _ = neighbour_edges(positions, 4 * 3.2 * np.eye(3), ALL, 6.0)  # at about 150 GPa
    assert len(edges) > 1e5


@pytest.mark.parametrize("seed", range(4))
def test_empty_space_in_a_skewed_period_is_cut_out_and_no_pair_with_it(seed: int) -> None:
    random = np.random.default_rng(seed)
    cell = (
        np.array([[1e6, 0, 0], [3e5, 2e6, 0], [1.0, 2.0, 7.0]]) @ np.linalg.qr(random.normal(size=(3, 3)))[0]
    )
    positions = random.normal(size=(6, 3)) * 4 + random.normal(size=3) * 1e6
    positions[:3] += np.array([2, -1, 0]) @ cell
    near = np.concatenate([positions[:3] - np.array([2, -1, 0]) @ cell, positions[3:]])
    edges, length = neighbour_edges(positions, cell, ALL, 5.0)
    _, expected = neighbour_edges(near, cell * [[0], [0], [1]], np.array([False, False, True]), 5.0)
    assert len(edges)
    np.testing.assert_allclose(np.sort(length), np.sort(expected), atol=1e-8)


def test_gaps_wider_than_two_cutoffs_change_no_edge() -> None:
    random = np.random.default_rng(5)
    cell = np.array([[30.0, 0, 0], [9.0, 28.0, 0], [4.0, -5.0, 33.0]])
    positions = random.uniform(-1, 1.2, (12, 3)) * [0.3, 1.0, 0.2] @ cell
    edges, _ = neighbour_edges(positions, cell, ALL, 4.0)
    found = zip(edges.source.tolist(), edges.target.tolist(), *edges.shift.T.tolist())
    assert set(found) == set(brute_force(positions, cell, ALL, 4.0))
