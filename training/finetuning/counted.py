"""Which labels the loss of a fine-tuning counts, and whether the frames have them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jmp_calc.errors import UsageError

from ..config import TrainConfig
from ..data.frame import Frame
from .options import DataOptions


def required_labels(data: DataOptions, config: TrainConfig) -> list[str]:
    """Labels that every frame must have."""
    counting = [label for label in ("energy", "forces") if getattr(config.loss, f"{label}_weight") > 0]
    allowed = {*data.allow_missing, *(code.removeprefix("missing_") for code in data.allow)}
    return [label for label in counting if label not in allowed]


def refuse_nothing(
    train: Sequence[Frame], valid: Sequence[Frame], config: TrainConfig, where: Mapping[str, str]
) -> str | None:
    """UsageError if no frame of a part has anything that the loss counts: there is no gradient then (of the
    stress alone: not in every batch), or every model has the validation error zero. A sentence if the
    validation frames lack some of it."""
    weights = {label: getattr(config.loss, f"{label}_weight") for label in ("energy", "forces", "stress")}
    counting = [label for label, weight in weights.items() if weight > 0]
    for part, frames in (("training", train), ("validation", valid)):
        without = sum(all(getattr(frame, label) is None for label in counting) for frame in frames)
        if without > (0 if counting == ["stress"] and part == "training" else len(frames) - 1):
            raise UsageError(
                f"{without} of {len(frames)} {part} frames lack all that the loss counts: "
                f"{', '.join(counting)}.",
                where=where[part],
                hint="raise the weight of a label that the file has (--forces-weight)"
                if part == "training"
                else "validate on frames with one of these labels (--valid)",
            )
    lacking = [
        label
        for label in counting
        if any(getattr(frame, label) is not None for frame in train)
        and all(getattr(frame, label) is None for frame in valid)
    ]
    return (
        f"validation: no frame has {', '.join(lacking)}: the best model is chosen without"
        if lacking
        else None
    )
