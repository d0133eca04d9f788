"""The schedule of a run in words and numbers: stages, learning rates per group, steps, averaging, when it
ends."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from ..config import Method, StageConfig, TrainConfig
from .optimizer import Schedule, layer_groups, method_for
from .schedules import CLIP, GroupRates

_OPTIMIZERS: dict[Method, str] = {"adamw": "AdamW", "soap": "SOAP"}


@dataclass(frozen=True)
class RateGroup:
    """Weights that share a learning rate."""

    name: str
    """embedding, block 1, ..., rest; or all."""
    weights: int
    share: float
    """Of the peak learning rate of the run."""


@dataclass(frozen=True)
class RunSchedule:
    """What a run does when; everything that ``--dry-run`` says about it before there is a network."""

    config: TrainConfig
    """With learning rate and batch size resolved."""
    groups: tuple[RateGroup, ...]
    """Trained weights."""
    n_weights: int
    structures_per_epoch: int
    steps_per_epoch: int
    total_steps: int | None
    """At most; None: time decides."""
    epochs_per_validation: int

    def rates(self) -> GroupRates:
        """Learning rates by step and time since the first step."""
        schedule = Schedule(self.config.optim, self.total_steps, self.config.max_time)
        return GroupRates(
            self.config.optim, tuple(group.share for group in self.groups), schedule, self.steps_per_epoch
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data, the rates at the first step and the peaks by group."""
        config, peak = self.config, self.config.optim.lr or 0.0
        first = self.rates().at(0, 0.0, None)
        return {
            "steps_per_epoch": self.steps_per_epoch,
            "total_steps": self.total_steps,
            "epochs": config.n_epochs,
            "max_time_s": config.max_time,
            "structures_per_epoch": self.structures_per_epoch,
            "batch_size": config.batch_size,
            "max_edges_per_batch": config.max_edges_per_batch,
            "accumulate": config.accumulate,
            "weights": self.n_weights,
            "trained_weights": sum(group.weights for group in self.groups),
            "groups": [
                {**dataclasses.asdict(group), "peak_lr": peak * group.share, "first_lr": rate}
                for group, rate in zip(self.groups, first)
            ],
            "epochs_per_validation": self.epochs_per_validation,
            "metric": config.metric,
            "patience": config.patience,
            "ema_decay": config.optim.ema_decay,
            "optimizer": method_for(config.optim, self.n_weights),
            "optim": dataclasses.asdict(config.optim),
            "loss": dataclasses.asdict(config.loss),
        }

    def lines(self) -> list[str]:
        """The same to read."""
        config, optim = self.config, self.config.optim
        trained = sum(group.weights for group in self.groups)
        steps = self.total_steps or "as many as fit"
        limits = [
            f"{config.n_epochs} epochs" if config.n_epochs else "",
            f"{config.max_steps} steps" if config.max_steps else "",
            f"at most {config.max_time:g} s" if config.max_time else "",
        ]
        more = f", {config.accumulate} batches per step" if config.accumulate > 1 else ""
        clip = [
            f"norm {optim.clip_norm:g}" if optim.clip_norm else "",
            f"elements ±{optim.clip_value:g}" if optim.clip_value else "",
        ]
        every = (
            "every epoch" if self.epochs_per_validation == 1 else f"every {self.epochs_per_validation} epochs"
        )
        every = every if config.validate_every is None else f"every {config.validate_every} steps"
        stop = (
            f"early stop after {config.patience} without a better one" if config.patience else "no early stop"
        )
        average = (
            "not averaged"
            if optim.ema_decay is None
            else f"averaged over steps, decay {optim.ema_decay:g} (EMA)"
            + (", less in the first steps" if optim.ema_warmup else "")
        )
        return [
            f"steps: {steps}, {self.steps_per_epoch} per epoch of {self.structures_per_epoch} structures; "
            "limits: "
            f"{_joined(limits)}",
            f"batch: up to {config.batch_size} structures and {config.max_edges_per_batch} edges{more}",
            f"trained weights: {trained:,} of {self.n_weights:,}",
            *rate_lines(config, self.steps_per_epoch, self.total_steps),
            *self._peaks(),
            f"optimizer: {_OPTIMIZERS[method_for(optim, self.n_weights)]}, "
            f"weight decay {optim.weight_decay:g}, gradients limited to {_joined(clip) or 'nothing'}; "
            f"weights {average}",
            f"loss: {_loss(config)}",
            f"validation: {every}; best model by {config.metric}; {stop}",
        ]

    def _peaks(self) -> list[str]:
        if len(self.groups) < 2:
            return []
        peak = self.config.optim.lr or 0.0
        return [
            "peak by group: " + ", ".join(f"{group.name} {peak * group.share:.3g}" for group in self.groups)
        ]


def rate_groups(network: nn.Module, config: TrainConfig) -> tuple[RateGroup, ...]:
    """The groups of trained weights (``freeze`` and ``train_low_rank`` have decided which) with their
    learning rates."""
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    groups = layer_groups(network, config.optim.layer_rates)
    return tuple(
        RateGroup(
            _title(names[id(found[0])]) if len(groups) > 1 else "all", sum(p.numel() for p in found), share
        )
        for share, found in groups
    )


def rate_lines(config: TrainConfig, steps_per_epoch: int, total_steps: int | None) -> list[str]:
    """The learning rate from the first step to the last, a line per stage, and what a limit of the run cuts
    off."""
    optim, peak = config.optim, config.optim.lr
    assert peak is not None
    if optim.stages is not None:
        return [
            f"peak learning rate {peak:.3g}",
            *_stage_lines(config, optim.stages, peak, steps_per_epoch, total_steps),
        ]
    warmup = Schedule(optim, total_steps, config.max_time).warmup
    ends = _joined(
        [f"step {total_steps}" if total_steps else "", f"{config.max_time:g} s" if config.max_time else ""],
        " or ",
    )
    ramp = f"from {peak * optim.warmup_start:.3g} in {warmup} steps, then" if warmup > 1 else "with"
    return [f"peak learning rate {peak:.3g}, {ramp} a cosine to {peak * optim.final_lr:.3g} at {ends}"]


def _stage_lines(
    config: TrainConfig, stages: StageConfig, peak: float, steps_per_epoch: int, total_steps: int | None
) -> list[str]:
    warmup, end = stages.warmup_epochs * steps_per_epoch, stages.end_epoch * steps_per_epoch
    plateau = (
        f"× {stages.plateau_factor:g} at validation {stages.plateau_patience + 1} in a row without a better "
        "one; "
        f"the run ends below {stages.stop_below:g}"
    )
    if end == 0:
        return [f"plateau only: {plateau}"]
    final = peak * min(max(stages.final_lr, CLIP[0]), CLIP[1])
    lines = []
    if warmup:
        lines.append(
            f"stage 1, warm-up: to epoch {stages.warmup_epochs} (step {warmup}), "
            f"from {stages.warmup_start:.3g} of the peak"
        )
    lines.append(f"stage 2, cosine: to epoch {stages.end_epoch} (step {end}), down to {final:.3g}")
    lines.append(f"stage 3, plateau: {plateau}")
    if stages.limit == "time":
        lines.append(
            f"with the time limit of {config.max_time:g} s warm-up and cosine are shortened alike, so that "
            "the cosine "
            "ends with the time if not before"
        )
    elif total_steps is not None and total_steps < end:
        rates = GroupRates(config.optim, (1.0,), Schedule(config.optim, total_steps, None), steps_per_epoch)
        last = rates.at(total_steps - 1, 0.0, None)[0]
        lines.append(
            f"the run ends at step {total_steps}, before the cosine: its last learning rate is {last:.3g}; "
            "--max-time shortens the stages to fit"
        )
    return lines


def _title(name: str) -> str:
    part, *rest = name.split(".")
    if part == "embedding":
        return "embedding"
    if rest and rest[0] in ("int_blocks", "out_blocks"):
        return f"block {int(rest[1]) + 1 if rest[0] == 'int_blocks' else max(int(rest[1]), 1)}"
    return "rest"


def _loss(config: TrainConfig) -> str:
    loss = config.loss
    if loss.scalar_weight > 0:
        unit = "" if loss.scalar == "cross_entropy" else f" in units of {loss.scalar_unit or 1:.4g}"
        return f"{loss.scalar_weight:g} × {loss.scalar} of the target{unit}"
    terms: Mapping[str, tuple[float, str]] = {
        "energy": (loss.energy_weight, loss.energy),
        "forces": (loss.forces_weight, loss.forces),
        "stress": (loss.stress_weight, loss.stress),
    }
    return " + ".join(
        f"{weight:.3g} × {form} of {what}" for what, (weight, form) in terms.items() if weight > 0
    )


def _joined(parts: list[str], word: str = ", ") -> str:
    return word.join(part for part in parts if part)
