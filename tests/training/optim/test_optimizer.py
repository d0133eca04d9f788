"""Learning rates, clipping, freezing and shared projections do what the formulas say."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from jmp_calc.errors import UsageError
from jmp_calc.training.config import OptimConfig, TrainConfig
from jmp_calc.training.optim.optimizer import (
    Schedule,
    clip_gradients,
    divide_shared_gradients,
    freeze,
    make_optimizer,
)
from tests.training.helpers.tiny import tiny_potential

CONFIG = OptimConfig(lr=1.0, warmup_steps=20, warmup_start=0.2, final_lr=0.1)


def test_schedule_by_step_follows_the_published_formula() -> None:
    schedule, w, m = Schedule(CONFIG, 200, None), 20, 200
    assert schedule.factor(0, 0.0) == pytest.approx(0.2)
    assert schedule.factor(w - 1, 0.0) == pytest.approx(1.0)
    assert schedule.factor(w, 0.0) == pytest.approx(1.0)
    middle = 0.1 + 0.5 * 0.9 * (1 + math.cos(math.pi * 0.5))
    assert schedule.factor((w + m) // 2, 0.0) == pytest.approx(middle)
    for late in (m, m + 10, 10 * m):
        assert schedule.factor(late, 0.0) == pytest.approx(0.1)  # never climbs again


@pytest.mark.parametrize("warmup", [0, 1])
def test_no_warmup_starts_at_the_peak(warmup: int) -> None:
    schedule = Schedule(OptimConfig(lr=1.0, warmup_steps=warmup, final_lr=0.1), 100, None)
    assert schedule.factor(0, 0.0) == pytest.approx(1.0)


def test_time_budget_anneals_within_the_wall_clock() -> None:
    schedule = Schedule(CONFIG, None, 600.0)
    assert schedule.factor(5000, 600.0) == pytest.approx(0.1)
    assert schedule.factor(100, 300.0) == pytest.approx(0.55)
    both = Schedule(CONFIG, 1000, 600.0)
    assert both.factor(1000, 10.0) == pytest.approx(0.1)  # whichever is further on
    assert both.factor(30, 600.0) == pytest.approx(0.1)


def test_what_is_over_at_the_first_step_takes_nothing_off_the_rate() -> None:
    schedule = Schedule(CONFIG, None, 600.0, begun=200.0)
    assert schedule.factor(100, 200.0) == pytest.approx(1.0)
    assert schedule.factor(100, 400.0) == pytest.approx(0.55)
    assert schedule.factor(100, 600.0) == pytest.approx(0.1)


def test_a_short_time_is_not_spent_on_warming_up() -> None:
    """Warm-up ends after a fifth of the time, however few steps that are; where it ends before by step, time
    changes nothing."""
    schedule = Schedule(OptimConfig(lr=1.0, warmup_steps=51, warmup_start=0.2, final_lr=1e-9), None, 100.0)
    for step, elapsed, ramp in (
        (0, 0.0, 0.2),
        (1, 10.0, 0.6),
        (2, 20.0, 1.0),
        (40, 10.0, 0.84),
        (50, 1.0, 1.0),
    ):
        cosine = 0.5 * (1 + math.cos(math.pi * elapsed / 100))
        assert schedule.factor(step, elapsed) == pytest.approx(ramp * cosine), (step, elapsed)


def test_a_short_run_does_not_spend_all_its_steps_on_warming_up() -> None:
    assert Schedule(CONFIG, 10, None).factor(2, 0.0) == pytest.approx(1.0)


def test_norm_clipping_keeps_the_direction() -> None:
    weight = nn.Parameter(torch.zeros(2))
    weight.grad = torch.tensor([3.0, 4.0])
    assert float(clip_gradients([weight], 1.0)) == pytest.approx(5.0)
    assert weight.grad.tolist() == pytest.approx([0.6, 0.8], rel=1e-5)
    weight.grad = torch.tensor([3.0, 4.0])
    clip_gradients([weight], None)
    assert weight.grad.tolist() == [3.0, 4.0]


def test_a_weight_used_k_times_gets_one_kth_of_the_summed_gradient() -> None:
    weight = nn.Parameter(torch.tensor([2.0]))
    (3.0 * weight + 5.0 * weight).sum().backward()
    divide_shared_gradients([(weight, 2)])
    assert weight.grad is not None
    assert weight.grad.tolist() == [4.0]


def test_freezing_the_backbone_leaves_the_heads() -> None:
    potential = tiny_potential()
    before = {name: p.detach().clone() for name, p in potential.named_parameters()}
    freeze(potential, "backbone")
    assert {name.split(".")[0] for name, p in potential.named_parameters() if p.requires_grad} == {"heads"}
    freeze(potential, "1")
    frozen = {name for name, p in potential.named_parameters() if not p.requires_grad}
    assert all(
        name.startswith(("embedding.", "backbone.int_blocks.0.", "backbone.out_blocks.0.")) for name in frozen
    )
    assert frozen
    freeze(potential, "none")
    assert all(p.requires_grad for p in potential.parameters())
    assert all(torch.equal(before[name], p) for name, p in potential.named_parameters())


def test_freezing_everything_is_refused() -> None:
    with pytest.raises(UsageError, match="nothing to train"):
        freeze(nn.ModuleDict({"embedding": nn.Linear(2, 2)}), "embedding")


def test_no_parameter_is_lost_and_none_is_exempt_from_decay() -> None:
    potential = tiny_potential()
    optimizer = make_optimizer(potential, OptimConfig(lr=1e-3, weight_decay=0.1))
    grouped = [p for group in optimizer.param_groups for p in group["params"]]
    assert len(grouped) == len(list(potential.parameters()))
    assert all(group["weight_decay"] == 0.1 for group in optimizer.param_groups)


def test_more_blocks_than_there_are_cannot_be_frozen() -> None:
    with pytest.raises(UsageError, match="freeze=2, but the network has 1 blocks"):
        freeze(tiny_potential(), "2")
    assert freeze(tiny_potential(), "1") > 0


def test_a_superscript_is_no_number_of_blocks() -> None:
    with pytest.raises(UsageError, match="freeze must be"):
        TrainConfig(freeze="²")
