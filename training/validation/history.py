"""metrics.csv: one row per validation, written as the run goes; tasks.csv: the same by data set where there
are several."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Protocol, get_args

from jmp_calc.errors import BadInputError
from jmp_calc.io.atomic import replacing

from ..config import WeightSet
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
    """One validation. Losses are weighted sums, errors in the units of their names.

    ``valid_*`` are those of the better of the averaged weights and the ones as they are (which, ``weights``
    says), ``other_*`` those of the other set, if there are two.
    """

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
    weights: WeightSet = "raw"
    other_loss: float | None = None
    other_energy_mae_mev_per_atom: float | None = None
    other_forces_mae_mev_per_a: float | None = None
    other_stress_mae_gpa: float | None = None
    other_scalar_mae: float | None = None
    other_accuracy: float | None = None
    other_balanced_accuracy: float | None = None
    other_vector_mae: float | None = None

    def values(self, name: str) -> dict[WeightSet, float]:
        """The validation ``loss`` or error of this name, by the weights that it is known of."""
        second: WeightSet = "raw" if self.weights == "averaged" else "averaged"
        found = {self.weights: getattr(self, f"valid_{name}"), second: getattr(self, f"other_{name}")}
        return {weights: value for weights, value in found.items() if value is not None}

    def errors(self, weights: WeightSet, n_structures: int) -> Errors | None:
        """Errors of one set of weights; None if it was not evaluated."""
        values: dict[str, Any] = {name: self.values(name).get(weights) for name in ERRORS}
        return None if self.values("loss").get(weights) is None else Errors(n_structures, **values)


ERRORS = (
    "energy_mae_mev_per_atom",
    "forces_mae_mev_per_a",
    "stress_mae_gpa",
    "scalar_mae",
    "accuracy",
    "balanced_accuracy",
    "vector_mae",
)
"""Errors that have columns, by their names in ``Errors``."""


def columns(prefix: str, loss: float, errors: Errors) -> dict[str, Any]:
    """The columns of a row that say how good one set of weights is."""
    return {f"{prefix}_loss": loss, **{f"{prefix}_{name}": getattr(errors, name) for name in ERRORS}}


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
    ignored; BadInputError if it is damaged."""
    path = folder / TASKS
    if not path.is_file():
        return []
    with _named(path):
        rows = list(csv.DictReader(_whole_lines(path)))
        for row in rows:
            int(row["step"]), [float(row[name]) for name in _TASK_COLUMNS if name != "task" and row[name]]
    return rows


def read_history(path: Path) -> list[Row]:
    """Rows of a metrics.csv; a last line that was cut off is ignored. BadInputError if it is damaged."""
    with _named(path):
        return [
            Row(**{field.name: _parse(field.type, record.get(field.name) or "") for field in fields(Row)})
            for record in csv.DictReader(_whole_lines(path))
        ]


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Inside, what cannot be read is a BadInputError that names the file."""
    try:
        yield
    except (ValueError, KeyError, TypeError, csv.Error) as err:  # of text that is not UTF-8, too
        raise BadInputError(
            "The table of validation errors is damaged.",
            where=str(path),
            hint="remove it: the run goes on without its earlier rows",
        ) from err


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
    values = (getattr(row, field.name) for field in fields(Row))
    return ["" if value is None else str(value) for value in values]


def _parse(kind: object, text: str) -> Any:
    """The value of a cell; ValueError or KeyError if it is not of this kind."""
    if text == "" and "None" in str(kind):
        return None
    if kind == "bool":
        return {"True": True, "False": False}[text]
    if kind == "WeightSet":
        return {name: name for name in get_args(WeightSet)}[text]
    return int(text) if kind == "int" else float(text)


class MetricLogger(Protocol):
    """Receives every row of metrics.csv when it is written."""

    def add(self, row: Row) -> None:
        """One validation."""
        ...

    def close(self) -> None:
        """Write out what is still in memory."""
        ...
