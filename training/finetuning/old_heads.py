"""Old heads of a start model: which of them know some elements, and how well they describe labelled
frames."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import torch

from ..batches.dataset import FrameGraphs
from ..batches.tasks import Task
from ..data.frame import Frame, spread
from ..validation.validate import without_weight_gradients

if TYPE_CHECKING:
    from jmp_calc.model.config import HeadConfig, ModelConfig
    from jmp_calc.model.potential import Potential

N_PROBE = 6
"""Frames on which the old heads are compared."""


def energy_heads(config: ModelConfig, *, direct: bool) -> list[HeadConfig]:
    """Heads for energies; with ``direct`` those that also give direct forces."""
    return [head for head in config.heads if head.kind == "energy" and (head.direct_forces or not direct)]


def knowing(heads: Sequence[HeadConfig], elements: Collection[int]) -> list[HeadConfig]:
    """Heads that were trained on all these elements, or on all there are."""
    return [head for head in heads if head.elements is None or set(elements) <= set(head.elements)]


def force_errors(
    potential: Potential, names: Sequence[str], frames: Sequence[Frame], *, direct: bool, device: torch.device
) -> dict[str, float]:
    """Force RMSE in eV/Å of heads on a few frames spread over the data; inf if they have no forces."""
    labelled = [frame for frame in frames if frame.forces is not None]
    chosen = spread(labelled, N_PROBE) if labelled else []
    return {name: _force_rmse(potential, name, chosen, direct, device) for name in names}


def _force_rmse(
    potential: Potential, name: str, frames: Sequence[Frame], direct: bool, device: torch.device
) -> float:
    if not frames:
        return float("inf")
    graphs = FrameGraphs(
        frames, potential.config.policy, Task(name), qint_tags=potential.config.backbone.qint_tags
    )
    target = graphs.collate(range(len(frames)), device)
    with without_weight_gradients(potential):
        prediction = potential(target.batch, heads=name, forces="direct" if direct else "conservative")
    assert prediction.forces is not None
    return float((prediction.forces - target.forces).square().mean().sqrt())
