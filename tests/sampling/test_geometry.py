"""Moves of atoms do what their names say."""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import cdist, pdist

from jmp_calc.sampling.draws import generator
from jmp_calc.sampling.geometry import aligned, closest_ratio, placed, random_rotation, rotated


def test_guests_are_placed_at_the_distance() -> None:
    for index in range(20):
        rng = generator(0, index)
        host, guest = rng.normal(size=(9, 3)) * 3, rng.normal(size=(6, 3)) * 2
        moved = placed(rng, host, guest, 2.5)
        assert abs(cdist(host, moved).min() - 2.5) < 1e-5
        assert np.allclose(pdist(moved), pdist(guest))


def test_turning_about_a_bond_keeps_distances_to_it() -> None:
    rng = generator(0, 1)
    points, axis, origin = rng.normal(size=(5, 3)), rng.normal(size=3), rng.normal(size=3)
    turned = rotated(points, axis, origin, 1.1)
    assert np.allclose(np.linalg.norm(turned - origin, axis=1), np.linalg.norm(points - origin, axis=1))
    assert np.allclose(turned @ axis, points @ axis)
    assert np.allclose(rotated(turned, axis, origin, -1.1), points)


def test_rotations_are_proper_and_undone_by_alignment() -> None:
    rng = generator(0, 2)
    turn, points = random_rotation(rng), rng.normal(size=(7, 3))
    assert np.allclose(turn @ turn.T, np.eye(3)) and np.isclose(np.linalg.det(turn), 1.0)
    assert np.allclose(aligned(points @ turn.T + 3.0, points), points)


def test_closest_ratio_is_that_of_covalent_radii() -> None:
    assert np.isclose(closest_ratio(np.array([6, 6]), np.array([[0, 0, 0], [0, 0, 1.52]])), 1.0)
    assert closest_ratio(np.array([6]), np.zeros((1, 3))) == np.inf
