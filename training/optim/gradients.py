"""Gradients of the loss of one step: added over its parts, or with conflicts between tasks projected out
(PCGrad)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule

from jmp_calc.inference.memory import choose_recompute
from jmp_calc.model.cost import GraphCounts

from ..config import ForcesMode, Precision, TrainConfig
from ..distributed.world import World
from ..loss import LossShare, LossTerms, loss_shares, loss_terms

if TYPE_CHECKING:
    from jmp_calc.model.potential import Potential, Prediction

    from ..batches.dataset import TargetBatch


@dataclass(frozen=True)
class StepShare:
    """What one process evaluates of a step."""

    parts: tuple[LossShare, ...]
    forces: ForcesMode
    loss_scale: float = 1.0
    """What the loss is multiplied with before it is differentiated, so that float16 can hold its
    gradients."""


def step_shares(
    step: Sequence[Sequence[TargetBatch]],
    config: TrainConfig,
    forces: ForcesMode,
    world: World = World(),
    loss_scale: float = 1.0,
) -> list[StepShare]:
    """Shares of a step (one per process, in parts) whose loss terms add up to those of all structures in one
    batch.

    ``world``: ``step`` is what this process has of the step of all.
    """
    shares = iter(loss_shares([target for parts in step for target in parts], config.loss, world))
    return [StepShare(tuple(next(shares) for _ in parts), forces, loss_scale) for parts in step]


class PartGradients(Protocol):
    """Gradients of a part in another way than by the network, such as by compiled code."""

    def __call__(
        self, potential: Potential, part: LossShare, forces: ForcesMode, eager: Callable[[], Tensor], /
    ) -> Tensor:
        """Add the gradients of ``part`` to the weights, as ``eager`` would; returns the terms (5,)."""
        ...


@dataclass(frozen=True)
class SummedGradients:
    """The gradient of the scaled loss (called in every process of a GradientPool)."""

    config: TrainConfig
    compiled: PartGradients | None = None
    """Computes the parts that it can; None: all are computed by the network."""

    def __call__(self, potential: Potential, share: StepShare) -> Tensor:
        """Add the gradients to the weights; returns total, energy, forces, stress, scalar (5,)."""
        sums = torch.zeros(5)
        for part in share.parts:
            eager = partial(self._eager, potential, part, share)
            terms = eager() if self.compiled is None else self.compiled(potential, part, share.forces, eager)
            sums = sums.to(terms.device) + terms
        return sums

    def _eager(self, potential: Potential, part: LossShare, share: StepShare) -> Tensor:
        """The same for one part, by the network."""
        terms = part.of(predicted_terms(potential, part.target, share.forces, self.config))
        (share.loss_scale * terms[0] + self.extra(potential)).backward()
        return terms.detach()

    def extra(self, potential: Potential) -> Tensor | float:
        """Added to the loss of every part."""
        return 0.0


@dataclass(frozen=True)
class ProjectedGradients:
    """PCGrad (Yu et al. 2020; ``training.md`` section 10): the sum of the tasks' gradients without their
    conflicts."""

    config: TrainConfig

    def __call__(self, potential: Potential, share: StepShare) -> Tensor:
        """Set the gradients of the weights; returns total, energy, forces, stress, scalar (5,)."""
        weights = [p for p in potential.parameters() if p.requires_grad]
        by_task: dict[int, list[Tensor]] = {}
        sums, used = torch.zeros(5), [False] * len(weights)
        for part in share.parts:
            prediction = predicted(potential, part.target, share.forces, self.config)
            for task, piece in task_shares(part, self.config):
                terms = piece.of(loss_terms(prediction, piece.target, self.config.loss))
                found = torch.autograd.grad(terms[0], weights, retain_graph=True, allow_unused=True)
                known = by_task.setdefault(task, [torch.zeros_like(weight) for weight in weights])
                for number, gradient in enumerate(found):
                    if gradient is not None:
                        known[number] += gradient
                        used[number] = True
                sums = sums.to(terms.device) + terms.detach()
        flat = [nn.utils.parameters_to_vector(gradients) for _, gradients in sorted(by_task.items())]
        combined = project_conflicts(flat, torch.randperm(len(flat)).tolist())
        pieces = combined.split([weight.numel() for weight in weights])
        for weight, gradient, is_used in zip(weights, pieces, used):
            # Of heads without data in the step none: the optimizer leaves them alone.
            weight.grad = gradient.view_as(weight).clone() if is_used else None
        return sums


def task_shares(part: LossShare, config: TrainConfig) -> Iterator[tuple[int, LossShare]]:
    """The labels of each task in a part, as summands of the part."""
    tasks = np.unique(part.target.task).tolist()
    for task, piece in zip(tasks, loss_shares([part.target.only(task) for task in tasks], config.loss)):
        yield (
            task,
            LossShare(
                piece.target,
                part.energy * piece.energy,
                part.forces * piece.forces,
                part.stress * piece.stress,
                part.scalar * piece.scalar,
            ),
        )


def project_conflicts(gradients: Sequence[Tensor], order: Sequence[int]) -> Tensor:
    """Sum of the gradients, each projected onto the normal plane of every original one that it conflicts
    with.

    Args:
        gradients: of each task, flat, one shape (n_weights,).
        order: in which the other tasks are gone through.
    """
    total = torch.zeros_like(gradients[0])
    for task, gradient in enumerate(gradients):
        changed = gradient.clone()
        for other in order:
            overlap = torch.dot(changed, gradients[other])
            if other != task and overlap < 0:
                changed -= overlap / gradients[other].square().sum() * gradients[other]
        total += changed
    return total


def predicted(
    potential: Potential, target: TargetBatch, forces: ForcesMode, config: TrainConfig
) -> Prediction:
    """Energies, forces and stresses of a batch, with their graph; no more is kept than the memory allows."""
    recompute = choose_recompute(
        potential.config,
        GraphCounts.of_batch(target.batch),
        potential.dtype.itemsize,
        "training",
        config.activation_checkpointing,
        target.batch.numbers.device,
    )
    with mixed_precision(config.precision, target.batch.numbers.device):
        return potential(
            target.batch,
            heads=target.heads,
            forces=forces,
            stress=wants_stress(target, forces, config),
            create_graph=True,
            recompute=recompute,
        )


def wants_stress(target: TargetBatch, forces: ForcesMode, config: TrainConfig) -> bool:
    """Whether the stress of a batch is compared with labels."""
    # Where conservative forces come later, the first part of a run computes no derivative at all.
    differentiated = forces == "conservative" or (forces == "direct" and config.conservative_after is None)
    return target.has_stress and config.loss.stress_weight > 0 and differentiated


def mixed_precision(precision: Precision, device: torch.device) -> AbstractContextManager[Any]:
    """Inside, matrix products of float32 are computed in the lower precision; float64 stays float64."""
    if precision == "32-true":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16 if precision == "bf16-mixed" else torch.float16)


def predicted_terms(
    potential: Potential, target: TargetBatch, forces: ForcesMode, config: TrainConfig
) -> LossTerms:
    """Loss terms of a batch, with their graph."""
    return loss_terms(predicted(potential, target, forces, config), target, config.loss)


@dataclass(frozen=True)
class ShardedGradients(SummedGradients):
    """The gradient of the loss; the processes meet once per step, however many parts each of them has."""

    def __call__(self, potential: Potential, share: StepShare) -> Tensor:
        """Set the gradients of the weights that this process keeps; returns the terms of its share (5,)."""
        assert isinstance(potential, FSDPModule)
        sums = torch.zeros(5)
        for part in share.parts:
            last = part is share.parts[-1]
            potential.set_requires_gradient_sync(last)
            potential.set_reshard_after_backward(last)
            terms = super().__call__(potential, replace(share, parts=(part,)))
            sums = sums.to(terms.device) + terms
        return sums

    def extra(self, potential: Potential) -> Tensor | float:
        """Zero that depends on all weights: what one process has a gradient of, the others must have too."""
        return sum(weight.sum() for weight in potential.parameters() if weight.requires_grad) * 0.0
