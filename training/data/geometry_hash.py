"""Recognise the same geometry in two files, whatever the order, the origin or the orientation of its atoms.

A fingerprint is a short vector of invariants: for molecules moments of the pair distances, for periodic cells
the volume and the structure-factor amplitudes of the shortest reciprocal vectors. Equal geometries agree
within rounding of the files (1e-5 Å); different ones differ in the leading digits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product

import numpy as np

TOLERANCE = 2e-5
"""Relative difference below which two invariants are equal."""
_MILLER = np.array([h for h in product((-1, 0, 1), repeat=3) if h > (0, 0, 0)], dtype=np.float64)


def fingerprint(numbers: np.ndarray, positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray) -> np.ndarray:
    """Invariants (5,) of a structure: numbers (N,), positions (N, 3) and cell (3, 3) in Å, pbc (3,)."""
    charge = numbers.astype(np.float64)
    if not pbc.any() or abs(np.linalg.det(cell)) < 1e-6:
        centred = positions - (charge @ positions) / charge.sum()
        gyration = (centred * charge[:, None]).T @ centred
        fourth = (charge * (centred**2).sum(1) ** 2).sum()
        return np.concatenate([np.linalg.eigvalsh(gyration), [fourth, np.sqrt(charge) @ (centred**2).sum(1)]])
    scaled = np.linalg.solve(cell.T, positions.T).T
    phase = 2.0 * np.pi * scaled @ _MILLER.T
    amplitude = np.hypot(charge @ np.cos(phase), charge @ np.sin(phase))
    lengths = (cell**2).sum(1)
    return np.concatenate(
        [
            [abs(np.linalg.det(cell)), np.prod(lengths) ** (1 / 3), lengths.sum()],
            [np.sqrt((amplitude**2).sum() + charge.sum()), np.cbrt((amplitude**3).sum() + charge.sum())],
        ]
    )


def key(
    numbers: np.ndarray, positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray
) -> tuple[tuple[float, ...], ...]:
    """Hashable keys of a structure: two structures are duplicates when they share one of the two.

    Shapes: numbers (N,), positions (N, 3) Å, cell (3, 3) Å, pbc (3,).
    """
    values = fingerprint(numbers, positions, cell, pbc)
    counts = np.unique(numbers, return_counts=True)
    head = (*(float(z) for z in counts[0]), *(float(n) for n in counts[1]), float(pbc.any()))
    # Two grids, half a step apart: values that round apart on one of them meet on the other.
    scale = np.log(np.abs(values) + 0.1) / TOLERANCE
    return ((*head, 0.0, *np.round(scale)), (*head, 1.0, *np.floor(scale)))


class Seen:
    """Set of geometries; ``name`` of the first set that brought a geometry is kept."""

    def __init__(self) -> None:
        self._names: dict[tuple[float, ...], str] = {}

    def __len__(self) -> int:
        return len(self._names) // 2

    def find(self, keys: Iterable[tuple[float, ...]]) -> str | None:
        """Name of the set that has the geometry, or None."""
        return next((self._names[k] for k in keys if k in self._names), None)

    def add(self, keys: Iterable[tuple[float, ...]], name: str) -> None:
        """Remember a geometry."""
        for k in keys:
            self._names.setdefault(k, name)

    def names(self) -> Iterator[str]:
        """Names of all sets that brought geometries."""
        return iter(sorted(set(self._names.values())))
