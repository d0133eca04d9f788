"""A kept neighbour list gives, bit for bit, the edges of a new search."""

from __future__ import annotations

import numpy as np
import pytest

from jmp_calc.graph.neighbours import neighbour_edges
from jmp_calc.graph.skin import ReusedNeighbours

CUTOFF = 3.0
CELL = np.array([[5.0, 0.2, -0.3], [1.9, 4.4, 0.1], [-0.8, 0.7, 4.9]])
PERIODIC = {
    "crystal": (True, True, True),
    "slab": (True, True, False),
    "chain": (False, False, True),
    "molecule": (False,) * 3,
}


def assert_equal_to_a_new_search(
    search: ReusedNeighbours, positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray
) -> None:
    edges, length = search(positions, cell, pbc, CUTOFF)
    expected, expected_length = neighbour_edges(positions, cell, pbc, CUTOFF)
    for name in ("source", "target", "shift"):
        assert np.array_equal(getattr(edges, name), getattr(expected, name)), name
    assert np.array_equal(length, expected_length)


@pytest.mark.capability("B7", "B8")
@pytest.mark.parametrize("name", PERIODIC)
def test_edges_along_a_walk_are_those_of_new_searches(name: str) -> None:
    rng, pbc = np.random.default_rng(0), np.array(PERIODIC[name])
    cell = np.where(pbc[:, None], CELL, 0.0)
    positions = rng.uniform(-2.0, 7.0, (14, 3))
    search = ReusedNeighbours(0.5)
    for _ in range(60):  # atoms leave the cell on the way and stay unwrapped
        positions = positions + rng.normal(0.0, 0.03, positions.shape)
        assert_equal_to_a_new_search(search, positions, cell, pbc)
    assert search.searches < search.calls / 3


def test_edges_under_a_changing_cell_are_those_of_new_searches() -> None:
    rng, pbc = np.random.default_rng(1), np.ones(3, dtype=bool)
    fractional, search, cell = rng.uniform(0.0, 1.0, (10, 3)), ReusedNeighbours(0.5), CELL
    for step in range(60):
        cell = cell @ (np.eye(3) + rng.normal(0.0, 0.002, (3, 3))) * (0.997 if step < 30 else 1.003)
        fractional = fractional + rng.normal(0.0, 0.002, fractional.shape)
        assert_equal_to_a_new_search(search, fractional @ cell, cell, pbc)
    assert search.searches < search.calls / 2


def test_wrapping_atoms_between_calls_is_noticed() -> None:
    rng, pbc = np.random.default_rng(2), np.ones(3, dtype=bool)
    positions, search = rng.uniform(0.0, 5.0, (8, 3)), ReusedNeighbours(0.5)
    for _ in range(12):
        positions = positions + rng.normal(0.0, 0.05, positions.shape) + 0.3
        wrapped = np.linalg.solve(CELL.T, positions.T).T % 1.0 @ CELL
        assert_equal_to_a_new_search(search, wrapped, CELL, pbc)


def test_other_structures_in_between_are_noticed() -> None:
    rng, pbc = np.random.default_rng(3), np.ones(3, dtype=bool)
    large, small, search = rng.uniform(0.0, 5.0, (8, 3)), rng.uniform(0.0, 5.0, (5, 3)), ReusedNeighbours(0.5)
    for _ in range(5):
        for positions in (large, large + 0.001, small, large + 0.002):
            assert_equal_to_a_new_search(search, positions, CELL, pbc)
            assert_equal_to_a_new_search(search, positions, CELL, np.array([True, False, True]))


def test_jumps_larger_than_the_skin_are_noticed() -> None:
    rng, pbc, search = np.random.default_rng(4), np.zeros(3, dtype=bool), ReusedNeighbours(0.5)
    positions = rng.uniform(0.0, 6.0, (12, 3))
    for size in (0.01, 0.01, 0.2, 0.01, 0.3, 0.01, 1.0, 0.01):
        positions = positions + rng.normal(0.0, size, positions.shape)
        assert_equal_to_a_new_search(search, positions, np.zeros((3, 3)), pbc)


def test_a_single_call_makes_no_larger_list() -> None:
    search = ReusedNeighbours(0.5)
    search(np.zeros((1, 3)), CELL, np.ones(3, dtype=bool), CUTOFF)
    assert search._kept is None
