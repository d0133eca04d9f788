"""Optimizer, learning-rate schedule and gradient treatment.

Order in one step (``training.md`` section 9): backward, divide the gradients of shared projections by their
number of uses, clip, optimizer, EMA, schedule.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from jmp_calc.errors import UsageError

from .config import OptimConfig


def freeze(potential: nn.Module, what: str) -> int:
    """Exclude weights from training by name; returns the number of weights that stay trainable.

    Args:
        potential: network with names ``embedding.*``, ``backbone.int_blocks.<i>.*``, ``heads.*``.
        what: none, embedding, backbone (with the embedding), or n: the embedding and the first n blocks.
    """
    prefixes: tuple[str, ...] = ()
    if what != "none":
        prefixes = ("embedding.",)
    if what == "backbone":
        prefixes += ("backbone.",)
    elif what.isdigit():
        n_blocks = int(what)
        prefixes += tuple(f"backbone.int_blocks.{i}." for i in range(n_blocks))
        prefixes += tuple(f"backbone.out_blocks.{i}." for i in range(n_blocks))
    for name, parameter in potential.named_parameters():
        parameter.requires_grad_(not name.startswith(prefixes) if prefixes else True)
    n_trained = sum(p.numel() for p in potential.parameters() if p.requires_grad)
    if n_trained == 0:
        raise UsageError(f"freeze={what} leaves nothing to train.", hint="freeze fewer blocks")
    return n_trained


def make_optimizer(potential: nn.Module, config: OptimConfig) -> torch.optim.AdamW:
    """AdamW over all trainable weights in one group (no exemption from weight decay, as in JMP)."""
    if config.lr is None:
        raise UsageError("No learning rate was given.", hint="give one with --lr")
    parameters = [p for p in potential.parameters() if p.requires_grad]
    return torch.optim.AdamW(
        parameters, lr=config.lr, betas=config.betas, eps=config.eps, weight_decay=config.weight_decay, foreach=True
    )


@dataclass(frozen=True)
class Schedule:
    """Linear warm-up, then a cosine down to ``final_lr``, by step or by wall time, whichever is further on.

    The step form is that of ``training.md`` 9.1: lr(0) = f_w lr, lr(W-1) = lr(W) = lr, lr(t >= M) = f_c lr.
    """

    config: OptimConfig
    total_steps: int | None
    """M: optimizer steps of the whole run; None: the time alone decides."""
    max_time: float | None
    """Seconds of the whole run; None: the steps alone decide."""

    def factor(self, step: int, elapsed: float) -> float:
        """Learning rate of optimizer step ``step`` (0-based) after ``elapsed`` seconds, as a share of the peak."""
        warmup, start, final = self._warmup(), self.config.warmup_start, self.config.final_lr
        ramp = 1.0
        if step < warmup and warmup > 1:
            ramp = start + (1.0 - start) * step / (warmup - 1)
        progress = self.progress(step, elapsed)
        return ramp * (final + 0.5 * (1.0 - final) * (1.0 + math.cos(math.pi * progress)))

    def progress(self, step: int, elapsed: float) -> float:
        """Share of the cosine that is done, 0..1."""
        warmup, by_step, by_time = self._warmup(), 0.0, 0.0
        if self.total_steps is not None and step > warmup:
            by_step = (step - warmup) / max(self.total_steps - warmup, 1)
        if self.max_time is not None:
            by_time = elapsed / self.max_time
        return min(max(by_step, by_time, 0.0), 1.0)

    def _warmup(self) -> int:
        # A run of few steps must not spend them all on warming up.
        limit = self.total_steps // 5 if self.total_steps is not None else self.config.warmup_steps
        return min(self.config.warmup_steps, limit)


def divide_shared_gradients(shared: Iterable[tuple[Tensor, int]]) -> None:
    """Divide the gradient of each weight by the number of blocks that use it (``training.md`` section 9)."""
    for parameter, uses in shared:
        if parameter.grad is not None and uses > 1:
            parameter.grad.div_(uses)


def clip_gradients(parameters: Iterable[nn.Parameter], clip_norm: float | None) -> Tensor:
    """Scale all gradients down to the global norm ``clip_norm`` if it is exceeded; returns the norm before."""
    return nn.utils.clip_grad_norm_(list(parameters), math.inf if clip_norm is None else clip_norm, foreach=True)
