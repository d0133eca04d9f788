"""What a fine-tuning gives back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..config import TrainConfig
from ..run.checkpoint import Progress
from ..targets.classes import FittedClasses
from ..targets.fit import FittedTarget
from ..targets.next_line import next_line
from ..validation.confusion import confusion, confusion_text
from ..validation.history import Row
from ..validation.metrics import Errors, Predictions
from .forgetting import Forgetting
from .options import DataOptions, ModelOptions
from .prepare import Prepared
from .start import Start


@dataclass(frozen=True, repr=False)
class TrainResult:
    """What a fine-tuning gave; errors are those of the best model, unless they say otherwise."""

    best: Path
    """File of the model with the smallest validation error;"""
    last: Path
    """and of the one at the end of the run."""
    out: Path
    """Folder of the run."""
    before: Errors
    """Validation errors before training."""
    valid: Errors
    """Validation errors."""
    test: Errors | None
    """Test errors; None without test frames."""
    test_before: Errors | None
    """The same before training; None in a resumed run."""
    valid_by_group: dict[str, Errors]
    """Validation errors by config_type."""
    test_by_group: dict[str, Errors]
    """Test errors by config_type."""
    history: tuple[Row, ...]
    """One row per validation."""
    n_steps: int
    """Optimizer steps, over all restarts."""
    n_epochs: int
    """Passes over the data."""
    train_s: float
    """Seconds of the time budget that were used, over all restarts."""
    init_head: str | None
    """Old head that the new one started from; None: new weights."""
    probe: dict[str, float]
    """Force RMSE of the old heads on a few frames before training, eV/Å."""
    valid_last: Errors
    """Validation errors of ``last``."""
    valid_last_raw: Errors | None
    """The same of the weights without averaging over steps; None where none are averaged."""
    n_clipped: int
    """Steps whose gradient was scaled down."""
    constant_mae: dict[str, float] = field(default_factory=dict)
    """Of a scalar (vector), by set: mean absolute error of always predicting the mean of the training frames
    (zero)."""
    constant_accuracy: dict[str, float] = field(default_factory=dict)
    """Of a class, by set: accuracy of always predicting the most frequent class of the training frames."""
    forgetting: tuple[Forgetting, ...] = ()
    """Errors on every retained set before and after."""
    n_trained: int = 0
    """Numbers that the optimizer changed."""
    messages: tuple[str, ...] = ()
    """What was found in the data and decided about the network."""
    next_line: str = ""
    """The line of Python that uses the best model."""
    outputs: tuple[Path, ...] = ()
    """Files in the folder."""
    data: DataOptions = field(default_factory=DataOptions)
    """Settings of the data, with the files that were read."""
    start: ModelOptions = field(default_factory=ModelOptions)
    """Settings of the start model."""
    config: TrainConfig = field(default_factory=TrainConfig)
    """Settings of the training, resolved."""

    def __repr__(self) -> str:
        test = "" if self.test is None else f", test {self.test}"
        return f"TrainResult({self.best}: {self.n_steps} steps, valid {self.before} -> {self.valid}{test})"

    def to_dict(self) -> dict[str, Any]:
        """Plain dict without the history."""

        def errors(value: Errors | None) -> dict[str, Any] | None:
            return None if value is None else value.to_dict()

        constant = {
            f"constant_predictor_{key}": {name: float(f"{value:.5g}") for name, value in values.items()}
            for key, values in (("mae", self.constant_mae), ("accuracy", self.constant_accuracy))
            if values
        }
        return {
            "best": str(self.best),
            "last": str(self.last),
            "n_steps": self.n_steps,
            "n_epochs": self.n_epochs,
            "n_trained_weights": self.n_trained,
            "n_clipped_steps": self.n_clipped,
            "train_s": round(self.train_s, 1),
            "valid_before": errors(self.before),
            "valid": errors(self.valid),
            "valid_last": errors(self.valid_last),
            **(
                {}
                if self.valid_last_raw is None
                else {"valid_last_not_averaged": errors(self.valid_last_raw)}
            ),
            "test_before": errors(self.test_before),
            "test": errors(self.test),
            "valid_by_group": {name: errors(value) for name, value in self.valid_by_group.items()},
            "test_by_group": {name: errors(value) for name, value in self.test_by_group.items()},
            **constant,
            **({"forgetting": [item.to_dict() for item in self.forgetting]} if self.forgetting else {}),
            "init_head": self.init_head or "new weights",
        }


@dataclass(frozen=True)
class Before:
    """Errors before training."""

    test: Errors | None
    """None: there are no test frames, or the run was resumed."""
    retained: tuple[Errors, ...]
    """On each set of earlier data that is watched."""


def result_of(
    prepared: Prepared,
    begun: Start,
    folder: Path,
    *,
    before: Before,
    retained: Sequence[Errors | None],
    predictions: Mapping[str, Predictions],
    rows: Sequence[Row],
    progress: Progress,
    n_trained: int,
) -> TrainResult:
    """The result of a run in ``folder``.

    Args:
        prepared: data and settings.
        begun: the network as it was before.
        folder: where the models are.
        before: errors before training.
        retained: errors of the best model on the earlier data that are watched; None: not known.
        predictions: of the best model, by part of the data.
        rows: all validations.
        progress: how far the run came.
        n_trained: numbers that the optimizer changed.
    """
    target, config = prepared.target, prepared.config
    first, last, raw = _first_and_last(rows, config, len(prepared.valid))
    groups = {name: [frame.group for frame in getattr(prepared, name)] for name in predictions}
    by_group = {name: found.errors_by_group(groups[name]) for name, found in predictions.items()}
    baseline = None if target is None else target.baseline
    constant = _constant(prepared, target, predictions)
    forgetting = tuple(
        Forgetting(item.task.title, item.task.head, was, now)
        for item, was, now in zip(begun.retained, before.retained, retained, strict=True)
        if now is not None
    )
    return TrainResult(
        best=folder / "best.safetensors",
        last=folder / "last.safetensors",
        out=folder,
        before=first,
        valid=predictions["valid"].errors(),
        test=predictions["test"].errors() if "test" in predictions else None,
        test_before=before.test,
        valid_by_group=by_group["valid"],
        test_by_group=by_group.get("test", {}),
        history=tuple(rows),
        n_steps=progress.step,
        n_epochs=progress.epoch,
        train_s=progress.elapsed,
        valid_last=last,
        valid_last_raw=raw,
        n_clipped=progress.n_clipped,
        init_head=begun.init_head,
        probe=begun.probe,
        constant_mae=constant if baseline == "mae" else {},
        constant_accuracy=constant if baseline == "accuracy" else {},
        messages=prepared.messages + begun.messages,
        forgetting=forgetting,
        n_trained=n_trained,
        next_line=next_line(folder / "best.safetensors", target, config.final_forces),
        data=prepared.data,
        start=prepared.start,
        config=config,
    )


def spoken(result: TrainResult, prepared: Prepared, predictions: Mapping[str, Predictions]) -> Iterator[str]:
    """Lines for the user at the end of a run."""
    constant = result.constant_mae or result.constant_accuracy
    kind = "MAE" if result.constant_mae else "accuracy"
    for name, values in predictions.items():
        note = f"; constant predictor: {kind} {constant[name]:.4g}" if name in constant else ""
        yield f"{name}: {values.errors()}{note}"
        if isinstance(prepared.target, FittedClasses):
            yield confusion_text(confusion(values, prepared.target.names), prepared.target.names)
    for forgotten in result.forgetting:
        yield f"retained: {forgotten}"
    if result.n_clipped > 0:
        yield f"gradients were clipped in {result.n_clipped} of {result.n_steps} steps"
    yield f"next: {result.next_line}"


def _constant(
    prepared: Prepared, target: FittedTarget | None, names: Mapping[str, Predictions]
) -> dict[str, float]:
    """How well a constant does, by part of the data."""
    if target is None:
        return {}
    return {name: target.constant(getattr(prepared, name)) for name in names}


def _first_and_last(
    rows: Sequence[Row], config: TrainConfig, n_structures: int
) -> tuple[Errors, Errors, Errors | None]:
    """Errors of the first and the last validation, and of the last one without averaging, if weights are
    averaged; none if somebody took the file of a resumed run away."""
    if not rows:
        return Errors(n_structures), Errors(n_structures), None
    before, last = (rows[i].errors(rows[i].weights, n_structures) or Errors(n_structures) for i in (0, -1))
    return before, last, None if config.optim.ema_decay is None else rows[-1].errors("raw", n_structures)
