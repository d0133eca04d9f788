"""What is said about a schedule is what the run does: rates by group and stage, lengths, what a limit cuts
off."""

from __future__ import annotations

import dataclasses

import pytest

from jmp_calc.training.config import OptimConfig, StageConfig, TrainConfig
from jmp_calc.training.optim.optimizer import freeze, make_optimizer
from jmp_calc.training.optim.schedule_report import RunSchedule, rate_groups, rate_lines
from jmp_calc.training.optim.schedules import within_time
from tests.training.helpers.tiny import tiny_potential

STAGES = StageConfig(warmup_epochs=5, cosine_epochs=32, final_lr=0.1, plateau_patience=3)
RECIPE = TrainConfig(
    optim=OptimConfig(
        lr=8e-5, stages=STAGES, layer_rates=(0.3, 0.5), ema_decay=None, clip_norm=None, clip_value=1.0
    ),
    epochs=500,
    batch_size=4,
    patience=50,
    metric="forces_mae",
)


def schedule(config: TrainConfig, steps_per_epoch: int = 10, total: int | None = 1000) -> RunSchedule:
    """A run of a small network."""
    network = tiny_potential()
    count = sum(p.numel() for p in network.parameters())
    return RunSchedule(config, rate_groups(network, config), count, 40, steps_per_epoch, total, 1)


def test_groups_have_names_numbers_of_weights_and_the_rates_of_the_optimizer() -> None:
    network = tiny_potential()
    groups = rate_groups(network, RECIPE)
    assert [group.name for group in groups] == ["embedding", "block 1", "rest"]
    assert groups[0].weights == network.embedding.weight.numel()
    assert sum(group.weights for group in groups) == sum(p.numel() for p in network.parameters())
    rates = [group["lr"] for group in make_optimizer(network, RECIPE.optim).param_groups]
    assert [8e-5 * group.share for group in groups] == pytest.approx(rates)
    text = "\n".join(schedule(RECIPE).lines())
    assert "embedding 2.4e-05, block 1 4e-05, rest 8e-05" in text
    assert "not averaged" in text and "elements ±1" in text and "early stop after 50" in text


def test_frozen_weights_are_in_no_group() -> None:
    network = tiny_potential()
    freeze(network, "backbone")
    groups = rate_groups(network, RECIPE)
    assert [group.name for group in groups] == ["all"]
    assert groups[0].weights == sum(
        p.numel() for name, p in network.named_parameters() if name.startswith("heads.")
    )


def test_the_stages_of_a_recipe_by_epoch_and_step() -> None:
    lines = rate_lines(RECIPE, 10, 5000)
    assert lines[0] == "peak learning rate 8e-05"
    assert "to epoch 5 (step 50), from 0.1 of the peak" in lines[1]
    assert "to epoch 32 (step 320), down to 8e-06" in lines[2]
    assert "× 0.8 at validation 4 in a row" in lines[3] and len(lines) == 4


def test_a_run_that_ends_before_its_cosine_is_told_with_its_last_rate() -> None:
    """After 5 of 32 epochs nothing has fallen: the last of 50 steps has the peak."""
    lines = rate_lines(dataclasses.replace(RECIPE, epochs=5), 10, 50)
    assert "ends at step 50, before the cosine: its last learning rate is 8e-05" in lines[-1]


def test_a_time_limit_is_told() -> None:
    timed = dataclasses.replace(RECIPE, optim=within_time(RECIPE.optim), max_time=600.0)
    lines = rate_lines(timed, 10, 50)
    assert "time limit of 600 s" in lines[-1] and "shortened alike" in lines[-1]
    plain = TrainConfig(
        optim=OptimConfig(lr=1e-3, warmup_steps=50, warmup_start=0.2, final_lr=0.02), max_time=600.0
    )
    assert rate_lines(plain, 10, None) == [
        "peak learning rate 0.001, from 0.0002 in 50 steps, then a cosine to 2e-05 at 600 s"
    ]
    assert rate_lines(dataclasses.replace(plain, max_time=None), 10, 100) == [
        "peak learning rate 0.001, from 0.0002 in 20 steps, then a cosine to 2e-05 at step 100"
    ]


def test_json_has_the_first_rates_of_the_formula() -> None:
    record = schedule(RECIPE).to_dict()
    assert [row["first_lr"] for row in record["groups"]] == pytest.approx(
        [0.1 * 8e-5 * share for share in (0.3, 0.5, 1.0)]
    )
    assert [row["peak_lr"] for row in record["groups"]] == pytest.approx([2.4e-5, 4e-5, 8e-5])
    assert record["total_steps"] == 1000 and record["trained_weights"] == record["weights"]
