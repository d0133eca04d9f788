"""Enlargement by temperature: the counts of training.md section 4, exact, and nothing ever dropped."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from jmp_calc.errors import UsageError
from jmp_calc.training.batches.enlarge import Enlarged, enlarged_counts

SIZES = (100, 8, 2, 10)


@pytest.mark.parametrize(
    ("temperature", "counts"),
    [(1.0, (100, 8, 2, 10)), (2.0, (100, 29, 15, 32)), (math.inf, (100, 100, 100, 100))],
)
def test_worked_example_of_the_paper(temperature: float, counts: tuple[int, ...]) -> None:
    assert enlarged_counts(SIZES, temperature) == counts


def test_published_mixture_at_temperature_two() -> None:
    millions = np.array(enlarged_counts([100_000_000, 8_000_000, 2_000_000, 10_000_000], 2.0)) / 1e6
    assert np.allclose(millions, [100.0, 28.28, 14.14, 31.62], atol=5e-3)


@pytest.mark.parametrize("size", [3, 10**8, 10**15 + 1])
def test_whole_results_are_not_rounded_up_by_round_off(size: int) -> None:
    # sqrt(size * 9 size) = 3 size, which floats may put just above.
    assert enlarged_counts([9 * size, size], 2.0) == (9 * size, 3 * size)
    assert enlarged_counts([4 * size, size], 2.0) == (4 * size, 2 * size)
    assert enlarged_counts([size, 7 * size], 1.0) == (size, 7 * size)


def test_counts_are_the_least_that_keep_the_ratios() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        sizes = rng.integers(1, 10**9, 4).tolist()
        largest = max(sizes)
        for size, count in zip(sizes, enlarged_counts(sizes, 2.0), strict=True):
            assert count**2 >= largest * size > (count - 1) ** 2


def test_weights_multiply_the_ratios() -> None:
    assert enlarged_counts((100, 100), 1.0, weights=(1.0, 3.0)) == (100, 300)
    assert enlarged_counts((100, 100), 2.0, weights=(0.1, 0.3)) == (100, 300)
    assert enlarged_counts((100, 50), math.inf, weights=(1.0, 0.5)) == (100, 50)
    assert enlarged_counts((100, 50), math.inf, weights=(0.5, 1.0)) == (100, 200)
    # Factors 4 and 1: the second set, the smaller one, is relatively the largest and keeps its size.
    assert enlarged_counts((100, 50), 1.0, weights=(4.0, 1.0)) == (400, 50)


@pytest.mark.parametrize("temperature", [1.5, 3.0, 10.0])
def test_other_temperatures_follow_the_formula(temperature: float) -> None:
    counts = enlarged_counts(SIZES, temperature)
    exact = [100.0 * (size / 100.0) ** (1.0 / temperature) for size in SIZES]
    assert counts == tuple(math.ceil(value * (1.0 - 1e-9)) for value in exact)
    assert enlarged_counts((1000, 8, 1), 3.0) == (1000, 200, 100)  # cube roots of 1000, 8 and 1


@pytest.mark.parametrize("temperature", [1.0, 1.3, 2.0, 4.0, math.inf])
def test_no_frame_is_ever_dropped(temperature: float) -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        sizes = rng.integers(1, 10**10, 5).tolist()
        weights = rng.uniform(0.1, 5.0, 5).tolist()
        counts = enlarged_counts(sizes, temperature, weights)
        assert all(count >= size for count, size in zip(counts, sizes, strict=True))
        assert any(count == size for count, size in zip(counts, sizes, strict=True))


def test_items_run_through_their_set_again_and_again() -> None:
    enlarged = Enlarged(SIZES, enlarged_counts(SIZES, 2.0))
    assert len(enlarged) == 100 + 29 + 15 + 32
    found, frames = enlarged.locate(np.arange(len(enlarged)))
    assert np.array_equal(np.bincount(found), [100, 29, 15, 32])
    assert np.array_equal(frames[found == 2], np.arange(15) % 2)
    assert np.array_equal(frames[found == 0], np.arange(100))
    times = np.bincount(frames[found == 1])
    assert times.min() == 29 // 8
    assert times.max() == Fraction(29, 8).__ceil__()


def test_items_in_any_order_and_none_at_all() -> None:
    enlarged = Enlarged((3, 2), (3, 5))
    found, frames = enlarged.locate(np.array([7, 0, 3, 4]))
    assert found.tolist() == [1, 0, 1, 1]
    assert frames.tolist() == [0, 0, 0, 1]
    assert enlarged.locate(np.array([], dtype=int))[0].tolist() == []


@pytest.mark.parametrize("item", [-1, 8])
def test_an_item_outside_is_refused(item: int) -> None:
    with pytest.raises(UsageError, match="0 to 7"):
        Enlarged((3, 2), (3, 5)).locate(np.array([0, item]))


@pytest.mark.parametrize(
    ("sizes", "temperature", "weights"),
    [
        ((10, 0), 2.0, None),
        ((), 2.0, None),
        ((10, 5), 0.0, None),
        ((10, 5), math.nan, None),
        ((10, 5), -1.0, None),
        ((10, 5), 2.0, (1.0, 0.0)),
        ((10, 5), 2.0, (1.0, math.nan)),
        ((10, 5), 2.0, (1.0,)),
    ],
)
def test_senseless_mixtures_are_refused(
    sizes: tuple[int, ...], temperature: float, weights: tuple[float, ...] | None
) -> None:
    with pytest.raises(UsageError):
        enlarged_counts(sizes, temperature, weights)
