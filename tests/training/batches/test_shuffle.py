"""The shuffled order: every item once, repeatable, different for every seed and epoch, without visible
structure."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from jmp_calc.errors import UsageError
from jmp_calc.training.batches.shuffle import Permutation


@pytest.mark.parametrize("n", [0, 1, 2, 3, 7, 255, 256, 257, 1000, 65_537])
def test_every_item_comes_exactly_once(n: int) -> None:
    order = Permutation(n, seed=3, epoch=2).block(0, n)
    assert order.dtype == np.int64
    assert np.array_equal(np.sort(order), np.arange(n))


def test_blocks_are_parts_of_one_order() -> None:
    permutation = Permutation(1000, seed=0)
    whole = permutation.block(0, 1000)
    blocks = [permutation.block(start, stop) for start, stop in ((0, 1), (1, 700), (700, 1000))]
    assert np.array_equal(np.concatenate(blocks), whole)
    assert np.array_equal(Permutation(1000, seed=0).block(400, 410), whole[400:410])


def test_seed_and_epoch_each_give_another_order() -> None:
    orders = [
        Permutation(5000, seed, epoch).block(0, 5000) for seed, epoch in ((0, 0), (0, 1), (1, 0), (1, 1))
    ]
    for i, one in enumerate(orders):
        for other in orders[:i]:
            # Two independent orders agree in one place on average (Poisson).
            assert (one == other).sum() < 10


@pytest.mark.parametrize("n", [40, 300, 50_000])
def test_each_item_is_equally_likely_in_each_place(n: int) -> None:
    epochs = 1000
    first = np.array([Permutation(n, seed=9, epoch=epoch).block(0, 1)[0] for epoch in range(epochs)])
    counts, _ = np.histogram(first, bins=5, range=(0, n))
    expected = epochs / 5
    chi_squared = float((((counts - expected) ** 2) / expected).sum())
    assert chi_squared < 23.5  # probability 1e-4 with four degrees of freedom


def test_neighbours_in_the_order_are_uncorrelated() -> None:
    n = 200_000
    order = Permutation(n, seed=1).block(0, n) / n
    for lag in (1, 2, 256, 447):
        correlation = float(np.corrcoef(order[:-lag], order[lag:])[0, 1])
        assert abs(correlation) < 5.0 / np.sqrt(n)
    assert abs(float(np.corrcoef(order, np.arange(n))[0, 1])) < 5.0 / np.sqrt(n)


def test_memory_does_not_grow_with_the_number_of_items() -> None:
    tracemalloc.start()
    try:
        block = Permutation(10**12, seed=0).block(10**11, 10**11 + 64)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(np.unique(block)) == 64
    assert 0 <= block.min() <= block.max() < 10**12
    assert peak < 100_000


@pytest.mark.parametrize(("n", "seed", "epoch"), [(-1, 0, 0), (10, -1, 0), (10, 0, -1), (1 << 63, 0, 0)])
def test_what_is_no_order_is_refused(n: int, seed: int, epoch: int) -> None:
    with pytest.raises(UsageError):
        Permutation(n, seed, epoch)


@pytest.mark.parametrize(("start", "stop"), [(-1, 3), (5, 4), (0, 11)])
def test_places_outside_the_order_are_refused(start: int, stop: int) -> None:
    with pytest.raises(UsageError, match="order of 10"):
        Permutation(10, seed=0).block(start, stop)
