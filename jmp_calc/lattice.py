"""Lattices of one, two or three vectors: short bases, and cells completed along open directions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

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
