"""Vectors of structures (a dipole): what a head for them is trained on, and its scale over the training
frames.

The head sums vectors over edges and atoms, so that the prediction rotates with the structure; a constant
cannot be added.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from jmp_calc.errors import BadInputError, UsageError

from ..data.frame import Frame
from .options import TargetTask

if TYPE_CHECKING:
    from jmp_calc.model.config import HeadConfig

    from ..config import TrainConfig


@dataclass(frozen=True)
class FittedVector:
    """A task and the scale of its labels over the training frames."""

    task: TargetTask
    scale: float
    """Root mean square of the components, label units."""
    message: str
    baseline = "mae"

    def constant(self, frames: Sequence[Frame]) -> float:
        """Mean absolute component over ``frames`` (at least one): the error of always predicting zero."""
        return float(np.abs(_values(frames, self.task.key)).mean())

    def head(self, head: HeadConfig) -> HeadConfig:
        """``head`` for these vectors."""
        return dataclasses.replace(
            head,
            kind="vector",
            reduction=self.task.pooling or "sum",
            target=self.task.key,
            unit=self.task.unit,
            force_scale=self.scale,
        )

    def configured(self, config: TrainConfig) -> TrainConfig:
        """``config`` with the length of the error vector as loss, and the best model by the error of a
        component.

        Raises:
            UsageError: a loss of numbers.
        """
        if config.loss.scalar not in ("l1", "norm"):
            raise UsageError(
                f"{config.loss.scalar} is a loss of numbers; of vectors it is the length of the error.",
                where=f"target {self.task.key}",
                hint="leave out --target-loss",
            )
        config = config.for_target("vector")
        unit = config.loss.scalar_unit or self.scale
        return dataclasses.replace(config, loss=dataclasses.replace(config.loss, scalar_unit=unit))

    def encoded(self, frames: Sequence[Frame]) -> tuple[Frame, ...]:
        """The frames as they are."""
        return tuple(frames)

    def facts(self) -> dict[str, Any]:
        """What the report says."""
        return {
            "key": self.task.key,
            "kind": "vector",
            "unit": self.task.unit,
            "pooling": self.task.pooling,
            "scale": self.scale,
        }


def fit_vector(frames: Sequence[Frame], task: TargetTask) -> FittedVector:
    """Scale of the vectors of training frames that all have them; BadInputError if there is nothing to
    learn."""
    if not frames:
        raise BadInputError(f"No training frame has the target {task.key!r}.")
    if task.pooling == "max":
        raise UsageError(
            "A vector cannot be a maximum over atoms.", where="--pooling max", hint="choose sum or mean"
        )
    values = _values(frames, task.key)
    scale = float(np.sqrt(np.square(values).mean()))
    if scale == 0:
        raise BadInputError(
            f"All {len(frames)} vectors of {task.key} are zero.",
            where=frames[0].source,
            hint="there is nothing to learn; is it the right key?",
        )
    task = dataclasses.replace(task, pooling=task.pooling or "sum")
    lengths = np.linalg.norm(values, axis=1)
    return FittedVector(
        task,
        scale,
        f"{task.key}: vectors of length {lengths.mean():.4g} ± {lengths.std():.4g} over "
        f"{len(frames)} training frames; pooling {task.pooling}",
    )


def _values(frames: Sequence[Frame], target: str) -> np.ndarray:
    return np.stack([frame.vectors[target] for frame in frames])
