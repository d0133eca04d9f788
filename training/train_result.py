"""What a fine-tuning gives: its errors, counts and files."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .history import Row
from .metrics import Errors
from .retain import Forgetting
from .run_state import STATE_FILE

OUTPUTS = ("best.safetensors", "last.safetensors", "report.yaml", "metrics.csv", "tasks.csv", "config.yaml", "data-report.yaml",
           "predictions-valid.extxyz", "predictions-test.extxyz", "parity.svg", "confusion.svg", "loss.svg", STATE_FILE)


@dataclass(frozen=True)
class TrainResult:
    """What a fine-tuning gave; errors are those of the best model, unless they say otherwise."""

    best: Path
    last: Path
    out: Path
    before: Errors
    """Validation errors before training."""
    valid: Errors
    test: Errors | None
    test_before: Errors | None
    valid_by_group: dict[str, Errors]
    test_by_group: dict[str, Errors]
    history: tuple[Row, ...]
    n_steps: int
    n_epochs: int
    train_s: float
    """Seconds of the time budget that were used, over all restarts."""
    init_head: str | None
    probe: dict[str, float]
    valid_last: Errors
    """Validation errors of ``last``."""
    valid_last_raw: Errors | None
    """The same at the same step without averaging over steps; None if ``last`` is not averaged."""
    n_clipped: int
    """Steps whose gradient was scaled down."""
    constant_mae: dict[str, float] = field(default_factory=dict)
    """Of a scalar (vector), by set: mean absolute error of always predicting the mean of the training frames (zero)."""
    constant_accuracy: dict[str, float] = field(default_factory=dict)
    """Of a class, by set: accuracy of always predicting the most frequent class of the training frames."""
    forgetting: tuple[Forgetting, ...] = ()
    """Errors on every retained set before and after."""
    n_trained: int = 0
    """Numbers that the optimizer changed."""
    messages: tuple[str, ...] = ()
    outputs: tuple[Path, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """Plain dict without the history."""
        def errors(value: Errors | None) -> dict[str, Any] | None:
            return None if value is None else value.to_dict()

        constant = {
            f"constant_predictor_{key}": {name: float(f"{value:.5g}") for name, value in values.items()}
            for key, values in (("mae", self.constant_mae), ("accuracy", self.constant_accuracy)) if values
        }
        return {
            "best": str(self.best), "last": str(self.last), "n_steps": self.n_steps, "n_epochs": self.n_epochs,
            "n_trained_weights": self.n_trained,
            "n_clipped_steps": self.n_clipped, "train_s": round(self.train_s, 1),
            "valid_before": errors(self.before), "valid": errors(self.valid), "valid_last": errors(self.valid_last),
            **({} if self.valid_last_raw is None else {"valid_last_not_averaged": errors(self.valid_last_raw)}),
            "test_before": errors(self.test_before), "test": errors(self.test),
            "valid_by_group": {name: errors(value) for name, value in self.valid_by_group.items()},
            "test_by_group": {name: errors(value) for name, value in self.test_by_group.items()},
            **constant,
            **({"forgetting": [item.to_dict() for item in self.forgetting]} if self.forgetting else {}),
            "init_head": self.init_head or "new weights",
        }
