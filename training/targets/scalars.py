"""Scalars of structures: their mean, scale and element sums over the training frames, and the head for them.

Predicted is ``scale * pooled network output + shift + sum of the references``, in the units of the labels, so
that the network itself works with numbers of order one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from jmp_calc.errors import BadInputError
from jmp_calc.model.config import Reduction
from jmp_calc.model.elements import symbol

from ..data.frame import Frame
from ..data.references import fit_references
from .options import TargetTask

if TYPE_CHECKING:
    from jmp_calc.model.config import HeadConfig

    from ..config import TrainConfig

EXTENSIVE = 0.9
"""Share of the variance that a sum over elements must explain for a target to count as extensive."""


@dataclass(frozen=True)
class FittedScalar:
    """A task with nothing left open, and its statistics over the training frames, in the units of the
    labels."""

    task: TargetTask
    mean: float
    """Of the target itself: the prediction of the constant predictor."""
    shift: float
    scale: float
    references: dict[int, float]
    """By atomic number; empty: none are subtracted."""
    message: str
    baseline = "mae"

    def constant(self, frames: Sequence[Frame]) -> float:
        """Mean absolute error over ``frames`` (at least one) of always predicting the mean of the training
        frames."""
        return float(np.abs(target_values(frames, self.task.key) - self.mean).mean())

    def head(self, head: HeadConfig) -> HeadConfig:
        """``head`` for this scalar."""
        task = self.task
        assert task.pooling is not None  # fit_scalar has decided
        return dataclasses.replace(
            head,
            kind="spatial_extent" if task.kind == "spatial_extent" else "scalar",
            reduction=task.pooling,
            target=task.key,
            unit=task.unit,
            energy_scale=self.scale,
            energy_shift=self.shift,
            references=self.references,
            reference_kind="least_squares" if self.references else "none",
        )

    def configured(self, config: TrainConfig) -> TrainConfig:
        """``config`` with the standard deviation as the unit of the error, if it has none."""
        return dataclasses.replace(
            config, loss=dataclasses.replace(config.loss, scalar_unit=config.loss.scalar_unit or self.scale)
        )

    def encoded(self, frames: Sequence[Frame]) -> tuple[Frame, ...]:
        """The frames as they are."""
        return tuple(frames)

    def facts(self) -> dict[str, Any]:
        """What the report says."""
        task, values = self.task, {symbol(z): round(v, 6) for z, v in sorted(self.references.items())}
        return {
            "key": task.key,
            "unit": task.unit,
            "pooling": task.pooling,
            "mean": self.mean,
            "shift": self.shift,
            "scale": self.scale,
            "values_per_element": values,
        }


def target_values(frames: Sequence[Frame], target: str) -> np.ndarray:
    """(frames,) the target of frames that all have it."""
    return np.array([frame.targets[target] for frame in frames], dtype=float)


def fit_scalar(frames: Sequence[Frame], task: TargetTask) -> FittedScalar:
    """Statistics of the target over training frames that all have it; decides what ``task`` leaves open.

    BadInputError if there are no frames.
    """
    if not frames:
        raise BadInputError(f"No training frame has the target {task.key!r}.")
    values = target_values(frames, task.key)
    labelled = [dataclasses.replace(frame, energy=value) for frame, value in zip(frames, values.tolist())]
    fit = fit_references(labelled, mode="lstsq")
    rest = values - [fit.energy(frame.numbers) for frame in frames]
    explained = _explained(values, rest, fit.rank)
    extensive = explained > EXTENSIVE
    pooling: Reduction = task.pooling or ("sum" if extensive else "mean")
    referenced = extensive and pooling == "sum" if task.referenced is None else task.referenced
    left = rest if referenced else values
    spread = float(left.std())
    message = (
        f"{task.key}: mean {values.mean():.4g}, standard deviation {values.std():.4g} over {len(values)} "
        "training "
        f"frames; a sum over elements explains {100 * max(explained, 0.0):.0f} % of the variance"
        f"{' and is subtracted' if referenced else ''}; pooling {pooling}"
    )
    return FittedScalar(
        dataclasses.replace(task, pooling=pooling, referenced=referenced),
        float(values.mean()),
        shift=float(left.mean()) if task.normalise else 0.0,
        scale=spread if task.normalise and spread > 0 else 1.0,
        references=dict(fit.values) if referenced else {},
        message=message,
    )


def _explained(values: np.ndarray, rest: np.ndarray, parameters: int) -> float:
    """Share of the variance that is not in ``rest``, corrected for the number of fitted parameters."""
    total, free = float(np.square(values - values.mean()).sum()), len(values) - parameters
    if free < parameters or total == 0:  # so few frames that any sum fits
        return 0.0
    return 1.0 - float(np.square(rest).sum()) / free / (total / (len(values) - 1))
