"""What a fine-tuning leaves for people: settings, report, model card, predictions and plots."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

from jmp_calc.io.summary import plain, write_text_atomic
from jmp_calc.zoo.container import describe_model

from ..config import config_to_dict
from ..data.references import MODES
from ..data.sources import Labelled, sources
from ..run.job import STATE_FILE
from ..targets.classes import FittedClasses
from ..validation.confusion import confusion, confusion_dict
from ..validation.metrics import Predictions
from ..validation.plots import plot_confusion, plot_losses, plot_parity
from ..validation.predictions import write_predictions
from .bound import REFUSED
from .prepare import Prepared
from .result import TrainResult

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
    *REFUSED,
)


def write_settings(folder: Path, prepared: Prepared) -> None:
    """config.yaml: every resolved setting, enough to run again (``finetune --config``); data-report.yaml: the
    audit."""
    data = prepared.data
    files: dict[str, Any] = {name: named_files(getattr(data, name)) for name in ("train", "valid", "test")}
    files |= {name: [_absolute(text) for text in getattr(data, name)] for name in ("retain", "replay")}
    if isinstance(data.references, str | Path) and str(data.references) not in MODES:
        files["references"] = _absolute(str(data.references))
    content = {
        "data": {**_fields(data, files), **files},
        "start": {**_fields(prepared.start, ()), "model": prepared.start.absolute_model},
        "training": config_to_dict(prepared.config),
    }
    _write_yaml(folder / "config.yaml", content)
    _write_yaml(folder / "data-report.yaml", prepared.audit.to_dict())


def named_files(given: Labelled | None) -> str | list[str] | None:
    """Absolute paths for a file of settings, one alone without a list; None of structures in memory."""
    if isinstance(given, (str, os.PathLike)):
        return str(Path(given).absolute())
    paths = [str(path.absolute()) for path in sources(given).files]
    return paths[0] if len(paths) == 1 else paths or None


def write_report(
    folder: Path, result: TrainResult, prepared: Prepared, predictions: Mapping[str, Predictions]
) -> tuple[Path, ...]:
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
    content = {
        **result.to_dict(),
        "references_ev": {},
        "reference_kind": "none",
        **_decided(prepared),
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
    write_text_atomic(folder / "report.yaml", f"{_yaml(content)}next: |\n  {result.next_line}\n")
    return tuple(folder / name for name in OUTPUTS if (folder / name).exists())


def _decided(prepared: Prepared) -> dict[str, Any]:
    """What the training frames decided: references, target."""
    references, target = prepared.references, prepared.target
    facts: dict[str, Any] = {} if target is None else {"target": target.facts()}
    if references is not None:
        facts |= {"references_ev": _by_symbol(references.values), "reference_kind": references.kind}
    return facts


def _by_symbol(values: Mapping[int, float]) -> dict[str, float]:
    from jmp_calc.model.elements import symbol

    return {symbol(z): round(energy, 6) for z, energy in sorted(values.items())}


def _absolute(text: str) -> str:
    """FILE or FILE:HEAD with the absolute path."""
    return str(Path(text).absolute())


def _fields(settings: Any, without: Container[str]) -> dict[str, Any]:
    names = [field.name for field in dataclasses.fields(settings) if field.name not in without]
    return {name: plain(getattr(settings, name)) for name in names}


def _yaml(content: Any) -> str:
    import yaml

    return yaml.safe_dump(plain(content), sort_keys=False, allow_unicode=True, width=110)


def _write_yaml(path: Path, content: Any) -> None:
    write_text_atomic(path, _yaml(content))
