"""Scalars of structures: what a head is trained on, and its mean, scale and element sums over the training frames.

Predicted is ``scale * pooled network output + shift + sum of the references``, in the units of the labels, so that the
network itself works with numbers of order one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from jmp_calc.errors import BadInputError
from jmp_calc.model.config import Reduction

from .labels import Frame
from .references import fit_references

EXTENSIVE = 0.9
"""Share of the variance that a sum over elements must explain for a target to count as extensive."""


@dataclass(frozen=True)
class ScalarTask:
    """The target and the form of its head; what is None is chosen by the training frames."""

    target: str
    """Name in ``Frame.targets``, in a file the key in ``info``."""
    kind: Literal["scalar", "spatial_extent"] = "scalar"
    pooling: Reduction | None = None
    """How atoms are combined; None: sum for an extensive target, else mean."""
    referenced: bool | None = None
    """Whether values per element are subtracted (least squares); None: for an extensive target with sum."""
    normalise: bool = True
    """Whether mean and standard deviation are taken out."""
    unit: str = "label units"


@dataclass(frozen=True)
class FittedScalar:
    """A task with nothing left open, and its statistics over the training frames, in the units of the labels."""

    task: ScalarTask
    mean: float
    """Of the target itself: the prediction of the constant predictor."""
    shift: float
    scale: float
    references: dict[int, float]
    """By atomic number; empty: none are subtracted."""
    message: str

    def constant_mae(self, frames: Sequence[Frame]) -> float:
        """Mean absolute error over ``frames`` (at least one) of always predicting the mean of the training frames."""
        return float(np.abs(target_values(frames, self.task.target) - self.mean).mean())


def target_values(frames: Sequence[Frame], target: str) -> np.ndarray:
    """(frames,) the target of frames that all have it."""
    return np.array([frame.targets[target] for frame in frames], dtype=float)


def with_target(frames: Sequence[Frame], target: str) -> tuple[Frame, ...]:
    """The frames with a finite target, with it as their only label: nothing else is trained on or audited."""
    return tuple(
        dataclasses.replace(frame, energy=None, forces=None, stress=None, targets={target: frame.targets[target]})
        for frame in frames if np.isfinite(frame.targets.get(target, np.nan))
    )


def fit_scalar(frames: Sequence[Frame], task: ScalarTask) -> FittedScalar:
    """Statistics of the target over training frames that all have it; decides what ``task`` leaves open.

    BadInputError if there are no frames.
    """
    if not frames:
        raise BadInputError(f"No training frame has the target {task.target!r}.")
    values = target_values(frames, task.target)
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
        f"{task.target}: mean {values.mean():.4g}, standard deviation {values.std():.4g} over {len(values)} training "
        f"frames; a sum over elements explains {100 * max(explained, 0.0):.0f} % of the variance"
        f"{' and is subtracted' if referenced else ''}; pooling {pooling}"
    )
    return FittedScalar(
        dataclasses.replace(task, pooling=pooling, referenced=referenced), float(values.mean()),
        shift=float(left.mean()) if task.normalise else 0.0, scale=spread if task.normalise and spread > 0 else 1.0,
        references=dict(fit.values) if referenced else {}, message=message,
    )


def _explained(values: np.ndarray, rest: np.ndarray, parameters: int) -> float:
    """Share of the variance that is not in ``rest``, corrected for the number of fitted parameters."""
    total, free = float(np.square(values - values.mean()).sum()), len(values) - parameters
    if free < parameters or total == 0:  # so few frames that any sum fits
        return 0.0
    return 1.0 - float(np.square(rest).sum()) / free / (total / (len(values) - 1))
