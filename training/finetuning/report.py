"""What a fine-tuning leaves for people: settings, report, model card, predictions and plots."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jmp_calc.io.summary import file_sha256, plain, write_text_atomic
from jmp_calc.zoo.container import describe_model

from ..config import ForcesMode, TrainConfig, config_to_dict
from ..run.checkpoint import Progress
from ..run.job import STATE_FILE
from ..targets.classes import FittedClasses
from ..validation.confusion import confusion, confusion_dict
from ..validation.history import Row
from ..validation.metrics import Errors
from ..validation.plots import plot_confusion, plot_losses, plot_parity
from ..validation.predictions import write_predictions
from .forgetting import Forgetting

if TYPE_CHECKING:
    from jmp_calc.model.potential import Potential

    from ..targets.fit import FittedTarget
    from ..validation.metrics import Predictions
    from .options import DataOptions, ModelOptions
    from .prepare import Prepared
    from .start import Start


OUTPUTS = (
    "best.safetensors",
    "last.safetensors",
    "report.yaml",
    "metrics.csv",
    "tasks.csv",
    "config.yaml",
    "data-report.yaml",
    "predictions-valid.extxyz",
    "predictions-test.extxyz",
    "parity.svg",
    "confusion.svg",
    "loss.svg",
    STATE_FILE,
)


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
    outputs: tuple[Path, ...] = field(default=())

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


@dataclass(frozen=True, eq=False)
class Card:
    """Writes models with their provenance."""

    prepared: Prepared
    start: Start
    data: DataOptions
    config: TrainConfig

    def write(
        self, path: Path, potential: Potential, weights: str, result: TrainResult | None = None
    ) -> None:
        """Write ``potential`` as it is; ``weights`` says which weights these are."""
        import time

        from jmp_calc.zoo.container import ModelCard, save_model

        metrics = (
            {}
            if result is None
            else {"valid": result.valid.to_dict(), **({"test": result.test.to_dict()} if result.test else {})}
        )
        name = Path(self.data.train).name
        new = {
            "name": name,
            "sha256": file_sha256(self.data.train),
            "frames": len(self.prepared.train),
            "licence": "the user's own data",
            "use": "fine-tuning",
        }
        seen = [{**item, "use": item.get("use", "start weights")} for item in self.start.training_data]
        references = self.prepared.references
        save_model(
            path,
            potential,
            ModelCard(
                name=f"{self.start.head.name} on {name}",
                created=time.strftime("%Y-%m-%d"),
                licence=self.start.licence,
                source=f"jmp-calc finetune from {self.start.source}",
                training_data=(new, *seen),
                metrics=metrics,
                energy_reference="none"
                if references is None
                else _reference_text(references.kind, references.full_rank),
                notes=(weights,),
            ),
        )


def saved_weights(name: str, progress: Progress, config: TrainConfig) -> str:
    """Which weights ``best`` or ``last`` holds, in words."""
    weights, step = (
        (progress.best_weights, progress.best_step) if name == "best" else (progress.weights, progress.step)
    )
    decay = config.optim.ema_decay
    kind = "weights as they are (not averaged)"
    if weights == "averaged":
        kind = f"weights averaged over steps (EMA, decay {decay:g})"
    elif decay is not None:
        kind += f", better on validation than averaged ones (EMA, decay {decay:g}),"
    extreme = "largest on validation" if config.metric == "balanced_accuracy" else "smallest validation error"
    when = f"{extreme} so far ({config.metric})" if name == "best" else "end of the run"
    return f"{kind} after {step} steps: {when}"


def write_settings(
    folder: Path, data: DataOptions, start: ModelOptions, config: TrainConfig, prepared: Prepared
) -> None:
    """config.yaml: every resolved setting, enough to run again (``finetune --config``); data-report.yaml: the
    audit."""
    files: dict[str, Any] = {
        name: str(Path(path).absolute())
        for name in ("train", "valid", "test")
        if (path := getattr(data, name))
    }
    files |= {name: [_absolute(text) for text in getattr(data, name)] for name in ("retain", "replay")}
    if isinstance(data.references, str | Path) and str(data.references) not in ("auto", "isolated", "lstsq"):
        files["references"] = _absolute(str(data.references))
    content = {
        "data": {**_fields(data), **files},
        "start": {**_fields(start), "model": start.absolute_model},
        "training": config_to_dict(config),
    }
    _write_yaml(folder / "config.yaml", content)
    _write_yaml(folder / "data-report.yaml", prepared.audit.to_dict())


def write_report(
    folder: Path,
    result: TrainResult,
    prepared: Prepared,
    predictions: Mapping[str, Predictions],
    forces: ForcesMode,
) -> list[Path]:
    """Predictions, plots and report.yaml; returns all files of the run that exist."""
    target = prepared.target
    key, axis = (None, "") if target is None else (target.task.key, f"{target.task.key} ({target.task.unit})")
    classes = target.names if isinstance(target, FittedClasses) else ()
    tables = {name: confusion(values, classes) for name, values in predictions.items()} if classes else {}
    for name, values in predictions.items():
        write_predictions(
            folder / f"predictions-{name}.extxyz", getattr(prepared, name), values, key, classes
        )
    plot_parity(folder / "parity.svg", predictions, axis)
    plot_confusion(folder / "confusion.svg", tables, classes)
    plot_losses(folder / "loss.svg", result.history)
    references = prepared.references
    content = {
        **result.to_dict(),
        "references_ev": {} if references is None else _by_symbol(references.values),
        "reference_kind": "none" if references is None else references.kind,
        **({} if target is None else {"target": target.facts()}),
        **(
            {"confusion": {name: confusion_dict(table, classes) for name, table in tables.items()}}
            if tables
            else {}
        ),
        "messages": list(result.messages),
        "saved_weights": {
            path.stem: describe_model(path).card.notes[0] for path in (result.best, result.last)
        },
    }
    write_text_atomic(
        folder / "report.yaml", f"{_yaml(content)}next: |\n  {next_line(result.best, target, forces)}\n"
    )
    return [folder / name for name in OUTPUTS if (folder / name).exists()]


def next_line(best: Path, target: FittedTarget | None, forces: ForcesMode) -> str:
    """The line to copy, for a model of energies with the ``forces`` that were trained, or of ``target``."""
    if target is None:
        return f'atoms.calc = JMPCalculator("{best}"' + (', forces="direct")' if forces == "direct" else ")")
    function = {"class": "predict_classes", "vector": "predict_vectors"}.get(
        target.task.kind or "", "predict"
    )
    return f'jmp_calc.{function}(structures, model="{best}")'


def _reference_text(kind: str, full_rank: bool) -> str:
    if kind == "isolated_atoms":
        return "isolated atoms of the training data"
    note = "" if full_rank else "; only sums over the training compositions are meaningful"
    return f"least squares over the training data{note}"


def _by_symbol(values: Mapping[int, float]) -> dict[str, float]:
    from jmp_calc.model.elements import symbol

    return {symbol(z): round(energy, 6) for z, energy in sorted(values.items())}


def _absolute(text: str) -> str:
    """FILE or FILE:HEAD with the absolute path."""
    return str(Path(text).absolute())


def _fields(settings: Any) -> dict[str, Any]:
    return {f.name: plain(getattr(settings, f.name)) for f in dataclasses.fields(settings)}


def _yaml(content: Any) -> str:
    import yaml

    return yaml.safe_dump(plain(content), sort_keys=False, allow_unicode=True, width=110)


def _write_yaml(path: Path, content: Any) -> None:
    write_text_atomic(path, _yaml(content))
