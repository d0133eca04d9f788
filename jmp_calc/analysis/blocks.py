"""Averages of correlated series with honest errors, from blocks (Flyvbjerg and Petersen, J. Chem. Phys. 91,
461, 1989), whose length is chosen as by Lee, Conduit, Nemec, López Ríos and Drummond, Phys. Rev. E 83, 066706
(2011)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FEWEST_BLOCKS = 4
"""That an error is told from."""


@dataclass(frozen=True)
class Average:
    """Mean of a series whose neighbours are alike."""

    mean: float
    standard_error: float
    std: float
    block_length: int
    """Values in a block beyond which blocks are independent; that of the largest error where they never
    were."""
    converged: bool
    """Whether the series is long enough for such blocks."""


def block_average(values: np.ndarray) -> Average:
    """Mean of values (n,), n at least 2, with the error of the shortest blocks of B values for which
    B³ > 2 n (error of blocks / error of single values)⁴: longer ones are fewer without need."""
    series, length = np.asarray(values, dtype=float), 1
    mean, std = float(np.mean(series)), float(np.std(series))
    single = float(series.std(ddof=1) / np.sqrt(len(series)))
    levels = [(single, 1)]
    if single == 0:
        return Average(mean, 0.0, std, 1, True)
    while len(series) // 2 >= FEWEST_BLOCKS:
        pairs = len(series) // 2
        series, length = (series[: 2 * pairs : 2] + series[1 : 2 * pairs : 2]) / 2, 2 * length
        error = float(series.std(ddof=1) / np.sqrt(len(series)))
        levels.append((error, length))
        if length**3 > 2 * len(values) * (error / single) ** 4:
            return Average(mean, max(error, single), std, length, True)
    error, length = max(levels)
    return Average(mean, error, std, length, False)
