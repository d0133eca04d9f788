"""Learning rates of JMP fine-tuning against hand-made numbers of the published formula, and the parameter
groups."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
import torch
from torch import nn

from jmp_calc.errors import UsageError
from jmp_calc.graph.policy import GraphPolicy
from jmp_calc.model.config import JMP_L, JMP_S, BackboneConfig, HeadConfig, ModelConfig
from jmp_calc.model.potential import Potential
from jmp_calc.model.shapes import shapes_only
from jmp_calc.training.config import OptimConfig, StageConfig
from jmp_calc.training.finetuning.recipe import JMP_L_RATES, JMP_S_RATES
from jmp_calc.training.finetuning.recipes import finetune_recipe
from jmp_calc.training.loop import fit
from jmp_calc.training.optim.optimizer import (
    Schedule,
    clip_gradients,
    is_clipped,
    largest_gradient,
    layer_groups,
    make_optimizer,
)
from jmp_calc.training.optim.schedules import (
    GroupRates,
    Plateau,
    after_validation,
    in_plateau_stage,
    is_exhausted,
    staged_rate,
    within_time,
)
from jmp_calc.training.validation.history import read_history
from tests.training.helpers.resumed import resumed_fit
from tests.training.helpers.tiny import tiny_potential
from tests.training.test_loop import CONFIG, job

ALPHA, STEPS = 8e-5, 100
CODE = StageConfig()
W, M = 500, 3200


@pytest.mark.parametrize(
    "factor, start, peak",
    [
        (0.30, 2.4e-6, 2.4e-5),
        (0.40, 3.2e-6, 3.2e-5),
        (0.55, 4.4e-6, 4.4e-5),
        (0.625, 5.0e-6, 5.0e-5),
        (1.0, 8.0e-6, 8.0e-5),
    ],
)
def test_groups_start_apart_and_meet_where_the_cosine_ends(factor: float, start: float, peak: float) -> None:
    def rate(step: int) -> float:
        return staged_rate(CODE, ALPHA, factor, step, STEPS)

    assert rate(0) == pytest.approx(start)
    assert rate(W - 1) == pytest.approx(peak)
    assert rate(W) == pytest.approx(peak)
    assert rate((W + M) // 2) == pytest.approx(8e-6 + 0.5 * (peak - 8e-6))
    assert rate(M - 1) == pytest.approx(
        8e-6 + 0.5 * (peak - 8e-6) * (1 + math.cos(math.pi * (M - 1 - W) / (M - W)))
    )
    assert rate(M) == rate(M + 10) == rate(10 * M) == pytest.approx(8e-6)


def test_the_clip_of_the_final_share() -> None:
    """f_c / D above 0.99 is clipped: such a group ends below the meeting point."""
    assert staged_rate(CODE, ALPHA, 0.05, M, STEPS) == pytest.approx(0.99 * 0.05 * ALPHA)
    rmd17 = dataclasses.replace(CODE, cosine_epochs=128, final_lr=0.01)
    assert staged_rate(rmd17, ALPHA, 1.0, 12_800, STEPS) == pytest.approx(0.01 * ALPHA)
    assert staged_rate(rmd17, ALPHA, 0.3, 12_800, STEPS) == pytest.approx(0.01 * ALPHA)


def test_the_cosine_counts_from_the_start_or_from_the_warmup() -> None:
    paper = dataclasses.replace(CODE, cosine_after_warmup=True)
    assert (CODE.end_epoch, paper.end_epoch) == (32, 37)
    assert staged_rate(paper, ALPHA, 1.0, M, STEPS) > 8e-6
    assert staged_rate(paper, ALPHA, 1.0, 3700, STEPS) == pytest.approx(8e-6)
    assert not in_plateau_stage(CODE, M - 1, STEPS) and in_plateau_stage(CODE, M, STEPS)


@pytest.mark.parametrize("steps_per_epoch", [1, 2])
def test_short_epochs_and_no_warmup_do_not_divide_by_zero(steps_per_epoch: int) -> None:
    one = StageConfig(warmup_epochs=1, cosine_epochs=2)
    assert staged_rate(one, ALPHA, 1.0, steps_per_epoch - 1, steps_per_epoch) == pytest.approx(ALPHA)
    none = StageConfig(warmup_epochs=0, cosine_epochs=4)
    assert staged_rate(none, ALPHA, 0.5, 0, steps_per_epoch) == pytest.approx(0.5 * ALPHA)
    plateau_only = StageConfig(warmup_epochs=0, cosine_epochs=0)
    assert staged_rate(plateau_only, ALPHA, 0.5, 10**6, steps_per_epoch) == 0.5 * ALPHA
    assert in_plateau_stage(plateau_only, 0, steps_per_epoch)


def plateau_rates(config: StageConfig, start: float, validations: int) -> list[float]:
    """Rates after a first validation and then bad ones only."""
    state, rates = Plateau((start,)), []
    for _ in range(validations):
        state = after_validation(state, 1.0, config)
        rates.append(state.rates[0])
    return rates


def test_the_fourth_bad_validation_in_a_row_reduces() -> None:
    assert plateau_rates(CODE, 8e-6, 9) == pytest.approx([8e-6] * 4 + [6.4e-6] * 4 + [5.12e-6])
    state = Plateau((8e-6,))
    for metric in (
        1.0,
        0.99995,
        0.9999,
        0.9998,
        0.99975,
    ):  # only the last but one improves on 1 by more than 1e-4
        state = after_validation(state, metric, CODE)
    assert state.rates == (8e-6,) and state.best == 0.9998 and state.bad == 1


def test_the_dead_zone_of_the_plateau_keeps_the_smallest_rate_above_the_stop() -> None:
    """training.md section 17: 8e-6 ends at 4.7e-8 after 23 reductions; without the dead zone it falls below
    1e-8."""
    rates = plateau_rates(CODE, 8e-6, 400)
    assert rates[-1] == pytest.approx(8e-6 * 0.8**23) == pytest.approx(4.7e-8, rel=0.01)
    assert not is_exhausted(rates[-1:], CODE)
    free = dataclasses.replace(CODE, plateau_eps=0.0)
    assert is_exhausted(plateau_rates(free, 8e-6, 400)[-1:], free)


@pytest.mark.parametrize(
    "settings",
    [
        {"cosine_epochs": 5},
        {"final_lr": 0.0},
        {"plateau_factor": 1.0},
        {"warmup_start": 2.0},
        {"plateau_patience": -1},
    ],
)
def test_impossible_stages_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        StageConfig(**settings)  # type: ignore[arg-type]


def rates_in(optim: OptimConfig, seconds: float, *shares: float, begun: float = 0.0) -> GroupRates:
    """Rates of a recipe with ``STEPS`` steps per epoch and a time limit."""
    return GroupRates(within_time(optim), shares, Schedule(within_time(optim), None, seconds, begun), STEPS)


@pytest.mark.parametrize(
    "name, warm, end, last", [("rmd17-aspirin", 5 / 128, 128, 8e-7), ("md22-dha", 5 / 32, 32, 8e-6)]
)
def test_a_time_limit_shortens_warmup_and_cosine_alike(name: str, warm: float, end: int, last: float) -> None:
    """Where few steps fit, the share of the time is the share of the published schedule, and all groups meet
    at its end."""
    optim = finetune_recipe(name).train_config(6, 1.0).optim
    rates, time = rates_in(optim, 700.0, 0.3, 1.0, begun=100.0), 600.0
    peaks = [0.3 * ALPHA, ALPHA]
    w = warm * end * STEPS
    in_warmup = 0.1 + 0.9 * (w / 2) / (w - 1)
    for elapsed, expected in {
        0.0: [0.1 * peak for peak in peaks],
        100.0: [0.1 * peak for peak in peaks],
        100 + warm * time / 2: [in_warmup * peak for peak in peaks],
        100 + warm * time: peaks,
        100 + (1 + warm) * time / 2: [0.5 * (peak + last) for peak in peaks],
        700.0: [last, last],
        800.0: [last, last],
    }.items():
        assert rates.at(0, elapsed, None) == pytest.approx(expected, rel=1e-9), elapsed


def test_a_long_time_leaves_the_published_schedule_as_it_is() -> None:
    """Steps that come faster than the time asks for decide; the plateau stage follows them."""
    optim = OptimConfig(lr=ALPHA, stages=CODE)
    rates = rates_in(optim, 1e6, 0.3, 1.0)
    for step in (0, W - 1, (W + M) // 2, M - 1, M, 2 * M):
        assert rates.at(step, 0.01 * step, None) == tuple(
            staged_rate(CODE, ALPHA, share, step, STEPS) for share in (0.3, 1.0)
        )
    assert (
        rates.after_validation(M - 1, 1.0, None) is None and rates.after_validation(M, 1.0, None) is not None
    )


def test_stages_by_epoch_do_not_look_at_the_clock() -> None:
    """The seven days of the recipes are a limit and no schedule."""
    optim = finetune_recipe("rmd17-aspirin").train_config(6, 1.0).optim
    rates = GroupRates(optim, (1.0,), Schedule(optim, None, 604_800.0), STEPS)
    assert rates.at(W, 600_000.0, None) == (ALPHA,)


def test_a_time_limit_turns_a_plateau_alone_into_a_cosine() -> None:
    """Runs from scratch: nothing would fall within the time."""
    published = finetune_recipe("gn-oc-rmd17-aspirin").train_config(6, 1.0).optim
    rates = rates_in(published, 600.0, 1.0)
    found = [rates.at(3, elapsed, None)[0] / 1e-4 for elapsed in (0.0, 300.0, 600.0)]
    assert found == pytest.approx([1.0, 0.01 + 0.5 * 0.99, 0.01])
    assert rates.after_validation(10**6, 1.0, None) is None
    plain = OptimConfig(lr=1e-3)
    assert within_time(plain) is plain


def test_every_weight_is_in_one_group_and_block_one_has_both_first_outputs() -> None:
    potential = tiny_potential()
    groups = dict(layer_groups(potential, (0.3, 0.55)))
    names = {id(p): name for name, p in potential.named_parameters()}
    members = {rate: sorted(names[id(p)] for p in group) for rate, group in groups.items()}
    assert members[0.3] == ["embedding.weight"]
    assert all(n.startswith(("backbone.int_blocks.0.", "backbone.out_blocks.")) for n in members[0.55])
    assert {n.split(".")[2] for n in members[0.55] if "out_blocks" in n} == {"0", "1"}
    assert all(n.startswith(("backbone.bases.", "backbone.out_mlp", "heads.")) for n in members[1.0])
    assert sum(map(len, members.values())) == len(names)


def test_blocks_of_jmp_s_and_l() -> None:
    """Block k is interaction block k - 1 with output block k (training.md section 15)."""
    for n_blocks in (4, 6):
        rates = tuple(0.1 + 0.1 * i for i in range(n_blocks + 1))
        with torch.device("meta"):
            blocks = nn.ModuleDict(
                {
                    "int_blocks": nn.ModuleList(nn.Linear(1, 1, bias=False) for _ in range(n_blocks)),
                    "out_blocks": nn.ModuleList(nn.Linear(1, 1, bias=False) for _ in range(n_blocks + 1)),
                }
            )
            network = nn.ModuleDict(
                {"embedding": nn.Embedding(2, 2), "backbone": blocks, "heads": nn.Linear(1, 1)}
            )
        groups = layer_groups(network, rates)
        assert [rate for rate, _ in groups] == [*rates, 1.0]
        assert [len(group) for _, group in groups] == [1, 3, *[2] * (n_blocks - 1), 2]
        with pytest.raises(UsageError, match=f"{n_blocks} blocks"):
            layer_groups(network, rates[:-1])


@pytest.mark.parametrize(
    "backbone, rates", [(JMP_S, JMP_S_RATES), (JMP_L, JMP_L_RATES)], ids=["JMP-S", "JMP-L"]
)
def test_every_weight_of_the_published_networks_has_its_rate(
    backbone: BackboneConfig, rates: tuple[float, ...]
) -> None:
    """The real networks without numbers: embedding, blocks with their outputs, and everything else at the
    full rate."""
    with shapes_only():
        potential = Potential(
            ModelConfig(backbone, GraphPolicy("official"), (HeadConfig("new", hidden=256),))
        )
    groups = layer_groups(potential, rates)
    assert [rate for rate, _ in groups] == [*rates, 1.0]
    names = {id(p): name for name, p in potential.named_parameters()}
    members = [[names[id(p)] for p in group] for _, group in groups]
    assert sorted(name for group in members for name in group) == sorted(names.values())
    assert members[0] == ["embedding.weight"]
    for block, group in enumerate(members[1:-1], 1):
        outputs = {f"out_blocks.{block}", *(["out_blocks.0"] if block == 1 else [])}
        assert {".".join(name.split(".")[1:3]) for name in group} == {f"int_blocks.{block - 1}", *outputs}
    assert {name.split(".")[1] for name in members[-1] if name.startswith("backbone")} <= {
        "bases",
        "out_mlp_E",
        "out_mlp_F",
    }
    assert any(name.startswith("heads.new.") for name in members[-1])


def test_the_optimizer_has_the_rates_of_the_groups() -> None:
    optimizer = make_optimizer(
        tiny_potential(), OptimConfig(lr=1e-3, layer_rates=(0.3, 0.5), weight_decay=0.1)
    )
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([3e-4, 5e-4, 1e-3])
    assert all(group["weight_decay"] == 0.1 for group in optimizer.param_groups)


def test_clipping_by_value_is_not_clipping_by_norm() -> None:
    weight = nn.Parameter(torch.zeros(2))
    weight.grad = torch.tensor([3.0, -4.0])
    assert float(largest_gradient([weight])) == 4.0
    weight.grad = torch.tensor([3.0, 4.0])
    assert float(clip_gradients([weight], None, 1.0)) == pytest.approx(5.0)
    assert weight.grad.tolist() == [1.0, 1.0]
    by_value, by_norm = OptimConfig(clip_norm=None, clip_value=1.0), OptimConfig(clip_norm=2.0)
    assert is_clipped(by_value, 9.0, 1.5) and not is_clipped(by_value, 9.0, 0.5)
    assert is_clipped(by_norm, 9.0, 0.5) and not is_clipped(by_norm, 1.0, 1.0)


@pytest.mark.slow
def test_a_run_goes_through_the_stages_and_resumes_in_the_last(tmp_path: Path) -> None:
    """Warm-up, cosine, plateau: the rates in metrics.csv are those of the formula, also after a restart."""
    stages = StageConfig(
        warmup_epochs=1,
        cosine_epochs=3,
        plateau_patience=0,
        plateau_factor=0.5,
        plateau_eps=0.0,
        stop_below=0.0,
    )
    # No update at all, so that no validation improves after the first of the plateau stage.
    optim = OptimConfig(
        lr=1e-12, layer_rates=(0.3, 0.5), stages=stages, ema_decay=None, clip_norm=None, clip_value=1.0
    )
    config = dataclasses.replace(CONFIG, epochs=5, optim=optim, metric="forces_mae")
    fit(job(tmp_path / "a"), config)
    rates = [row.lr for row in read_history(tmp_path / "a" / "metrics.csv")]
    steps = 3
    expected = [0.0, *(staged_rate(stages, 1e-12, 1.0, steps * epoch - 1, steps) for epoch in (1, 2, 3))]
    assert rates[:4] == pytest.approx(expected)
    assert rates[4:] == pytest.approx([1e-13, 5e-14])
    again = job(tmp_path / "a")
    resumed_fit(again, dataclasses.replace(config, epochs=7), override=True)
    rates = [row.lr for row in read_history(tmp_path / "a" / "metrics.csv")]
    fit(job(tmp_path / "b"), dataclasses.replace(config, epochs=7))
    assert rates == [row.lr for row in read_history(tmp_path / "b" / "metrics.csv")]


def test_stages_of_a_run_end_with_its_time(tmp_path: Path) -> None:
    """A cosine of 10 000 epochs, of which a few seconds see a few: at the end nothing is left of the peak."""
    stages = dataclasses.replace(CODE, cosine_epochs=10_000, final_lr=0.01)
    optim = within_time(OptimConfig(lr=1e-6, stages=stages, ema_decay=None))
    rows = fit(
        job(tmp_path), dataclasses.replace(CONFIG, epochs=None, max_time=6.0, optim=optim)
    ).history.rows
    assert rows[-1].epoch < 10_000 and rows[-1].lr < 0.2e-6
    assert max(row.lr for row in rows) > rows[-1].lr


def test_a_run_ends_when_the_learning_rate_is_used_up(tmp_path: Path) -> None:
    stages = StageConfig(
        warmup_epochs=0,
        cosine_epochs=0,
        plateau_patience=0,
        plateau_factor=0.1,
        plateau_eps=0.0,
        stop_below=1e-10,
    )
    optim = OptimConfig(lr=1e-9, stages=stages, ema_decay=None)
    history = fit(job(tmp_path / "run"), dataclasses.replace(CONFIG, epochs=50, optim=optim)).history
    assert history.rows[-1].epoch < 50


def test_the_best_model_is_chosen_by_the_metric(tmp_path: Path) -> None:
    """The row marked as best is that of the smallest force error, not of the smallest loss."""
    history = fit(job(tmp_path / "run"), dataclasses.replace(CONFIG, epochs=4, metric="forces_mae")).history
    errors = [row.valid_forces_mae_mev_per_a or math.inf for row in history.rows]
    best = [i for i, row in enumerate(history.rows) if row.best]
    assert best == [i for i in range(len(errors)) if errors[i] < min([*errors[:i], math.inf])]
    assert best[-1] == errors.index(min(errors)) > 0
