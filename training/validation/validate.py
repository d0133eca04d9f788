"""Errors of the network on data that it is not trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..batches.loader import Batches
from ..config import ForcesMode, LossConfig
from ..distributed.world import World
from .metrics import Errors

if TYPE_CHECKING:
    from jmp_calc.model.potential import Potential

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import nn

from jmp_calc.errors import NotConvergedError, UsageError

from ..config import TrainConfig
from ..loss import loss_terms
from .metrics import Collector, Predictions

if TYPE_CHECKING:
    from jmp_calc.model.potential import Potential


def validate(
    potential: Potential, batches: Batches, loss: LossConfig, forces: ForcesMode, world: World = World()
) -> tuple[float, Predictions]:
    """Mean loss and all predictions of ``batches``, in their order; weights are left as they are.

    ``world``: each process evaluates its batches, and all get the result for all.
    """
    collector, total, count = Collector(), torch.zeros((), dtype=torch.float64), 0
    with without_weight_gradients(potential):
        for target in batches.all():
            stress = forces != "none" and target.has_stress
            prediction = potential(target.batch, heads=target.heads, forces=forces, stress=stress)
            mean = loss_terms(prediction, target, loss).total.detach().double()
            total = total.to(mean.device) + mean * target.batch.n_structures
            count += target.batch.n_structures
            collector.add(prediction, target)
    sums = world.total(torch.tensor([float(total), count], dtype=torch.float64))
    return float(sums[0] / sums[1].clamp(min=1)), collector.finish(world)


def chosen_metric(config: TrainConfig, loss: float, errors: Errors) -> float:
    """The validation error that decides which model is the best.

    UsageError if no frame has its label; NotConvergedError if a prediction is not finite, because no model
    could be chosen.
    """
    if errors.n_not_finite is not None:
        raise NotConvergedError(
            f"Validation: {errors}.", hint="jmp-calc evaluate names the frames; remove them, or lower --lr"
        )
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
