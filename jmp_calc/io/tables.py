"""Tables with a row per structure: CSV for people and pandas, an ASE database for queries."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .atomic import replacing

if TYPE_CHECKING:
    from ase import Atoms


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows, whose columns are those that any of them has in the order of their appearance; numbers are
    written so that they are read as they were, what is not there is empty."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    if "error" in columns:  # long, and mostly empty
        columns.append(columns.pop(columns.index("error")))
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(columns)
        for row in rows:
            table.writerow(["" if row.get(name) is None else _word(row[name]) for name in columns])


def _word(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    return value if not isinstance(value, str) else " ".join(value.split())


def write_database(path: Path, rows: Iterable[tuple[Atoms, Mapping[str, Any]]]) -> None:
    """Write structures with their results and the values of their rows as an ASE database (SQLite)."""
    from ase.db import connect

    with replacing(path) as temporary:
        temporary.unlink()  # SQLite makes its own
        with connect(temporary, type="db", append=False, use_lock_file=False) as database:
            for atoms, values in rows:
                database.write(_bare(atoms), key_value_pairs=_pairs(values))


def _bare(atoms: Atoms) -> Atoms:
    """Without constraints that say nothing of themselves; arrays and info are in the other files."""
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator

    from .constraints import unstorable

    lost = {id(constraint) for constraint in unstorable(atoms, "extxyz").constraints}
    kept = [constraint for constraint in atoms.constraints if id(constraint) not in lost]
    copy = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc, constraint=kept)
    results = getattr(atoms.calc, "results", None)
    if results:
        copy.calc = SinglePointCalculator(copy, **results)
    return copy


def _pairs(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values as a database takes them: no empty ones, no keys of its own, no words that are numbers."""
    from ase.db.core import reserved_keys, str_represents

    found = {}
    for name, value in values.items():
        key = f"{name}_" if name in reserved_keys else name
        if value is None or value == "":
            continue
        number = isinstance(value, str) and any(str_represents(value, kind) for kind in (bool, int, float))
        found[key] = f"'{value}'" if number else value
    return found
