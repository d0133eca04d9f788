"""Lattices of one, two or three vectors: short bases, and cells completed along open directions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

VACUUM = 5.0
"""Å without atoms along a periodic direction, from which on a structure is taken for open along it."""
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def short_basis(vectors: Floats) -> Ints:
    """Integer matrix H (D, D) such that H @ vectors (D, 3) is a short basis of the same lattice, D <= 3.

    Pairwise reduction: each vector loses whole multiples of the others while that makes it shorter.
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


def completed(cell: Floats, periodic: NDArray[np.bool_]) -> Floats:
    """The cell (3, 3) with orthonormal vectors along its open directions, orthogonal to the periodic ones."""
    full = np.array(cell, dtype=float)
    vectors = full[periodic]
    if not len(vectors):
        return np.eye(3)
    _, _, rows = np.linalg.svd(vectors, full_matrices=True)
    full[~periodic] = rows[len(vectors) :]
    return full


def heights(cell: Floats) -> Floats:
    """Distances (3,) in Å between the lattice planes of a cell (3, 3) of three independent vectors."""
    return 1.0 / np.asarray(np.linalg.norm(np.linalg.inv(cell), axis=0))


def gaps(positions: Floats, cell: Floats, periodic: NDArray[np.bool_]) -> Floats:
    """Largest distance (D,) in Å without an atom along each of the D periodic directions, across the planes
    of the cell; positions (N, 3), cell (3, 3), periodic (3,)."""
    full = completed(cell, periodic)
    places = np.sort(np.linalg.solve(full.T, positions.T) % 1.0, axis=1)
    largest: Floats = np.diff(places, axis=1, append=places[:, :1] + 1.0).max(axis=1) * heights(full)
    return largest[periodic]
