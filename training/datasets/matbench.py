"""MatBench v0.1 (``datasets.md`` section 9): one scalar per crystal, nine tasks (eight in the JMP paper),
five folds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jmp_calc.errors import BadInputError
from jmp_calc.io.nesting import shallow_json

from .base import FrameSource, Parts, choose, find_file, legacy_shuffle
from .formats.crystals import Crystal, CrystalFrames, parse_structure
from .formats.json_stream import stream_object

N_FOLDS = 5
FOLD_SEED = 18012019
SPLITS = tuple(f"fold-{i}" for i in range(N_FOLDS))


@dataclass(frozen=True)
class Task:
    """One table."""

    column: str
    """Name of the target in the file."""
    unit: str
    n_rows: int
    reported_in: str = ""
    """Unit of published errors, where it differs."""


TASKS = {
    "jdft2d": Task("exfoliation_en", "meV/atom", 636),
    "phonons": Task("last phdos peak", "cm^-1", 1_265),
    "dielectric": Task("n", "-", 4_764),
    "log_gvrh": Task("log10(G_VRH)", "log10(GPa)", 10_987),
    "log_kvrh": Task("log10(K_VRH)", "log10(GPa)", 10_987),
    "perovskites": Task("e_form", "eV/cell", 18_928),
    "mp_gap": Task("gap pbe", "eV", 106_113),
    "mp_e_form": Task("e_form", "eV/atom", 132_752, "meV/atom"),
    "mp_is_metal": Task("is_metal", "0 or 1", 106_113),
}

STRATIFIED = ("mp_is_metal",)
"""Tasks of classes, whose published folds have the same share of every class."""


def open_matbench(folder: Path, member: str, *, complete: bool = True) -> CrystalFrames:
    """All crystals of ``matbench_<task>.json.gz``, in row order, read row by row.

    ``complete`` demands the published number of rows: identifiers and folds count on it. BadInputError names
    the row of a missing target, a structure with partial occupancy, or a broken file.
    """
    name = choose(member.removeprefix("matbench_"), tuple(TASKS), "MatBench task")
    task = TASKS[name]
    path = find_file(folder, [f"matbench_{name}.json.gz", f"matbench_{name}.json"], f"MatBench {name}")
    columns: list[str] = []
    crystals: list[Crystal] = []
    rows: list[Any] = []
    for key, value in stream_object(path, "data"):
        if key == "columns":
            columns = list(value)
            _check_columns(columns, task, path)
        elif key == "data" and columns:
            crystals.append(_crystal(value, columns, task, len(crystals), path))
        elif key == "data":
            rows.append(value)  # a file that names its columns last
    _check_columns(columns, task, path)
    crystals += [_crystal(row, columns, task, i, path) for i, row in enumerate(rows)]
    if not crystals or (complete and len(crystals) != task.n_rows):
        raise BadInputError(
            f"{path.name} has {len(crystals)} rows, not {task.n_rows}.",
            where=str(path),
            hint="the file is not complete; fetch it again",
        )
    named = [_named(crystal, name, i, len(crystals)) for i, crystal in enumerate(crystals)]
    return CrystalFrames(path, f"matbench_{name}", task.column, named)


def split_matbench(source: FrameSource, folder: Path, member: str, split: str = "fold-0") -> Parts:
    """A fold: its published test rows; of its training rows, shuffled with seed 42, int(90 %) train, the rest
    validate.

    The folds come from ``matbench_v0.1_validation.json`` where it lies beside the data, else from the rule
    that made it (five shuffled folds over row order with seed 18012019). Those of classes were stratified:
    without the file BadInputError.
    """
    fold = int(choose(split, SPLITS, "fold of MatBench").removeprefix("fold-"))
    name = choose(member.removeprefix("matbench_"), tuple(TASKS), "MatBench task")
    root = folder.parent if folder.is_file() else folder
    path = root / "matbench_v0.1_validation.json"
    if path.is_file():
        train, test = _published_fold(path, name, fold, len(source))
        origin = path.name
    elif name in STRATIFIED:
        raise BadInputError(
            f"The published folds of {name} are stratified by class, and {path.name} is not there.",
            where=str(path),
            hint="put that file (of the Python package matbench) beside the data",
        )
    else:
        train, test = kfold(len(source), fold)
        origin = f"KFold(5, shuffle, seed {FOLD_SEED}); {path.name} is not there to confirm it"
    order = train[legacy_shuffle(len(train))]
    cut = int(0.9 * len(order))
    return Parts(
        order[:cut],
        order[cut:],
        test,
        f"fold {fold} of {origin}; RandomState(42) over its training rows, 90 %",
    )


def kfold(count: int, fold: int) -> tuple[np.ndarray, np.ndarray]:
    """Training and test rows of one of five shuffled folds, both sorted and of shape (n,)."""
    order = legacy_shuffle(count, FOLD_SEED)
    sizes = np.full(N_FOLDS, count // N_FOLDS)
    sizes[: count % N_FOLDS] += 1
    start = int(sizes[:fold].sum())
    test = np.sort(order[start : start + int(sizes[fold])])
    return np.setdiff1d(np.arange(count), test), test


def identifier(task: str, row: int, count: int) -> str:
    """``mb-<task>-<number>``, counted from 1, padded to the digits of the number of rows."""
    return f"mb-{task.replace('_', '-')}-{row + 1:0{int(math.log10(count)) + 1}d}"


def _published_fold(path: Path, task: str, fold: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    where = f"{path} key splits.matbench_{task}.fold_{fold}"
    try:
        entry = shallow_json(path.read_bytes())["splits"][f"matbench_{task}"][f"fold_{fold}"]
        names = {part: list(entry[part]) for part in ("train", "test")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInputError(f"The fold cannot be read ({error!r}).", where=where) from error
    rows = {identifier(task, i, count): i for i in range(count)}
    unknown = [name for part in names.values() for name in part if name not in rows]
    missing = len(rows) - len(set(names["train"]) | set(names["test"]))
    if unknown or missing:
        raise BadInputError(
            f"The fold names {unknown[0]!r}, which is no row."
            if unknown
            else f"The fold lacks {missing} of {count} rows.",
            where=where,
            hint="the split file belongs to the complete table",
        )
    return np.array([rows[n] for n in names["train"]]), np.array([rows[n] for n in names["test"]])


def _check_columns(columns: list[str], task: Task, path: Path) -> None:
    if sorted(columns) != sorted(("structure", task.column)):
        raise BadInputError(
            f"The columns are {columns}, not structure and {task.column!r}.",
            where=f"{path} key columns",
            hint="is this the file of another task?",
        )


def _crystal(row: Any, columns: list[str], task: Task, index: int, path: Path) -> Crystal:
    where = f"{path} row {index}"
    if not isinstance(row, list) or len(row) != len(columns):
        raise BadInputError(f"The row has not {len(columns)} entries.", where=where)
    values = dict(zip(columns, row))
    target = values[task.column]
    if not isinstance(target, int | float) or not math.isfinite(target):
        raise BadInputError(f"The target {task.column!r} is {target!r}.", where=where)
    return Crystal("", *parse_structure(values["structure"], where), float(target))


def _named(crystal: Crystal, task: str, row: int, count: int) -> Crystal:
    return Crystal(
        identifier(task, row, count), crystal.numbers, crystal.positions, crystal.cell, crystal.target
    )
