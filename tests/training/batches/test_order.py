"""Every plan holds the frames that it should, within its limits, and depends on seed and epoch only."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from jmp_calc.errors import UsageError
from jmp_calc.training.batches.order import DENSE_DEGREE, Fixed, Mixed, Shuffled, Step, pack


def sizes(count: int, seed: int = 0) -> np.ndarray:
    """Atoms, edges and largest degree of sparse and dense frames."""
    rng = np.random.default_rng(seed)
    atoms, degree = rng.integers(2, 12, count), rng.choice([6, 10, 40], count)
    return np.stack([atoms, atoms * degree, degree], axis=1)


def flat(plan: list[Step]) -> list[int]:
    return [frame for step in plan for part in step for frame in part]


def test_each_epoch_has_every_frame_once_within_the_budget() -> None:
    table = sizes(60)
    order, plans = Shuffled(table, max_edges=400, seed=1), []
    for epoch in range(3):
        plan = list(order.steps(epoch))
        assert sorted(flat(plan)) == list(range(60)) and len(plan) == order.n_steps(epoch)
        for (batch,) in plan:
            assert len(batch) == 1 or table[batch, 0].sum() * table[batch, 2].max() <= 400
        plans.append(plan)
    assert plans[0] != plans[1] != plans[2]
    assert list(Shuffled(table, max_edges=400, seed=1).steps(2)) == plans[2]
    assert list(Shuffled(table, max_edges=400, seed=2).steps(2)) != plans[2]
    assert max(len(batch) for (batch,) in Shuffled(table, max_edges=10**6, max_structures=2).steps(0)) == 2
    assert list(order.steps(2, skip=3)) == plans[2][3:]


def test_a_fixed_plan_is_the_same_in_every_epoch() -> None:
    order = Fixed(sizes(20), max_edges=300)
    assert list(order.steps(0)) == list(order.steps(5)) and sorted(flat(list(order.steps(0)))) == list(
        range(20)
    )


def test_frame_above_the_budget_is_alone() -> None:
    table = np.array([[4, 40, 10], [400, 8000, 20], [4, 40, 10]])
    assert sorted(map(sorted, pack(np.arange(3), table, 100))) == [[0, 2], [1]]


def test_padding_is_limited_by_sorting_sparse_from_dense() -> None:
    rng = np.random.default_rng(0)
    degree = rng.choice([4, 60], size=200)
    table = np.stack([np.full(200, 10), 10 * degree, degree], axis=1)
    batches = pack(rng.permutation(200), table, 2400)
    assert sum(len(set(degree[batch])) > 1 for batch in batches) <= 1
    padded = sum(table[b, 0].sum() * table[b, 2].max() for b in batches)
    assert table[:, 1].sum() / padded > 0.9


@pytest.mark.parametrize("temperature, times", [(1.0, (1, 1, 1)), (2.0, (1, 2, 4)), (math.inf, (1, 4, 16))])
def test_a_mixture_repeats_small_sets_as_the_temperature_says(
    temperature: float, times: tuple[int, ...]
) -> None:
    counts = (64, 16, 4)
    order = Mixed(counts, sizes(84), temperature, max_edges=500, max_structures=8, seed=3)
    seen = Counter(flat(list(order.steps(0))))
    first = 0
    for count, repeats in zip(counts, times):
        assert {seen[frame] for frame in range(first, first + count)} == {repeats}
        first += count
    assert order.n_structures == sum(seen.values())


def test_weights_multiply_the_shares_of_a_mixture() -> None:
    order = Mixed((10, 10), sizes(20), 1.0, max_edges=500, max_structures=8, weights=(1.0, 3.0))
    assert order.enlarged == (10, 30)


def test_steps_of_a_mixture_stay_within_their_limits_and_part_dense_from_sparse() -> None:
    table = sizes(84)
    order = Mixed((64, 16, 4), table, 2.0, max_edges=500, max_structures=8, seed=3)
    plan = list(order.steps(1))
    for step in plan:
        frames = flat([step])
        assert len(frames) <= 8 and (len(frames) == 1 or table[frames, 1].sum() <= 500)
        kinds = [set(table[part, 2] > DENSE_DEGREE) for part in step]
        assert all(len(kind) == 1 for kind in kinds) and len({min(kind) for kind in kinds}) == len(step)
    assert order.n_steps(1) == pytest.approx(len(plan), rel=0.35)


def test_accumulated_steps_hold_the_frames_of_several_batches() -> None:
    table = sizes(60)
    plain = [part for step in Shuffled(table, max_edges=400, seed=1).steps(0) for part in step]
    order = Shuffled(table, max_edges=400, seed=1, accumulate=3)
    steps = list(order.steps(0))
    assert [part for step in steps for part in step] == plain
    assert [len(step) for step in steps[:-1]] == [3] * (len(steps) - 1) and order.n_steps(0) == len(steps)
    mixed = Mixed((64, 16, 4), sizes(84), 2.0, max_edges=500, max_structures=8, accumulate=4)
    for step in list(mixed.steps(0))[:-1]:
        assert 8 < len(flat([step])) <= 32
        assert all(sizes(84)[part, 1].sum() <= 500 or len(part) == 1 for part in step)


def test_a_resumed_mixture_goes_on_with_the_same_steps() -> None:
    order = Mixed((64, 16, 4), sizes(84), 2.0, max_edges=500, max_structures=8, seed=3)
    plan = list(order.steps(4))
    for skip in (0, 1, 7, len(plan) - 1, len(plan)):
        assert list(order.steps(4, skip)) == plan[skip:]
    assert list(order.steps(5)) != plan


@pytest.mark.parametrize("edges", [(60, 5000), (300, 3000), (100, 6000)])
def test_the_steps_of_sets_of_two_sizes_are_counted(
    edges: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = np.array([[10, edges[0], 10]] * 2000 + [[60, edges[1], 30]] * 200)

    def mixed() -> Mixed:
        return Mixed((2000, 200), sizes, 2.0, 6000, 32)

    taken = sum(1 for _ in mixed().steps(0))
    assert mixed().n_steps(0) == taken
    assert mixed().n_steps(5) == pytest.approx(sum(1 for _ in mixed().steps(5)), rel=0.05)
    monkeypatch.setattr("jmp_calc.training.batches.order._COUNTED", 500)
    assert mixed().n_steps(0) == pytest.approx(taken, rel=0.2)


def test_limits_without_room_are_refused() -> None:
    with pytest.raises(UsageError):
        Shuffled(sizes(3), max_edges=0)
    with pytest.raises(UsageError, match="sizes"):
        Mixed((2, 2), sizes(3), 1.0, max_edges=10, max_structures=1)
