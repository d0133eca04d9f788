"""Sampling across data sets by temperature as exact enlargement (``training.md`` section 4): no random draws,
nothing dropped.

A set of D frames is viewed as n >= D items, of which item k is frame k mod D; the enlarged sets are joined
and shuffled.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from jmp_calc.errors import UsageError

_ROUND_OFF = 1e-9


def enlarged_counts(
    sizes: Sequence[int], temperature: float, weights: Sequence[float] | None = None
) -> tuple[int, ...]:
    """Items of each set in an epoch: in the ratios weight * size^(1/temperature), and at least its size.

    The set that is relatively the largest keeps its size. Exact for temperatures 1, 2 and infinity (weights
    count as the decimal numbers that they print as); for others, 1e-9 of a count are taken for round-off
    before it is rounded up.

    Args:
        sizes: frames of each set, at least 1.
        temperature: 1: as the sizes are; ``math.inf``: all equal.
        weights: a factor per set; None: 1.

    Raises:
        UsageError: for an empty set, or a temperature or weight that is not positive.
    """
    factors = [Fraction(str(weight)) for weight in _checked(sizes, temperature, weights)]
    if temperature in (1.0, 2.0) or math.isinf(temperature):
        return _exact(sizes, temperature, factors)
    ratios = [
        float(factor) * size ** (1.0 / temperature) for factor, size in zip(factors, sizes, strict=True)
    ]
    scale = max(size / ratio for size, ratio in zip(sizes, ratios, strict=True))
    counts = (math.ceil(scale * ratio * (1.0 - _ROUND_OFF)) for ratio in ratios)
    return tuple(max(count, size) for count, size in zip(counts, sizes, strict=True))


def _exact(sizes: Sequence[int], temperature: float, factors: Sequence[Fraction]) -> tuple[int, ...]:
    """Smallest n with n^p >= (scale * ratio)^p, where p = 2 makes the ratios of temperature 2 rational."""
    power = 2 if temperature == 2.0 else 1
    ratios = [
        f**power * (1 if math.isinf(temperature) else size) for f, size in zip(factors, sizes, strict=True)
    ]
    scale = max(size**power / ratio for size, ratio in zip(sizes, ratios, strict=True))
    wholes = [math.ceil(scale * ratio) for ratio in ratios]
    return tuple(wholes if power == 1 else (math.isqrt(whole - 1) + 1 for whole in wholes))


def _checked(sizes: Sequence[int], temperature: float, weights: Sequence[float] | None) -> Sequence[float]:
    weights = [1.0] * len(sizes) if weights is None else weights
    if len(weights) != len(sizes):
        raise UsageError(f"There are {len(weights)} weights for {len(sizes)} data sets.")
    if not sizes or min(sizes) < 1:
        raise UsageError(
            f"A data set has no frames (sizes {', '.join(map(str, sizes)) or 'none'}).", hint="leave it out"
        )
    if not temperature > 0:
        raise UsageError(
            f"The temperature {temperature} is not positive.",
            hint="1: as the sizes are; inf: all sets equal",
        )
    if not all(weight > 0 and math.isfinite(weight) for weight in weights):
        raise UsageError(f"Weights of data sets must be positive: {', '.join(map(str, weights))}.")
    return weights


class Enlarged:
    """Items 0 ... len-1 of enlarged sets one after the other; memory grows with the number of sets only."""

    def __init__(self, sizes: Sequence[int], counts: Sequence[int]) -> None:
        """``sizes``: frames of each set; ``counts``: items of each set (``enlarged_counts``)."""
        if len(sizes) != len(counts) or not sizes or min(sizes) < 1 or min(counts) < 0:
            raise UsageError(f"Counts {tuple(counts)} do not belong to data sets of sizes {tuple(sizes)}.")
        self._sizes = np.asarray(sizes, dtype=np.int64)
        self._first = np.concatenate([[0], np.cumsum(np.asarray(counts, dtype=np.int64))])

    def __len__(self) -> int:
        return int(self._first[-1])

    def locate(self, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Set and frame in it, (K,) int64 each, of items (K,); UsageError for an item that is none."""
        items = np.asarray(items, dtype=np.int64)
        if items.size and not 0 <= int(items.min()) <= int(items.max()) < len(self):
            raise UsageError(f"Items run from 0 to {len(self) - 1}, not from {items.min()} to {items.max()}.")
        found = np.searchsorted(self._first, items, side="right") - 1
        return found, (items - self._first[found]) % self._sizes[found]
