"""Errors of the network on data that it is not trained on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from jmp_calc.errors import NotConvergedError, UsageError

from ..batches.loader import Batches
from ..config import ForcesMode, LossConfig, TrainConfig, WeightSet
from ..distributed.world import World
from ..loss import LossTerms, label_counts, loss_terms
from .metrics import Collector, Errors, Predictions

if TYPE_CHECKING:
    from jmp_calc.model.potential import Potential

    from ..batches.dataset import TargetBatch


def validate(
    potential: Potential, batches: Batches, loss: LossConfig, forces: ForcesMode, world: World = World()
) -> tuple[float, Predictions]:
    """Loss and all predictions of ``batches``, in their order; weights are left as they are.

    The loss is that of one batch with all structures, whatever the batches are: each term is a mean over the
    labels of the whole set. ``world``: each process evaluates its batches, and all get the result for all.
    """
    collector, sums = Collector(), torch.zeros(2, 4, dtype=torch.float64)
    with without_weight_gradients(potential):
        for target in batches.all():
            stress = forces != "none" and target.has_stress
            prediction = potential(target.batch, heads=target.heads, forces=forces, stress=stress)
            added = summed_terms(loss_terms(prediction, target, loss), target, loss)
            sums = sums.to(added.device) + added
            collector.add(prediction, target)
    terms, counts = world.total(sums.cpu())
    return float((terms / counts.clamp(min=1)).sum()), collector.finish(world)


def summed_terms(terms: LossTerms, target: TargetBatch, loss: LossConfig) -> Tensor:
    """(2, 4) float64: sums over the labels of a batch of its energy, forces, stress and target loss, and the
    numbers of these labels."""
    means = torch.stack([terms.energy, terms.forces, terms.stress, terms.scalar]).detach().double()
    counts = means.new_tensor(label_counts(target, loss))
    # A batch without a label has the mean 0, not NaN, so that it adds nothing.
    return torch.stack([means * counts, counts])


@dataclass(frozen=True, eq=False)
class Measured:
    """What one set of weights gives on the validation frames."""

    weights: WeightSet
    loss: float
    predictions: Predictions
    errors: Errors
    metric: float
    """What the best model is chosen by; infinite where a prediction is not finite."""


def measured(
    weights: WeightSet,
    potential: Potential,
    batches: Batches,
    config: TrainConfig,
    forces: ForcesMode,
    world: World,
) -> Measured:
    """Loss, errors and metric of ``potential``, which has these ``weights``; UsageError if no frame has the
    label that the metric needs."""
    loss, predictions = validate(potential, batches, config.loss, forces, world)
    errors = predictions.errors()
    return Measured(weights, loss, predictions, errors, chosen_metric(config, loss, errors))


def better(found: Sequence[Measured]) -> tuple[Measured, Measured | None]:
    """The set of weights with the smaller metric, the first if they are equal, and the other one, if any.

    NotConvergedError if neither predicts finite numbers, because no model could be chosen.
    """
    chosen = min(found, key=lambda item: item.metric)
    if chosen.errors.n_not_finite is not None:
        raise NotConvergedError(
            f"Validation: {chosen.errors}.",
            hint="jmp-calc evaluate names the frames; remove them, or lower --lr",
        )
    return chosen, next((item for item in found if item is not chosen), None)


def chosen_metric(config: TrainConfig, loss: float, errors: Errors) -> float:
    """The validation error that decides which model is the best; infinite where a prediction is not finite.

    UsageError if no frame has its label.
    """
    if errors.n_not_finite is not None:
        return math.inf
    if config.metric == "loss":
        return loss
    value = {
        "forces_mae": errors.forces_mae_mev_per_a,
        "energy_mae": errors.energy_mae_mev,
        "scalar_mae": errors.scalar_mae,
        "vector_mae": errors.vector_mae,
        "balanced_accuracy": None if errors.balanced_accuracy is None else 1.0 - errors.balanced_accuracy,
    }[config.metric]
    if value is None:
        raise UsageError(f"The metric {config.metric} needs validation frames with this label.")
    return value


@contextmanager
def without_weight_gradients(potential: nn.Module) -> Iterator[None]:
    """Inside the block no graph is built for the weights, which saves time and memory in evaluation."""
    trained = [p for p in potential.parameters() if p.requires_grad]
    was_training = potential.training
    potential.eval()
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        potential.train(was_training)
        for parameter in trained:
            parameter.requires_grad_(True)


@dataclass(frozen=True, eq=False)
class Retained:
    """One set of frames under its old head."""

    title: str
    """FILE:HEAD"""
    batches: Batches
    forces: ForcesMode
    world: World = World()
    """The processes that share the frames; all get the errors of all."""

    def errors(self, potential: Potential) -> Errors:
        """Errors of ``potential``, which must have the old head."""
        return validate(potential, self.batches, LossConfig(), self.forces, self.world)[1].errors()
