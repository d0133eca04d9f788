"""Gradients of the loss of one step: added over its parts, or with conflicts between tasks projected out (PCGrad)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from jmp_calc.memory import choose_recompute
from jmp_calc.model.cost import GraphCounts

from .config import ForcesMode, TrainConfig
from .loss import LossShare, LossTerms, loss_shares, loss_terms

if TYPE_CHECKING:
    from jmp_calc.model.potential import Potential, Prediction

    from .dataset import TargetBatch


@dataclass(frozen=True)
class StepShare:
    """What one process evaluates of a step."""

    parts: tuple[LossShare, ...]
    forces: ForcesMode


def step_shares(step: Sequence[Sequence[TargetBatch]], config: TrainConfig, forces: ForcesMode) -> list[StepShare]:
    """Shares of a step (one per process, in parts) whose loss terms add up to those of all structures in one batch."""
    shares = iter(loss_shares([target for parts in step for target in parts], config.loss))
    return [StepShare(tuple(next(shares) for _ in parts), forces) for parts in step]


@dataclass(frozen=True)
class SummedGradients:
    """The gradient of the loss (called in every process of a GradientPool)."""

    config: TrainConfig

    def __call__(self, potential: Potential, share: StepShare) -> Tensor:
        """Add the gradients to the weights; returns total, energy, forces, stress, scalar (5,)."""
        sums = torch.zeros(5)
        for part in share.parts:
            terms = part.of(predicted_terms(potential, part.target, share.forces, self.config))
            terms[0].backward()
            sums = sums.to(terms.device) + terms.detach()
        return sums


@dataclass(frozen=True)
class ProjectedGradients:
    """PCGrad (Yu et al. 2020; ``training.md`` section 10): the sum of the tasks' gradients without their conflicts."""

    config: TrainConfig

    def __call__(self, potential: Potential, share: StepShare) -> Tensor:
        """Set the gradients of the weights; returns total, energy, forces, stress, scalar (5,)."""
        weights = [p for p in potential.parameters() if p.requires_grad]
        by_task: dict[int, list[Tensor]] = {}
        sums = torch.zeros(5)
        for part in share.parts:
            prediction = predicted(potential, part.target, share.forces, self.config)
            for task, piece in task_shares(part, self.config):
                terms = piece.of(loss_terms(prediction, piece.target, self.config.loss))
                found = torch.autograd.grad(terms[0], weights, retain_graph=True, allow_unused=True)
                known = by_task.setdefault(task, [torch.zeros_like(weight) for weight in weights])
                for total, gradient in zip(known, found):
                    if gradient is not None:
                        total += gradient
                sums = sums.to(terms.device) + terms.detach()
        flat = [nn.utils.parameters_to_vector(gradients) for _, gradients in sorted(by_task.items())]
        combined = project_conflicts(flat, torch.randperm(len(flat)).tolist())
        pieces = combined.split([weight.numel() for weight in weights])
        for weight, gradient in zip(weights, pieces):
            weight.grad = gradient.view_as(weight).clone()
        return sums


def task_shares(part: LossShare, config: TrainConfig) -> Iterator[tuple[int, LossShare]]:
    """The labels of each task in a part, as summands of the part."""
    tasks = part.target.task.unique().tolist()
    for task, piece in zip(tasks, loss_shares([part.target.only(task) for task in tasks], config.loss)):
        yield task, LossShare(
            piece.target, part.energy * piece.energy, part.forces * piece.forces, part.stress * piece.stress,
            part.scalar * piece.scalar,
        )


def project_conflicts(gradients: Sequence[Tensor], order: Sequence[int]) -> Tensor:
    """Sum of the gradients, each projected onto the normal plane of every original one that it conflicts with.

    Args:
        gradients: of each task, flat, one length.
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


def predicted(potential: Potential, target: TargetBatch, forces: ForcesMode, config: TrainConfig) -> Prediction:
    """Energies, forces and stresses of a batch, with their graph; no more is kept than the memory allows."""
    recompute = choose_recompute(
        potential.config, GraphCounts.of_batch(target.batch), potential.dtype.itemsize, "training",
        config.activation_checkpointing, target.batch.numbers.device,
    )  # fmt: skip
    # Where conservative forces come later, the first part of a run computes no derivative at all.
    differentiated = forces == "conservative" or (forces == "direct" and config.conservative_after is None)
    stress = target.has_stress and config.loss.stress_weight > 0 and differentiated
    return potential(
        target.batch, heads=target.heads, forces=forces, stress=stress, create_graph=True, recompute=recompute
    )


def predicted_terms(potential: Potential, target: TargetBatch, forces: ForcesMode, config: TrainConfig) -> LossTerms:
    """Loss terms of a batch, with their graph."""
    return loss_terms(predicted(potential, target, forces, config), target, config.loss)
