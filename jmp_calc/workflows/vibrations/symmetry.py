"""Symmetry number of a molecule: how many turns leave it as it is, which its rotational entropy needs."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
SAME_A = 0.05
"""Atoms that a turn brings this near to others, Å, are exchanged by it."""


def symmetry_number(numbers: NDArray[np.int64], positions: Floats, masses: Floats) -> int:
    """Proper rotations, the identity among them, that map a molecule onto itself; 2 or 1 of a linear one.

    Args:
        numbers: atomic numbers (n,).
        positions: (n, 3), Å.
        masses: (n,), amu; isotopes are told apart.
    """
    arms = positions - masses @ positions / masses.sum()
    kinds = np.unique(np.column_stack([numbers, masses]), axis=0, return_inverse=True)[1].ravel()
    sizes = np.linalg.norm(arms, axis=1)
    if sizes.max() < SAME_A:
        return 1
    longest = arms[sizes.argmax()] / sizes.max()
    if np.linalg.norm(np.cross(arms, longest), axis=1).max() < SAME_A:  # all in one line
        return 2 if _maps(-np.eye(3), arms, kinds) else 1
    alike = (kinds[:, None] == kinds[None, :]) & (np.abs(sizes[:, None] - sizes[None, :]) < SAME_A)
    first, second = _reference(arms, sizes, alike.sum(axis=1))
    apart = np.linalg.norm(arms[first] - arms[second])
    start = _frame(arms[first], arms[second])
    turns: list[Floats] = []
    for i, j in product(np.flatnonzero(alike[first]), np.flatnonzero(alike[second])):
        if i == j or abs(np.linalg.norm(arms[i] - arms[j]) - apart) > 2 * SAME_A:
            continue
        turn = _frame(arms[i], arms[j]) @ start.T
        if _maps(turn, arms, kinds) and not any(np.abs(turn - known).max() < 0.1 for known in turns):
            turns.append(turn)
    return len(turns)


def _reference(arms: Floats, sizes: Floats, counts: NDArray[np.int64]) -> tuple[int, int]:
    """Two atoms off the centre and not in one line with it, of which there are few (counts (n,) of each)."""
    off = np.flatnonzero(sizes > 10 * SAME_A)
    candidates = off if len(off) else np.flatnonzero(sizes > SAME_A)
    first = candidates[counts[candidates].argmin()]
    across = np.linalg.norm(np.cross(arms, arms[first] / sizes[first]), axis=1)
    wide = np.flatnonzero(across > 0.3 * max(float(sizes.max()), SAME_A))
    second = wide[counts[wide].argmin()] if len(wide) else across.argmax()
    return int(first), int(second)


def _frame(a: Floats, b: Floats) -> Floats:
    """Right-handed orthonormal columns (3, 3), the first along a, the third across the plane of a and b."""
    along = a / np.linalg.norm(a)
    across = np.cross(a, b)
    across = across / max(float(np.linalg.norm(across)), 1e-12)
    return np.column_stack([along, np.cross(across, along), across])


def _maps(turn: Floats, arms: Floats, kinds: NDArray[np.int64]) -> bool:
    """Whether a turn (3, 3) brings every atom to one of its kind."""
    distances = np.linalg.norm((arms @ turn.T)[:, None] - arms[None], axis=2)
    distances[kinds[:, None] != kinds[None, :]] = np.inf
    return bool((distances.min(axis=1) < SAME_A).all())
