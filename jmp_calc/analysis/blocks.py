"""Averages of correlated series with honest errors (Flyvbjerg and Petersen, J. Chem. Phys. 91, 461, 1989)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FEWEST_BLOCKS = 16


@dataclass(frozen=True)
class Average:
    """Mean of a series whose neighbours are alike."""

    mean: float
    standard_error: float
    std: float
    block_length: int
    """Values in a block beyond which blocks are independent; the longest that was tried where they never
    were."""
    converged: bool
    """Whether the error stopped growing with the length of the blocks."""


def block_average(values: np.ndarray) -> Average:
    """Mean of values (n,), n at least 2, with the error of blocks so long that it no longer grows."""
    levels: list[tuple[int, float, float]] = []
    series, length = np.asarray(values, dtype=float), 1
    while len(series) >= max(2, min(FEWEST_BLOCKS, len(values))):
        error = float(series.std(ddof=1) / np.sqrt(len(series)))
        levels.append((length, error, error / np.sqrt(2 * (len(series) - 1))))
        pairs = len(series) // 2
        series, length = (series[: 2 * pairs : 2] + series[1 : 2 * pairs : 2]) / 2, 2 * length
    for index, (size, error, doubt) in enumerate(levels[:-1]):
        if all(later <= error + doubt + more for _, later, more in levels[index + 1 :]):
            return Average(float(np.mean(values)), error, float(np.std(values)), size, True)
    size, error, _ = max(levels, key=lambda level: level[1])
    flat = bool(np.ptp(values) == 0)
    return Average(float(np.mean(values)), error, float(np.std(values)), size, flat)
