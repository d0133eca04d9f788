"""metrics.csv: one row per validation, written as the run goes, and the lines printed with it."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jmp_calc.io.atomic import replacing

if TYPE_CHECKING:
    from .loggers import MetricLogger


@dataclass(frozen=True)
class Row:
    """One validation; losses are weighted sums, errors those of the averaged weights."""

    epoch: int
    step: int
    elapsed_s: float
    lr: float
    train_loss: float
    train_energy_loss: float
    train_forces_loss: float
    train_stress_loss: float
    train_scalar_loss: float
    gradient_norm: float
    n_clipped: int
    valid_loss: float
    valid_energy_mae_mev_per_atom: float | None
    valid_forces_mae_mev_per_a: float | None
    valid_stress_mae_gpa: float | None
    valid_scalar_mae: float | None
    """In the units of the labels."""
    best: bool


class History:
    """Rows so far, mirrored in ``metrics.csv``; a resumed run drops rows that are later than its state."""

    def __init__(self, path: Path, resume_step: int | None = None, loggers: Sequence[MetricLogger] = ()) -> None:
        self.path, self.loggers = path, loggers
        self.rows: list[Row] = []
        if resume_step is not None and path.is_file():
            self.rows = [row for row in read_history(path) if row.step <= resume_step]
        # Replaced as a whole: a process killed here must not lose the rows of a long run.
        with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow([field.name for field in fields(Row)])
            writer.writerows(_cells(row) for row in self.rows)

    def add(self, row: Row) -> None:
        """Append a row to memory, file and loggers."""
        self.rows.append(row)
        for logger in self.loggers:
            logger.add(row)
        with open(self.path, "a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerow(_cells(row))


def read_history(path: Path) -> list[Row]:
    """Rows of a metrics.csv; a last line that was cut off is ignored."""
    rows = []
    with open(path, newline="", encoding="utf-8") as file:
        whole = [line for line in file if line.endswith("\n")]
        for record in csv.DictReader(whole):
            values: dict[str, Any] = {field.name: _parse(field.type, record[field.name]) for field in fields(Row)}
            rows.append(Row(**values))
    return rows


def duration(seconds: float) -> str:
    """``h:mm:ss`` or ``m:ss``."""
    hours, rest = divmod(int(max(seconds, 0.0) + 0.5), 3600)
    minutes, secs = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{secs:02d}" if hours else f"{minutes}:{secs:02d}"


def _cells(row: Row) -> list[str]:
    return ["" if value is None else repr(value) for value in (getattr(row, field.name) for field in fields(Row))]


def _parse(kind: object, text: str) -> float | int | bool | None:
    if text == "":
        return None
    if kind == "bool":
        return text == "True"
    return int(text) if kind == "int" else float(text)
