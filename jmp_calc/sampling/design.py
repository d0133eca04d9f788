"""Which structures of a pool say most about its atoms: an optimal design for a linear model on descriptors.

A model that is linear in the descriptors x of its atoms, with the structures K labelled, has the variance
xᵀ (Λ + Σ x xᵀ over the atoms of K)⁻¹ x at an atom. Each pick is the structure that lowers the sum of these
variances over all atoms of the pool most (I-optimal design, greedily; Fedorov, Theory of Optimal Experiments,
1972). So atoms unlike all labelled ones count, common ones more than rare ones, and none twice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DIRECTIONS = 32
"""Principal directions of the descriptors that are looked at."""
ROUNDING = 1e-5
"""Share of their length by which descriptors of one structure may differ from batch to batch."""
PRIOR = 1e-3
"""Λ in units of the atoms of a mean structure."""


@dataclass(frozen=True, eq=False)
class Basis:
    """Principal directions of the descriptors of some atoms."""

    mean: NDArray[np.float64]
    """(D,)"""
    directions: NDArray[np.float64]
    """(D, d) each divided by the largest standard deviation along any."""

    @classmethod
    def of(cls, atoms: NDArray[np.floating]) -> Basis:
        """From descriptors (N, D) of atoms."""
        rows = np.asarray(atoms, dtype=np.float64)
        mean = rows.mean(axis=0)
        values, vectors = np.linalg.eigh(np.cov(rows - mean, rowvar=False, bias=True).reshape(2 * mean.shape))
        # Descriptors of equivalent atoms differ by rounding alone.
        smallest = ROUNDING * float(np.linalg.norm(mean)) or 1.0
        largest = max(float(np.sqrt(max(values[-1], 0.0))), smallest)
        return cls(mean, vectors[:, ::-1][:, :DIRECTIONS] / largest)

    def moment(self, atoms: NDArray[np.floating]) -> NDArray[np.float64]:
        """Σ x xᵀ (d + 1, d + 1) over the atoms of a structure with descriptors (N, D); x ends with a 1."""
        rows = (np.asarray(atoms, dtype=np.float64) - self.mean) @ self.directions
        rows = np.column_stack([rows, np.ones(len(rows))])
        return rows.T @ rows


def picks(
    pool: NDArray[np.float64], known: NDArray[np.float64], n: int
) -> tuple[list[int], NDArray[np.float64]]:
    """Places of at most ``n`` structures in the order in which they are picked, and the share of the sum of
    variances (n,) that is left after each.

    Args:
        pool: moments (P, d + 1, d + 1) of the structures to choose from.
        known: moments (K, d + 1, d + 1) of the labelled structures.
        n: how many.
    """
    target = pool.sum(axis=0)
    precision = PRIOR * float(target[-1, -1]) / len(pool) * np.eye(len(target)) + known.sum(axis=0)
    before = float(np.trace(np.linalg.solve(precision, target)))
    free, order, left = np.arange(len(pool)), list[int](), list[float]()
    while len(order) < n and len(free):
        variances = np.einsum("pij,ji->p", np.linalg.inv(precision + pool[free]), target)
        best = int(variances.argmin())
        order.append(int(free[best]))
        left.append(float(variances[best]) / before)
        precision = precision + pool[order[-1]]
        free = np.delete(free, best)
    return order, np.array(left)
