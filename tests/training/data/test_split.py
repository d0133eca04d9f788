"""Splits keep neighbours in time together, use every group, and are the same every time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from jmp_calc.errors import UsageError
from jmp_calc.training.data.frame import Frame
from jmp_calc.training.data.split import every_nth, split_frames


def frames(count: int, group: str = "a", number: int = 1) -> list[Frame]:
    rng = np.random.default_rng(count)
    return [
        Frame(
            np.array([number, 1]),
            rng.normal(size=(2, 3)) * 3,
            np.zeros((3, 3)),
            np.zeros(3, bool),
            0.0,
            None,
            None,
            group,
            "a.xyz",
            i,
        )
        for i in range(count)
    ]


def indices(part: tuple[Frame, ...]) -> list[int]:
    return [frame.index for frame in part]


def test_blocks_and_shares() -> None:
    everything = frames(200) + frames(30, "b") + frames(60, "c")
    train, valid = split_frames(everything, 0.1, seed=3)
    assert len(valid) == 29 and len(train) == 261
    assert {name: sum(f.group == name for f in valid) for name in "abc"} == {"a": 20, "b": 3, "c": 6}
    for name, blocks in (("a", 2), ("b", 1), ("c", 1)):
        chosen = [frame.index for frame in valid if frame.group == name]
        assert np.count_nonzero(np.diff(chosen) != 1) <= blocks - 1
    again = split_frames(everything, 0.1, seed=3)
    assert indices(again[1]) == indices(valid)
    assert indices(split_frames(everything, 0.1, seed=4)[1]) != indices(valid)
    assert indices(split_frames(everything[:200], 0.1, seed=3)[1]) == indices(valid[:20]), (
        "groups are independent"
    )


@pytest.mark.parametrize("count", [2, 3, 5, 9])
@pytest.mark.parametrize("fraction", [0.01, 0.1, 0.5, 0.95])
def test_no_part_is_empty(count: int, fraction: float) -> None:
    train, valid = split_frames(frames(count), fraction)
    assert train and valid and len(train) + len(valid) == count


def test_many_groups_of_one_frame_share() -> None:
    everything = [replace(f, group=str(i)) for i, f in enumerate(frames(50))]
    train, valid = split_frames(everything, 0.1)
    assert len(valid) == 5 and len(train) == 45


def test_fraction_zero_and_wrong() -> None:
    train, valid = split_frames(frames(5), 0.0)
    assert len(train) == 5 and not valid
    for fraction in (1.0, -0.1, float("nan")):
        with pytest.raises(UsageError):
            split_frames(frames(5), fraction)


def test_elements_of_the_validation_set_occur_in_training() -> None:
    everything = frames(20) + frames(1, "rare", 79)
    for seed in range(20):
        train, valid = split_frames(everything, 0.3, seed)
        known = {int(z) for frame in train for z in frame.numbers}
        assert valid and all(known.issuperset(frame.numbers.tolist()) for frame in valid)


def test_twins_stay_together() -> None:
    everything = [f for f in frames(40) for _ in range(2)]  # each frame twice, the copy turned
    turn = np.array([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]])
    everything = [replace(f, positions=f.positions @ turn) if i % 2 else f for i, f in enumerate(everything)]
    for seed in range(10):
        train, valid = split_frames(everything, 0.3, seed)
        assert valid and not set(indices(valid)) & set(indices(train))


def test_every_nth() -> None:
    train, valid = every_nth(frames(20), 10)
    assert indices(valid) == [9, 19] and len(train) == 18
    assert indices(every_nth(frames(20), 10, offset=0)[1]) == [0, 10]
    with pytest.raises(UsageError):
        every_nth(frames(20), 1)
