"""The forgetting meter: errors on earlier data under old heads, before, during and after fine-tuning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from ..batches.dataset import FrameGraphs
from ..batches.loader import Batches
from ..batches.order import evaluation_order
from ..config import TrainConfig
from ..data.frame import spread
from ..distributed.world import World
from ..validation.metrics import Errors
from ..validation.validate import Retained
from .earlier import EarlierTask

if TYPE_CHECKING:
    from jmp_calc.model.config import ModelConfig

AT_VALIDATIONS = 200
"""Frames of every set that are evaluated at a validation; all are before and after training."""


@dataclass(frozen=True)
class Forgetting:
    """Errors on one retained set before and after fine-tuning."""

    title: str
    head: str
    before: Errors
    after: Errors

    def to_dict(self) -> dict[str, Any]:
        """Plain dict with the ratios of the mean absolute errors, after to before."""
        return {
            "name": self.title,
            "head": self.head,
            "before": self.before.to_dict(),
            "after": self.after.to_dict(),
            "energy_ratio": _ratio(self.after.energy_mae_mev_per_atom, self.before.energy_mae_mev_per_atom),
            "forces_ratio": _ratio(self.after.forces_mae_mev_per_a, self.before.forces_mae_mev_per_a),
        }

    def __str__(self) -> str:
        return f"{self.title}: {self.before} before, {self.after} after"


def retained(
    tasks: Sequence[EarlierTask],
    model: ModelConfig,
    config: TrainConfig,
    device: torch.device,
    world: World,
    *,
    few: bool,
) -> tuple[Retained, ...]:
    """Frames of the tasks as batches; ``few``: at most ``AT_VALIDATIONS`` of each."""
    made = []
    for item in tasks:
        frames = spread(item.frames, AT_VALIDATIONS) if few else item.frames
        graphs = FrameGraphs(frames, model.policy, item.task, qint_tags=model.backbone.qint_tags)
        order = evaluation_order(graphs.sizes, config)
        batches = Batches(graphs, order, device=device, rank=world.rank, world_size=world.size)
        made.append(Retained(item.task.title, batches, "direct" if item.direct else "conservative", world))
    return tuple(made)


def _ratio(after: float | None, before: float | None) -> float | None:
    return None if after is None or not before else float(f"{after / before:.4g}")
