"""metrics.csv: one row per validation, written as the run goes; tasks.csv: the same by data set where there
are several."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from jmp_calc.io.atomic import replacing

if TYPE_CHECKING:
    from .metrics import Errors

METRICS, TASKS = "metrics.csv", "tasks.csv"
_TASK_COLUMNS = (
    "step",
    "elapsed_s",
    "task",
    "n_structures",
    "energy_mae_mev_per_atom",
    "forces_mae_mev_per_a",
    "stress_mae_gpa",
    "scalar_mae",
)


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
    valid_accuracy: float | None
    valid_balanced_accuracy: float | None
    valid_vector_mae: float | None
    best: bool


class History:
    """Rows so far, mirrored in ``metrics.csv``; a resumed run drops rows that are later than its state."""

    def __init__(
        self, folder: Path | None, resume_step: int | None = None, loggers: Sequence[MetricLogger] = ()
    ) -> None:
        """Read and open the files; ``folder=None``: rows are kept in memory only (processes beside the
        first)."""
        self.folder, self.loggers = folder, loggers
        self.rows: list[Row] = []
        if folder is None:
            return
        path = folder / METRICS
        if resume_step is not None and path.is_file():
            self.rows = [row for row in read_history(path) if row.step <= resume_step]
        # Replaced as a whole: a process killed here must not lose the rows of a long run.
        with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow([field.name for field in fields(Row)])
            writer.writerows(_cells(row) for row in self.rows)
        kept = (
            []
            if resume_step is None
            else [row for row in read_tasks(folder) if int(row["step"]) <= resume_step]
        )
        if kept:
            with replacing(folder / TASKS) as temporary:
                _write_tasks(temporary, kept, header=True)
        else:
            (folder / TASKS).unlink(missing_ok=True)

    def add(self, row: Row) -> None:
        """Append a row to memory, file and loggers."""
        self.rows.append(row)
        for logger in self.loggers:
            logger.add(row)
        if self.folder is None:
            return
        with open(self.folder / METRICS, "a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerow(_cells(row))

    def add_tasks(self, step: int, elapsed: float, errors: Mapping[str, Errors]) -> None:
        """Append the errors of every data set to ``tasks.csv``."""
        if self.folder is None:
            return
        path = self.folder / TASKS
        _write_tasks(
            path,
            [
                {
                    "step": step,
                    "elapsed_s": elapsed,
                    "task": name,
                    **{key: value for key, value in found.to_dict().items() if key in _TASK_COLUMNS},
                }
                for name, found in errors.items()
            ],
            header=not path.exists(),
        )


def read_tasks(folder: Path) -> list[dict[str, str]]:
    """Rows of ``tasks.csv`` as text; none if there is no such file. A last line that was cut off is
    ignored."""
    path = folder / TASKS
    if not path.is_file():
        return []
    return list(csv.DictReader(_whole_lines(path)))


def read_history(path: Path) -> list[Row]:
    """Rows of a metrics.csv; a last line that was cut off is ignored."""
    rows = []
    for record in csv.DictReader(_whole_lines(path)):
        values: dict[str, Any] = {
            field.name: _parse(field.type, record.get(field.name) or "") for field in fields(Row)
        }
        rows.append(Row(**values))
    return rows


def _whole_lines(path: Path) -> list[str]:
    with open(path, newline="", encoding="utf-8") as file:
        return [line for line in file if line.endswith("\n")]


def _write_tasks(path: Path, rows: Sequence[Mapping[str, Any]], *, header: bool) -> None:
    with open(path, "a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, _TASK_COLUMNS, restval="")
        if header:
            writer.writeheader()
        writer.writerows(rows)


def _cells(row: Row) -> list[str]:
    return [
        "" if value is None else repr(value) for value in (getattr(row, field.name) for field in fields(Row))
    ]


def _parse(kind: object, text: str) -> float | int | bool | None:
    if text == "":
        return None
    if kind == "bool":
        return text == "True"
    return int(text) if kind == "int" else float(text)


class MetricLogger(Protocol):
    """Receives every row of metrics.csv when it is written."""

    def add(self, row: Row) -> None:
        """One validation."""
        ...

    def close(self) -> None:
        """Write out what is still in memory."""
        ...
