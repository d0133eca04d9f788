"""Classes of structures (metal or not, a phase, a magnetic order): names, weights, loss, accuracies,
confusion table.

A head gives one logit per class; two classes have two of them, as in the published run on mp_is_metal.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
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
class FittedClasses:
    """The classes of the training frames."""

    task: TargetTask
    names: tuple[str, ...]
    """Sorted: numbers by size, then text."""
    counts: tuple[int, ...]
    """Training frames of each."""
    weights: tuple[float, ...]
    """Of the frames of each class in the loss; mean 1 over the training frames. Empty: all 1."""
    message: str
    baseline = "accuracy"

    def constant(self, frames: Sequence[Frame]) -> float:
        """Accuracy over ``frames`` (at least one) of always predicting the most frequent class of the
        training frames."""
        most = self.names[int(np.argmax(self.counts))]
        return sum(frame.classes[self.task.key] == most for frame in frames) / len(frames)

    def head(self, head: HeadConfig) -> HeadConfig:
        """``head`` for these classes."""
        return dataclasses.replace(
            head,
            kind="multiclass",
            reduction=self.task.pooling or "mean",
            target=self.task.key,
            unit="class",
            num_classes=len(self.names),
            classes=self.names,
        )

    def configured(self, config: TrainConfig) -> TrainConfig:
        """``config`` with cross-entropy, and balanced accuracy to choose the best model by.

        Raises:
            UsageError: a loss of numbers, or not one weight per class.
        """
        if config.loss.scalar not in ("l1", "cross_entropy"):
            raise UsageError(
                f"{config.loss.scalar} is a loss of numbers; classes are trained with cross-entropy.",
                where=f"target {self.task.key}",
                hint="leave out --target-loss",
            )
        weights = config.loss.class_weights or self.weights
        if len(weights) not in (0, len(self.names)):
            raise UsageError(
                f"There are {len(weights)} class weights and {len(self.names)} classes.",
                where=f"target {self.task.key}",
                hint=f"give one for each of {', '.join(self.names)}",
            )
        config = config.for_target("class")
        return dataclasses.replace(config, loss=dataclasses.replace(config.loss, class_weights=weights))

    def encoded(self, frames: Sequence[Frame]) -> tuple[Frame, ...]:
        """The frames with the number of their class as their target."""
        return with_numbers(frames, self.task.key, self.names, "--valid-every spreads classes more evenly")

    def facts(self) -> dict[str, Any]:
        """What the report says."""
        weights = {"weights": dict(zip(self.names, self.weights))} if self.weights else {}
        return {
            "key": self.task.key,
            "kind": "class",
            "pooling": self.task.pooling or "mean",
            "training_frames": dict(zip(self.names, self.counts)),
            **weights,
        }


def fit_classes(frames: Sequence[Frame], task: TargetTask) -> FittedClasses:
    """Classes of training frames that all have the target; BadInputError where there is nothing to tell
    apart."""
    if not frames:
        raise BadInputError(f"No training frame has the target {task.key!r}.")
    count = Counter(frame.classes[task.key] for frame in frames)
    names = tuple(sorted(count, key=_order))
    if len(names) == 1:
        raise BadInputError(
            f"All {len(frames)} training frames have the class {names[0]!r} of {task.key}.",
            where=frames[0].source,
            hint="there is nothing to tell apart; is it the right key?",
        )
    if 2 * len(names) > len(frames):
        raise BadInputError(
            f"{task.key} has {len(names)} classes in {len(frames)} training frames.",
            where=frames[0].source,
            hint="a number is trained on with --target-kind scalar",
        )
    counts = tuple(count[name] for name in names)
    weights = (
        tuple(len(frames) / (len(names) * n) for n in counts) if task.class_weights == "balanced" else ()
    )
    shares = ", ".join(f"{name} {count[name]}" for name in names)
    rare = sum(n < 2 for n in counts)
    message = (
        f"{task.key}: {len(names)} classes in {len(frames)} training frames ({shares}), "
        f"{'weighted to count equally' if weights else 'every frame counts equally'}; pooling "
        f"{task.pooling or 'mean'}"
        f"{f'; {rare} of them have one frame only' if rare else ''}"
    )
    return FittedClasses(
        dataclasses.replace(task, pooling=task.pooling or "mean"), names, counts, weights, message
    )


def with_numbers(frames: Sequence[Frame], target: str, names: Sequence[str], hint: str) -> tuple[Frame, ...]:
    """The frames with the number of their class in ``names`` as their target; BadInputError for a class that
    is not there."""
    number = {name: float(i) for i, name in enumerate(names)}
    unknown = [frame for frame in frames if frame.classes[target] not in number]
    if unknown:
        found = sorted({frame.classes[target] for frame in unknown}, key=_order)
        raise BadInputError(
            f"{len(unknown)} frames have a class of {target} that is not among the training frames: "
            f"{', '.join(found[:5])}.",
            where=unknown[0].where,
            hint=f"Known: {', '.join(names)}. {hint}",
        )
    return tuple(
        dataclasses.replace(frame, targets={target: number[frame.classes[target]]}) for frame in frames
    )


def _order(name: str) -> tuple[float, str]:
    try:
        return float(int(name)), ""
    except ValueError:
        return float("inf"), name


# ---- loss and predictions
# -----------------------------------------------------------------------------------------
