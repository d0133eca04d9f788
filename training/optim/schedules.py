"""Learning rates of JMP fine-tuning: per-group warm-up and cosine by step, then reductions on a plateau by
validation.

All groups start at their own share of the peak and meet at one value where the cosine ends, so that
layer-wise rates only shape the first two stages (``training.md`` section 16).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..config import OptimConfig, StageConfig
from .optimizer import Schedule

CLIP = (0.01, 0.99)
"""Bounds of a group's final share of its own peak."""


def within_time(optim: OptimConfig) -> OptimConfig:
    """The same schedule for a run that has a time limit of its own: the rates reach their end within it.

    Warm-up and cosine are shortened alike. A schedule of reductions on a plateau alone, which a short run may
    never come to, gives way to a cosine over the time, without warm-up.
    """
    stages = optim.stages
    if stages is None:
        return optim
    if stages.end_epoch == 0:
        return replace(optim, stages=None, warmup_steps=0, final_lr=stages.final_lr)
    return replace(optim, stages=replace(stages, limit="time"))


def staged_rate(config: StageConfig, peak: float, factor: float, step: float, steps_per_epoch: int) -> float:
    """Learning rate of a group at optimizer step ``step`` (from 0), before any reduction on a plateau.

    Args:
        config: lengths and shares.
        peak: common peak α.
        factor: the group's share D of it.
        step: t; not whole where time has shortened the stages.
        steps_per_epoch: e; W = warm-up epochs · e, M = end of the cosine · e.
    """
    warmup, end = config.warmup_epochs * steps_per_epoch, config.end_epoch * steps_per_epoch
    top = peak * factor
    if step < warmup:
        # One step of warm-up is the peak: the general form would divide by zero.
        done = 1.0 if warmup == 1 else min(step / (warmup - 1), 1.0)
        return top * (config.warmup_start + (1 - config.warmup_start) * done)
    if end == 0:
        return top
    low = top * min(max(config.final_lr / factor, CLIP[0]), CLIP[1])
    if step >= end:
        return low
    return low + 0.5 * (top - low) * (1.0 + math.cos(math.pi * (step - warmup) / (end - warmup)))


def in_plateau_stage(config: StageConfig, step: int, steps_per_epoch: int) -> bool:
    """Whether ``step`` optimizer steps are the whole warm-up and cosine."""
    return step >= config.end_epoch * steps_per_epoch


@dataclass(frozen=True)
class Plateau:
    """What the plateau stage remembers; it starts fresh when the cosine has ended."""

    rates: tuple[float, ...]
    """Learning rate of every group."""
    best: float = math.inf
    bad: int = 0
    """Validations since the best one or the last reduction."""


def after_validation(plateau: Plateau, metric: float, config: StageConfig) -> Plateau:
    """The plateau stage after one more validation: with patience 3, the fourth bad one in a row reduces all
    rates."""
    if metric < plateau.best * (1.0 - config.plateau_threshold):
        return replace(plateau, best=metric, bad=0)
    if plateau.bad + 1 <= config.plateau_patience:
        return replace(plateau, bad=plateau.bad + 1)
    return replace(plateau, rates=tuple(_reduced(rate, config) for rate in plateau.rates), bad=0)


def is_exhausted(rates: Sequence[float], config: StageConfig) -> bool:
    """Whether the largest learning rate is so small that training ends."""
    return max(rates) < config.stop_below


@dataclass(frozen=True)
class GroupRates:
    """Learning rate of every parameter group: by warm-up and cosine of the whole run, or by the stages
    above."""

    optim: OptimConfig
    factors: tuple[float, ...]
    """Share of the peak that each group has."""
    schedule: Schedule
    steps_per_epoch: int

    def at(self, step: int, elapsed: float, plateau: Plateau | None) -> tuple[float, ...]:
        """Rates of optimizer step ``step`` after ``elapsed`` seconds."""
        peak, stages = self.optim.lr, self.optim.stages
        assert peak is not None
        if stages is None:
            return tuple(peak * factor * self.schedule.factor(step, elapsed) for factor in self.factors)
        if plateau is not None:
            return plateau.rates
        reached = self._reached(stages, step, elapsed)
        return tuple(
            staged_rate(stages, peak, factor, reached, self.steps_per_epoch) for factor in self.factors
        )

    def _reached(self, stages: StageConfig, step: int, elapsed: float) -> float:
        """Step of the published schedule: the one taken, or the one that the time used up stands for, if that
        is later."""
        if stages.limit == "epochs":
            return step
        return max(step, stages.end_epoch * self.steps_per_epoch * self.schedule.time_used(elapsed))

    def after_validation(self, step: int, metric: float, plateau: Plateau | None) -> Plateau | None:
        """The plateau stage after a validation at ``step``; None before it has begun."""
        stages = self.optim.stages
        if stages is None or not in_plateau_stage(stages, step, self.steps_per_epoch):
            return None
        return after_validation(plateau or Plateau(self.at(step, 0.0, None)), metric, stages)


def _reduced(rate: float, config: StageConfig) -> float:
    lower = rate * config.plateau_factor
    return lower if rate - lower > config.plateau_eps else rate
