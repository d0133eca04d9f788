"""The two text forms of QM9: the original xyz files, and gdb9.sdf with its csv (``datasets.md`` section
5)."""

from __future__ import annotations

import csv
import re
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase.data import atomic_numbers

from jmp_calc.errors import BadInputError
from jmp_calc.units import HARTREE, KCAL_MOL

from .catalogue import DAMAGED, Member
from .formats.molfile import sdf_blocks
from .qm9_frames import TARGETS, QM9Frames

N_UNCHARACTERISED = 3054
_MAX_XYZ_BYTES = 1 << 20
"""Of one molecule in the tar archive."""
_XYZ_ORDER = (
    "A",
    "B",
    "C",
    "mu",
    "alpha",
    "eps_HOMO",
    "eps_LUMO",
    "delta_eps",
    "R_2_Abs",
    "ZPVE",
    "U_0",
    "U",
    "H",
    "G",
    "c_v",
)
_CSV_ORDER = (*_XYZ_ORDER, "U_0_ATOM", "U_ATOM", "H_ATOM", "G_ATOM")
_CSV_NAMES = (
    "A",
    "B",
    "C",
    "mu",
    "alpha",
    "homo",
    "lumo",
    "gap",
    "r2",
    "zpve",
    "u0",
    "u298",
    "h298",
    "g298",
    "cv",
    "u0_atom",
    "u298_atom",
    "h298_atom",
    "g298_atom",
)
_IN_HARTREE = ("eps_HOMO", "eps_LUMO", "delta_eps", "ZPVE", "U_0", "U", "H", "G")
_SCALES = dict.fromkeys(_IN_HARTREE, HARTREE) | dict.fromkeys(
    ("U_0_ATOM", "U_ATOM", "H_ATOM", "G_ATOM"), KCAL_MOL
)
_SCALE = np.array([_SCALES.get(name, 1.0) for name in TARGETS])
"""To the units of TARGETS: hartree and kcal/mol to eV."""


@dataclass(frozen=True, eq=False)
class _Molecule:
    name: str
    numbers: list[int]
    positions: list[list[float]]
    targets: np.ndarray
    """(19,) in the units of the file, NaN where it has none"""


def open_xyz(folder: Path) -> QM9Frames | None:
    """The original form: ``dsgdb9nsd.xyz.tar.bz2``, or its files ``dsgdb9nsd_<k>.xyz``; None if neither is
    there."""
    packed = folder if folder.is_file() and ".xyz.tar" in folder.name else folder / "dsgdb9nsd.xyz.tar.bz2"
    if packed.is_file():
        texts = _from_tar(packed)
    elif files := sorted(folder.glob("dsgdb9nsd_*.xyz")):
        packed, texts = folder, ((file.name, file.read_text(encoding="utf-8")) for file in files)
    else:
        return None
    bad = uncharacterised(packed.parent if packed.is_file() else folder)
    molecules = {}
    for name, text in texts:
        molecule = _parse_xyz(text, f"{packed} {name}")
        molecules[_index(molecule.name, str(packed))] = molecule
    kept = [molecules[k] for k in sorted(molecules) if k not in bad]
    return _frames(packed, kept)


def open_sdf(folder: Path) -> QM9Frames | None:
    """``gdb9.sdf`` joined with ``gdb9.sdf.csv`` by name (not by order); None if there is no gdb9.sdf.

    Raises:
        BadInputError: the two files do not belong together.
    """
    path = folder if folder.is_file() and folder.suffix == ".sdf" else folder / "gdb9.sdf"
    if not path.is_file():
        return None
    table = _read_csv(path.with_name(path.name + ".csv"))
    bad = uncharacterised(path.parent)
    kept = []
    for name, (numbers, positions) in sdf_blocks(path):
        if name not in table:
            raise BadInputError(
                f"{name} is in {path.name} but not in its csv.",
                where=f"{path} molecule {name}",
                hint="both files must come from the same archive",
            )
        targets = table.pop(name)
        if _index(name, str(path)) not in bad:
            kept.append(_Molecule(name, numbers, positions, targets))
    if table:
        raise BadInputError(
            f"{len(table)} molecules of the csv are not in {path.name}, such as {next(iter(table))}.",
            where=str(path),
            hint="both files must come from the same archive",
        )
    kept.sort(key=lambda molecule: _index(molecule.name, str(path)))
    return _frames(path, kept)


def uncharacterised(folder: Path) -> frozenset[int]:
    """1-based indices of the 3,054 molecules that ``uncharacterized.txt`` lists; BadInputError for another
    number."""
    path = folder / "uncharacterized.txt"
    if not path.is_file():
        raise BadInputError(
            "The list of uncharacterised molecules is missing.",
            where=str(path),
            hint="put uncharacterized.txt (published with QM9) beside the data",
        )
    # Header and trailer may hold numbers too: the list is the longest run of lines that begin with one.
    runs: list[list[int]] = [[]]
    for line in path.read_text(encoding="utf-8").splitlines():
        first = line.split(maxsplit=1)[:1]
        if first and first[0].isdigit():
            runs[-1].append(int(first[0]))
        elif runs[-1]:
            runs.append([])
    longest: list[int] = max(runs, key=lambda run: len(run))
    found = frozenset(longest)
    if len(found) != N_UNCHARACTERISED:
        raise BadInputError(
            f"{path.name} lists {len(found)} molecules, not {N_UNCHARACTERISED}.",
            where=str(path),
            hint="fetch it again",
        )
    return found


def _from_tar(path: Path) -> Iterator[tuple[str, str]]:
    try:
        with tarfile.open(path, "r|*", tarinfo=Member) as archive:
            for entry in archive:
                stream = (
                    archive.extractfile(entry) if entry.isfile() and entry.name.endswith(".xyz") else None
                )
                if stream is not None:
                    if entry.size > _MAX_XYZ_BYTES:
                        raise tarfile.ReadError(f"{entry.name} has {entry.size} bytes")
                    yield entry.name, stream.read().decode("utf-8")
    except DAMAGED as error:
        raise BadInputError(
            f"{path.name} is damaged: {error}.", where=str(path), hint="fetch it again"
        ) from error


def _parse_xyz(text: str, where: str) -> _Molecule:
    lines = text.splitlines()
    try:
        count = int(lines[0])
        tag, index, *values = lines[1].split()
        rows = [line.replace("*^", "e").split() for line in lines[2 : 2 + count]]
        numbers = [atomic_numbers[row[0]] for row in rows]
        positions = [[float(x) for x in row[1:4]] for row in rows]
        by_name = dict(zip(_XYZ_ORDER, (float(value) for value in values), strict=True))
        if tag != "gdb" or len(rows) != count:
            raise ValueError(f"{count} atoms announced, {len(rows)} found")
    except (ValueError, KeyError, IndexError) as error:
        raise BadInputError(f"This is not a QM9 xyz file: {error}.", where=where) from error
    return _Molecule(f"gdb_{int(index)}", numbers, positions, _ordered(by_name, where))


def _read_csv(path: Path) -> dict[str, np.ndarray]:
    """(19,) raw values by molecule name."""
    if not path.is_file():
        raise BadInputError(
            "The table of properties is missing.", where=str(path), hint="put it beside gdb9.sdf"
        )
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = [name for name in ("mol_id", *_CSV_NAMES) if name not in (reader.fieldnames or ())]
        if missing:
            raise BadInputError(f"The csv has no column {missing[0]!r}.", where=str(path))
        table = {}
        for row in reader:
            where = f"{path} row {row['mol_id']}"
            try:
                values = {ours: float(row[theirs]) for ours, theirs in zip(_CSV_ORDER, _CSV_NAMES)}
            except (TypeError, ValueError) as error:
                raise BadInputError(f"A property is not a number: {error}.", where=where) from error
            table[row["mol_id"]] = _ordered(values, where)
    return table


def _ordered(values: dict[str, float], where: str) -> np.ndarray:
    bad = [name for name, value in values.items() if not np.isfinite(value)]
    if bad:
        raise BadInputError(f"The property {bad[0]} is not finite.", where=where)
    return np.array([values.get(name, np.nan) for name in TARGETS])


def _index(name: str, where: str) -> int:
    found = re.fullmatch(r"gdb_(\d+)", name)
    if found is None:
        raise BadInputError(f"{name!r} is not the name of a QM9 molecule.", where=where)
    return int(found[1])


def _frames(path: Path, molecules: Iterable[_Molecule]) -> QM9Frames:
    kept = list(molecules)
    if not kept:
        raise BadInputError("There is no molecule.", where=str(path))
    return QM9Frames(
        path,
        np.cumsum([0, *(len(m.numbers) for m in kept)]),
        np.concatenate([m.numbers for m in kept]),
        np.concatenate([m.positions for m in kept]),
        tuple(m.name for m in kept),
        np.stack([m.targets for m in kept]) * _SCALE,
    )
