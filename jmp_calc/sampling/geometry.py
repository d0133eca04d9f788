"""Moves of atoms in space, and how close atoms are to each other; plain arrays in Å."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.spatial.distance import cdist, pdist

from ..model.elements import COVALENT_RADII

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

RADII = np.array(COVALENT_RADII)
"""Covalent radii by atomic number, Å."""
CLOSEST = 0.6
"""Pairs nearer than this part of the sum of their covalent radii overlap."""


def closest_ratio(numbers: Ints, positions: Floats) -> float:
    """Smallest distance between two atoms of a molecule, as part of the sum of their covalent radii; infinite
    for one atom. numbers: (N,); positions: (N, 3), Å."""
    if len(numbers) < 2:
        return float("inf")
    radii = RADII[numbers]
    first, second = np.triu_indices(len(numbers), 1)
    return float((pdist(positions) / (radii[first] + radii[second])).min())


def random_rotation(rng: Generator) -> Floats:
    """(3, 3), uniform over all rotations."""
    matrix, upper = np.linalg.qr(rng.normal(size=(3, 3)))
    matrix = matrix * np.sign(np.diag(upper))
    if np.linalg.det(matrix) < 0:
        matrix[:, 0] *= -1
    return matrix


def random_direction(rng: Generator) -> Floats:
    """(3,), a unit vector."""
    vector = rng.normal(size=3)
    return vector / np.linalg.norm(vector)


def rotated(positions: Floats, axis: Floats, origin: Floats, angle: float) -> Floats:
    """(N, 3) turned by ``angle`` (radians) about an axis (3,) through ``origin`` (3,), Å."""
    unit = axis / np.linalg.norm(axis)
    moved = positions - origin
    along = np.outer(moved @ unit, unit)
    across = np.cross(unit, moved)
    return origin + along + np.cos(angle) * (moved - along) + np.sin(angle) * across


def placed(rng: Generator, fixed: Floats, guest: Floats, distance: float) -> Floats:
    """``guest`` (M, 3) turned at random and moved along a random direction to where its nearest atom is
    ``distance`` Å away from the nearest of ``fixed`` (N, 3)."""
    guest = (guest - guest.mean(axis=0)) @ random_rotation(rng).T
    start, direction = fixed[rng.integers(len(fixed))], random_direction(rng)

    def gap(length: float) -> float:
        return float(cdist(fixed, guest + start + length * direction).min())

    reach = float(np.linalg.norm(fixed - start, axis=1).max() + np.linalg.norm(guest, axis=1).max())
    near, far = 0.0, reach + distance + 1.0
    # From outside, the first place where the gap is right: seen from there the guest does not pass through.
    for length in np.arange(far, 0.0, -0.5):
        if gap(length) < distance:
            near, far = float(length), float(length) + 0.5
            break
    for _ in range(30):
        middle = (near + far) / 2
        near, far = (middle, far) if gap(middle) < distance else (near, middle)
    return guest + start + far * direction


def aligned(positions: Floats, target: Floats) -> Floats:
    """``positions`` (N, 3) shifted and turned onto ``target`` (N, 3) with the least squares of distances."""
    centre, goal = positions.mean(axis=0), target.mean(axis=0)
    left, _, right = np.linalg.svd((positions - centre).T @ (target - goal))
    sign = np.sign(np.linalg.det(left @ right))
    rotation = left @ np.diag([1.0, 1.0, sign]) @ right
    return (positions - centre) @ rotation + goal
