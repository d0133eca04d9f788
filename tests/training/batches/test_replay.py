"""Replay: which earlier frames a step has beside its own, and what that does to an old head."""

from __future__ import annotations

from collections import Counter
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch

from jmp_calc import finetune
from jmp_calc.errors import UsageError
from jmp_calc.training import DataOptions
from jmp_calc.training.batches.order import Shuffled, Step
from jmp_calc.training.batches.replay import WithReplay
from jmp_calc.training.config import OptimConfig, TrainConfig
from jmp_calc.training.finetuning.options import ModelOptions
from jmp_calc.zoo.container import load_model
from tests.training.helpers.tiny import emt_file, tiny_model

NEW, FIRST, SECOND = 40, 7, 5
SIZES = np.array([(4, 40, 12)] * (NEW + FIRST) + [(4, 200, 60)] * SECOND)
"""The second earlier set is dense."""


def order(share: float = 0.2, max_edges: int = 10**6) -> WithReplay:
    new = Shuffled(SIZES[:NEW], max_edges=max_edges, max_structures=4)
    return WithReplay(new, SIZES, (FIRST, SECOND), share=share, max_edges=max_edges)


def frames(steps: list[Step]) -> list[int]:
    return [frame for step in steps for part in step for frame in part]


@pytest.mark.parametrize(("share", "replayed"), [(0.2, 10), (0.5, 40), (0.05, 2)])
def test_the_share_is_that_of_all_structures_and_new_frames_stay_complete(
    share: float, replayed: int
) -> None:
    seen = frames(list(order(share).steps(0)))
    assert sorted(frame for frame in seen if frame < NEW) == list(range(NEW))
    assert len(seen) - NEW == replayed
    assert order(share).n_structures == NEW + replayed


def test_every_step_has_its_part_of_the_earlier_frames() -> None:
    assert {sum(frame >= NEW for part in step for frame in part) for step in order(0.2).steps(0)} == {1}
    assert {sum(frame >= NEW for part in step for frame in part) for step in order(0.5).steps(0)} == {4}


def test_sets_take_equal_turns_and_their_frames_too() -> None:
    counts = Counter(frame for frame in frames(list(order(0.5).steps(0))) if frame >= NEW)
    first, second = (
        [counts[i] for i in range(a, b)] for a, b in ((NEW, NEW + FIRST), (NEW + FIRST, len(SIZES)))
    )
    assert sum(first) == sum(second) == 20
    assert max(first) - min(first) <= 1
    assert set(second) == {4}


def test_shares_and_turns_go_on_through_the_epochs() -> None:
    """Three new frames of an epoch alone would never be worth a replayed one, eight only two of three
    sets."""
    sizes = np.array([(4, 40, 12)] * 38)
    few = WithReplay(
        Shuffled(sizes[:3], max_edges=999, max_structures=4), sizes[:13], (10,), share=0.2, max_edges=999
    )
    replayed = [frame for epoch in range(40) for frame in frames(list(few.steps(epoch))) if frame >= 3]
    assert sorted(replayed) == sorted([*range(3, 13)] * 3)  # 120 / 4 frames: three passes
    three = WithReplay(
        Shuffled(sizes[:8], max_edges=999, max_structures=4), sizes, (10, 10, 10), share=0.2, max_edges=999
    )
    turns = Counter(
        (frame - 8) // 10 for epoch in range(45) for frame in frames(list(three.steps(epoch))) if frame >= 8
    )
    assert turns == {0: 30, 1: 30, 2: 30}


def test_epochs_differ_and_a_resumed_one_goes_on_where_it_was() -> None:
    whole = list(order().steps(3))
    assert list(order().steps(3, skip=4)) == whole[4:]
    assert list(order().steps(4)) != whole
    assert order().n_steps(3) == len(whole) == 10


def test_dense_frames_are_apart_and_parts_keep_to_their_room() -> None:
    for part in chain.from_iterable(order(0.5, max_edges=250).steps(0)):
        assert len(set(SIZES[part, 2])) == 1
        assert SIZES[part, 1].sum() <= 250


def test_accumulated_batches_stay_apart_with_their_share_each() -> None:
    new = Shuffled(SIZES[:NEW], max_edges=10**6, max_structures=4, accumulate=2)
    steps = list(WithReplay(new, SIZES[: NEW + FIRST], (FIRST,), share=0.2, max_edges=10**6).steps(0))
    assert [[sum(frame < NEW for frame in part) for part in step] for step in steps] == [[4, 4]] * 5


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, float("nan")])
def test_a_share_that_cannot_be_meant_is_refused(share: float) -> None:
    with pytest.raises(UsageError, match="share of replayed structures"):
        order(share)


def test_old_heads_are_trained_only_where_their_data_are_replayed(tmp_path: Path) -> None:
    model, data = (
        tiny_model(tmp_path / "tiny.safetensors", "old", "other"),
        emt_file(tmp_path / "train.extxyz", 6),
    )
    earlier = emt_file(tmp_path / "earlier.extxyz", 3, seed=1)
    config = TrainConfig(
        max_steps=2, batch_size=4, optim=OptimConfig(lr=5e-3, ema_decay=None, warmup_steps=0)
    )
    result = finetune(
        data,
        model=str(model),
        out=tmp_path / "run",
        config=config,
        say=lambda line: None,
        data=DataOptions(data, replay=(f"{earlier}:other",), replay_share=0.3),
        start=ModelOptions(keep_heads=True),
    )
    start, last = load_model(model).potential, load_model(result.last).potential
    same = {
        name: all(
            torch.equal(p, q) for p, q in zip(start.heads[name].parameters(), last.heads[name].parameters())
        )
        for name in ("old", "other")
    }
    assert same == {"old": True, "other": False}
    assert last.config.default_head == "finetuned"
