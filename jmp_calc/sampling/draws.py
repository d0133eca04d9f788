"""Random numbers of one sample: from the seed and the number of the sample, and from nothing else."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.random import Generator, SeedSequence, default_rng

Item = TypeVar("Item")

_GOLDEN = (math.sqrt(5) - 1) / 2


def generator(seed: int, index: int) -> Generator:
    """The random numbers of sample ``index``."""
    return default_rng(SeedSequence(seed, spawn_key=(index,)))


def position(seed: int, index: int) -> float:
    """A number in [0, 1) that fills the interval evenly as ``index`` runs (steps of the golden ratio)."""
    offset = default_rng(SeedSequence(seed)).random()
    return float((offset + index * _GOLDEN) % 1.0)


def kind_at(place: float, shares: Mapping[str, float]) -> tuple[str, float]:
    """The kind whose share of [0, 1) holds ``place``, and where in that share it lies, in [0, 1).

    Evenly filled places give every kind its share at any length of the set, and fill each share evenly too:
    a kind that goes through a list (dimers of all pairs) leaves nothing out.
    """
    total, begin = sum(shares.values()), 0.0
    chosen = next(reversed([kind for kind, share in shares.items() if share > 0]))
    for kind, share in shares.items():
        width = share / total
        if share > 0 and (place < begin + width or kind == chosen):
            return kind, min(max((place - begin) / width, 0.0), math.nextafter(1.0, 0.0))
        begin += width
    raise AssertionError("shares hold no kind")


def log_uniform(rng: Generator, low: float, high: float) -> float:
    """A number whose logarithm is uniform between those of the bounds."""
    return float(math.exp(rng.uniform(math.log(low), math.log(high))))


def weighted(rng: Generator, items: Mapping[Item, float]) -> Item:
    """One of the keys, as often as its value says."""
    names, weights = list(items), np.fromiter(items.values(), dtype=float)
    return names[int(np.searchsorted(np.cumsum(weights), rng.random() * weights.sum(), side="right"))]


def one_of(rng: Generator, items: Sequence[Item]) -> Item:
    """One of the items."""
    return items[int(rng.integers(len(items)))]
