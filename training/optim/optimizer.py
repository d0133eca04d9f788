"""Optimizer, learning-rate schedule and gradient treatment.

Order in one step (``training.md`` section 9): backward, divide the gradients of shared projections by their
number of uses, clip, optimizer, EMA, schedule.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from jmp_calc.errors import UsageError

from ..config import Method, OptimConfig
from ..distributed.sharding import local, whole
from .soap import Soap


def freeze(potential: nn.Module, what: str, heads: Sequence[str] = ()) -> int:
    """Exclude weights from training by name; returns the number of weights that stay trainable.

    Args:
        potential: network with names ``embedding.*``, ``backbone.int_blocks.<i>.*``, ``heads.*``.
        what: none, embedding, backbone (with the embedding), or n: the embedding and the first n blocks.
        heads: names of heads that are not trained either.

    Raises:
        UsageError: nothing is left to train, or more blocks than there are.
    """
    prefixes = tuple(f"heads.{head}." for head in heads)
    if what != "none":
        prefixes += ("embedding.",)
    if what == "backbone":
        prefixes += ("backbone.",)
    elif what.isdecimal():
        n_blocks, there = (
            int(what),
            len(
                {
                    name.split(".")[2]
                    for name, _ in potential.named_parameters()
                    if name.startswith(_INT_BLOCKS)
                }
            ),
        )
        if n_blocks > there:
            raise UsageError(
                f"freeze={what}, but the network has {there} blocks.",
                hint="freeze fewer, or --freeze backbone for all of it",
            )
        prefixes += tuple(f"backbone.int_blocks.{i}." for i in range(n_blocks))
        prefixes += tuple(f"backbone.out_blocks.{i}." for i in range(n_blocks))
    for name, parameter in potential.named_parameters():
        parameter.requires_grad_(not name.startswith(prefixes) if prefixes else True)
    n_trained = sum(p.numel() for p in potential.parameters() if p.requires_grad)
    if n_trained == 0:
        raise UsageError(f"freeze={what} leaves nothing to train.", hint="freeze fewer blocks")
    return n_trained


def make_optimizer(
    potential: nn.Module, config: OptimConfig, *, sharded: bool = False
) -> torch.optim.Optimizer:
    """AdamW or SOAP over all trainable weights, in one group per learning rate (no exemption from weight
    decay, as in JMP).

    Args:
        potential: network, or its copy that is shared out.
        config: settings.
        sharded: whether no process has whole weights.

    Raises:
        UsageError: no learning rate, or SOAP for weights that are shared out.
    """
    if config.lr is None:
        raise UsageError("No learning rate was given.", hint="give one with --lr")
    groups = [
        {"params": parameters, "lr": config.lr * factor, "lr_factor": factor}
        for factor, parameters in layer_groups(potential, config.layer_rates)
    ]
    if method_for(config, sum(p.numel() for p in potential.parameters())) == "soap":
        if sharded:
            raise UsageError(
                "SOAP, the optimizer of small networks, needs whole matrices, which no process has here.",
                where="--strategy fsdp",
                hint="--strategy ddp, or --optimizer adamw",
            )
        return Soap(
            [part for group in groups for part in _embedding_apart(potential, group)],
            lr=config.lr,
            betas=config.betas,
            eps=config.eps,
            weight_decay=config.weight_decay,
        )
    return torch.optim.AdamW(
        groups,
        lr=config.lr,
        betas=config.betas,
        eps=config.eps,
        weight_decay=config.weight_decay,
        foreach=True,
    )


def method_for(config: OptimConfig, n_weights: int) -> Method:
    """The optimizer of a network with so many weights: SOAP for small ones, whose matrices are small, unless
    the settings say."""
    return config.method or ("soap" if n_weights <= MOST_WEIGHTS_OF_SOAP else "adamw")


MOST_WEIGHTS_OF_SOAP = 3_000_000
"""Larger networks have AdamW by default, as JMP has."""


def _embedding_apart(potential: nn.Module, group: dict[str, Any]) -> list[dict[str, Any]]:
    """The group, with the vectors of the elements in a group of their own."""
    vectors = {id(p) for name, p in potential.named_parameters() if name.startswith("embedding.")}
    parts = [[p for p in group["params"] if (id(p) in vectors) is apart] for apart in (False, True)]
    return [
        {**group, "params": part, "rows_apart": apart}
        for apart, part in zip((False, True), parts, strict=True)
        if part
    ]


def layer_groups(potential: nn.Module, rates: Sequence[float]) -> list[tuple[float, list[nn.Parameter]]]:
    """Trainable weights by share of the peak learning rate; each weight is in exactly one group, empty ones
    are left out.

    Args:
        potential: network with names ``embedding.*``, ``backbone.int_blocks.<i>.*``,
            ``backbone.out_blocks.<i>.*``.
        rates: of the embedding and of each block. Block k (from 1) is interaction block k - 1 with output
            block k; the first one has output block 0 too. Bases shared by blocks, final layers and heads have
            1. Empty: all have 1.

    Raises UsageError if the number of rates is not that of the blocks.
    """
    n_blocks = len(
        {name.split(".")[2] for name, _ in potential.named_parameters() if name.startswith(_INT_BLOCKS)}
    )
    if rates and len(rates) != n_blocks + 1:
        raise UsageError(
            f"{len(rates)} learning rates for the embedding and {n_blocks} blocks.",
            where="training setting layer_rates",
            hint=f"give {n_blocks + 1} of them",
        )
    groups: list[tuple[float, list[nn.Parameter]]] = [(rate, []) for rate in (*rates, 1.0)]
    for name, parameter in potential.named_parameters():
        if parameter.requires_grad:
            groups[_group_of(name) if rates else -1][1].append(parameter)
    return [(rate, parameters) for rate, parameters in groups if parameters]


_INT_BLOCKS, _OUT_BLOCKS = "backbone.int_blocks.", "backbone.out_blocks."


def _group_of(name: str) -> int:
    """0: embedding, k: block k, -1: everything else."""
    if name.startswith("embedding."):
        return 0
    if name.startswith(_INT_BLOCKS):
        return int(name.split(".")[2]) + 1
    if name.startswith(_OUT_BLOCKS):
        return max(int(name.split(".")[2]), 1)
    return -1


WARMUP_SHARE = 0.2
"""A run of few steps or little time must not spend it all on warming up: this share at most."""


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
    begun: float = 0.0
    """Seconds of them that were over at the first step: reading, graphs and a first validation take nothing
    off the rate."""

    def factor(self, step: int, elapsed: float) -> float:
        """Learning rate of optimizer step ``step`` (0-based) after ``elapsed`` seconds, as a share of the
        peak."""
        warmup, start, final = self.warmup, self.config.warmup_start, self.config.final_lr
        ramp = 1.0
        if step < warmup and warmup > 1:
            ramp = start + (1.0 - start) * min(
                max(step / (warmup - 1), self.time_used(elapsed) / WARMUP_SHARE), 1.0
            )
        progress = self.progress(step, elapsed)
        return ramp * (final + 0.5 * (1.0 - final) * (1.0 + math.cos(math.pi * progress)))

    def progress(self, step: int, elapsed: float) -> float:
        """Share of the cosine that is done, 0..1."""
        warmup, by_step = self.warmup, 0.0
        if self.total_steps is not None and step > warmup:
            by_step = (step - warmup) / max(self.total_steps - warmup, 1)
        return min(max(by_step, self.time_used(elapsed)), 1.0)

    def time_used(self, elapsed: float) -> float:
        """Share of the time for training that is over after ``elapsed`` seconds of the run, 0..1; 0 without a
        limit."""
        if self.max_time is None:
            return 0.0
        return min(max((elapsed - self.begun) / max(self.max_time - self.begun, 1e-9), 0.0), 1.0)

    @property
    def warmup(self) -> int:
        """Steps of the warm-up."""
        limit = self.config.warmup_steps if self.total_steps is None else int(WARMUP_SHARE * self.total_steps)
        return min(self.config.warmup_steps, limit)


def divide_shared_gradients(shared: Iterable[tuple[Tensor, int]]) -> None:
    """Divide the gradient of each weight by the number of blocks that use it (``training.md`` section 9)."""
    for parameter, uses in shared:
        if parameter.grad is not None and uses > 1:
            parameter.grad.div_(uses)


@torch.no_grad()
def undo_loss_scale(parameters: Iterable[nn.Parameter], loss_scale: float) -> None:
    """Divide the gradients by the factor that the loss was multiplied with."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    if loss_scale != 1.0 and gradients:
        torch._foreach_mul_(gradients, 1.0 / loss_scale)


def largest_gradient(parameters: Iterable[nn.Parameter]) -> Tensor:
    """Largest absolute value of all gradient elements that this process keeps, shape ()."""
    gradients = [local(p.grad) for p in parameters if p.grad is not None]
    return nn.utils.get_total_norm([part for part in gradients if part.numel()], math.inf, foreach=True)


def is_clipped(config: OptimConfig, norm: float, largest: float) -> bool:
    """Whether gradients with this global norm and this largest element are changed by clipping."""
    by_norm = config.clip_norm is not None and norm > config.clip_norm
    return by_norm or (config.clip_value is not None and largest > config.clip_value)


def clip_gradients(
    parameters: Iterable[nn.Parameter], clip_norm: float | None, clip_value: float | None = None
) -> Tensor:
    """Cut every gradient element to ±``clip_value``, then scale all down to the global norm ``clip_norm``.

    Returns the global norm before any clipping, of shape ().
    """
    parameters = list(parameters)
    limit = math.inf if clip_norm is None else clip_norm
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = left = whole(nn.utils.get_total_norm(gradients, foreach=True))
    if clip_value is not None:
        nn.utils.clip_grad_value_(parameters, clip_value, foreach=True)
        left = whole(nn.utils.get_total_norm(gradients, foreach=True))
    nn.utils.clip_grads_with_norm_(parameters, limit, left, foreach=True)
    return norm
