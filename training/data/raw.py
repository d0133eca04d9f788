"""Raw labelled frames from files: extended XYZ (:mod:`.extxyz`), numpy archives, and whatever ASE reads.

Nothing here knows which key is a label: see :mod:`.labels`.
"""

from __future__ import annotations

import io
import lzma
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jmp_calc.errors import BadInputError, UsageError

from .aselmdb import stream_aselmdb
from .extxyz import RawFrame, RawStream, open_bytes, select, stream_extxyz

_PACKED_SUFFIXES = (".gz", ".bz2", ".xz")


@dataclass(frozen=True, eq=False)
class RawFile:
    """The frames of one file, and what to tell the user about reading them."""

    frames: tuple[RawFrame, ...]
    messages: tuple[str, ...] = ()
    foreign_units: bool = False
    """The layout (rMD17, sGDML) is one that is normally not in eV and Å."""


def read_raw(path: str | Path, *, index: str | int = ":", allow_truncated: bool = False) -> RawFile:
    """Read the frames of ``path`` that ``index`` (ASE's slice syntax) selects, in file order.

    Raises BadInputError for a file that is missing, a directory, empty, unreadable, binary garbage,
    truncated (unless allowed: then the complete frames are used), or an index out of range.
    """
    stream = stream_raw(path, index=index, allow_truncated=allow_truncated)
    raw = RawFile(tuple(stream.frames), tuple(stream.messages), stream.foreign_units)
    if not raw.frames:
        raise BadInputError(
            f"{Path(path).name} has no frame {index!r}.", where=str(path), hint="count from 0; ':' is all"
        )
    return raw


def stream_raw(path: str | Path, *, index: str | int = ":", allow_truncated: bool = False) -> RawStream:
    """The same frames one after the other, where the format allows it; errors of ``read_raw`` come when they
    are met."""
    path = Path(path)
    _check_file(path)
    selection = parse_index(index)
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in _PACKED_SUFFIXES:
        suffixes.pop()
    kind = suffixes[-1] if suffixes else ""
    with _readable(path):
        if kind in (".xyz", ".extxyz", ".exyz") or (not kind and not _known_by_name(path)):
            stream = stream_extxyz(path, selection, allow_truncated)
        elif kind == ".npz":
            stream = _stream_npz(path, selection)
        elif kind == ".aselmdb":
            stream = stream_aselmdb(path, selection)
        else:
            stream = RawStream(_ase_frames(path, kind, selection))
    stream.frames = _guarded(stream.frames, path)
    return stream


def _known_by_name(path: Path) -> bool:
    """Whether ASE has a format for files of that name: OUTCAR, XDATCAR."""
    from ase.io.formats import UnknownFileTypeError, filetype

    try:
        filetype(path.stem if path.suffix.lower() in _PACKED_SUFFIXES else path.name, read=False, guess=False)
    except UnknownFileTypeError:
        return False
    return True


def _guarded(frames: Iterator[RawFrame], path: Path) -> Iterator[RawFrame]:
    with _readable(path):
        yield from frames


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise BadInputError(f"{path} cannot be read: {error}.", where=str(path)) from error


def parse_index(index: str | int) -> slice:
    """Slice for an ASE-style index (``3``, ``"-1"``, ``"::10"``, ``"5:20"``); UsageError if it is none."""
    text = str(index).strip()
    try:
        parts = [int(part) if part.strip() else None for part in text.split(":")]
    except ValueError:
        parts = []
    if len(parts) == 1 and parts[0] is not None:
        return slice(parts[0], parts[0] + 1 if parts[0] != -1 else None)
    if len(parts) not in (2, 3) or (len(parts) == 3 and parts[2] == 0):
        raise UsageError(
            f"Index {text!r} is not understood.", hint="write a number or start:stop:step, such as ::10"
        )
    return slice(*parts)


def _check_file(path: Path) -> None:
    if not path.exists():
        raise BadInputError(f"{path} does not exist.", where=str(path), hint="check the path and the folder")
    if path.is_dir():
        raise BadInputError(
            f"{path} is a directory.", where=str(path), hint="give a file with labelled structures"
        )
    try:
        with path.open("rb") as stream:
            start = stream.read(1)
    except OSError as error:
        raise BadInputError(f"{path} cannot be opened: {error.strerror}.", where=str(path)) from error
    if not start:
        raise BadInputError(f"{path} is empty.", where=str(path))


# ---- files that ASE reads
# -----------------------------------------------------------------------------------------


def _ase_frames(path: Path, kind: str, selection: slice) -> Iterator[RawFrame]:
    import ase.io

    with tempfile.TemporaryDirectory() as folder:
        source = path
        if path.suffix.lower() in _PACKED_SUFFIXES:
            source = Path(folder) / path.stem
            with open_bytes(path) as packed, source.open("wb") as plain:
                shutil.copyfileobj(packed, plain)
        try:
            images = (
                _database(source)
                if kind == ".db"
                else ase.io.iread(str(source), do_not_split_by_at_sign=True)
            )
            for number, atoms in select(enumerate(images), selection):
                yield raw_frame(atoms, number)
        except (BadInputError, OSError):
            raise
        # ASE's readers raise whatever their parsers raise: every one means that the file is not what it says.
        except Exception as error:
            raise BadInputError(
                f"{path.name} cannot be read as {kind or 'a structure file'}: {type(error).__name__}: "
                f"{error}.",
                where=str(path),
                hint="give extxyz, traj, db, npz or another file that ase.io.read knows by its name",
            ) from error


def _database(path: Path) -> Iterator[Any]:
    """Rows of an ASE database, whose own keys ``ase.io`` drops."""
    from ase.db import connect

    for row in connect(path).select(sort="id"):
        atoms = row.toatoms()
        atoms.info.update({**row.key_value_pairs, **row.data})
        yield atoms


def raw_frame(atoms: Any, index: int) -> RawFrame:
    """What an ASE structure carries, as it is."""
    # calc.results holds what was computed; atoms.get_forces() would zero the forces of fixed atoms.
    results = dict(getattr(atoms.calc, "results", {}) or {})
    arrays = {k: np.asarray(v) for k, v in atoms.arrays.items() if k not in ("numbers", "positions")}
    info = dict(atoms.info)
    for key, value in list(info.items()):
        if np.shape(value) == (len(atoms), 3):
            arrays.setdefault(key, np.asarray(value))
    return RawFrame(
        np.asarray(atoms.numbers, dtype=np.int64),
        np.asarray(atoms.positions, dtype=float),
        np.asarray(atoms.cell.array, dtype=float),
        np.asarray(atoms.pbc, dtype=bool),
        index,
        info,
        arrays,
        results,
    )


# ---- numpy archives
# -----------------------------------------------------------------------------------------------

_NPZ_NAMES = {
    "numbers": ("numbers", "nuclear_charges", "z", "atomic_numbers"),
    "positions": ("positions", "coords", "R"),
    "energy": ("energy", "energies", "E"),
    "forces": ("forces", "F"),
}  # fmt: skip


def _stream_npz(path: Path, selection: slice) -> RawStream:
    with open_bytes(path) as stream:
        data = io.BytesIO(stream.read())
    try:
        with np.load(data, allow_pickle=False) as archive:
            content = {key: archive[key] for key in archive.files}
    except (ValueError, zipfile.BadZipFile, KeyError) as error:
        raise BadInputError(
            f"{path.name} is not a plain numpy archive.",
            where=str(path),
            hint="save it with numpy.savez: numbers, positions, energy, forces (cell, pbc, stress)",
        ) from error
    names = {what: next((n for n in options if n in content), None) for what, options in _NPZ_NAMES.items()}
    if names["numbers"] is None or names["positions"] is None:
        raise BadInputError(
            f"{path.name} has no atomic numbers or no positions; its keys: {sorted(content)}.",
            where=str(path),
            hint="name them numbers, positions, energy, forces (and cell, pbc, stress)",
        )
    positions = np.asarray(content[names["positions"]], dtype=float)
    if positions.ndim != 3 or positions.shape[2] != 3:
        raise BadInputError(
            f"Positions have shape {positions.shape}, not (frames, atoms, 3).", where=str(path)
        )
    frames = (_npz_frame(content, names, i, path) for i in range(len(positions))[selection])
    return RawStream(
        frames, foreign_units=names["numbers"] in ("nuclear_charges", "z") or names["energy"] == "E"
    )


def _npz_frame(content: dict[str, np.ndarray], names: dict[str, str | None], i: int, path: Path) -> RawFrame:
    count = len(content[names["positions"] or ""])

    def value(key: str | None, per_frame_dims: int) -> np.ndarray | None:
        array = content.get(key or "")
        if array is None or array.ndim < per_frame_dims or array.ndim > per_frame_dims + 1:
            return array
        if array.ndim == per_frame_dims:
            return array
        if len(array) != count:
            raise BadInputError(f"{key!r} has {len(array)} entries for {count} frames.", where=str(path))
        return array[i]

    numbers = np.asarray(value(names["numbers"], 1), dtype=np.int64)
    atoms = numbers > 0  # frames of different size are padded with atomic number 0
    positions = np.asarray(content[names["positions"] or ""][i], dtype=float)
    if len(numbers) != len(positions):
        raise BadInputError(
            f"{len(numbers)} atomic numbers for {len(positions)} positions.", where=f"{path} frame {i}"
        )
    cell, pbc = value("cell", 2), value("pbc", 1)
    if cell is None:
        cell = value("lattice", 2)
    results: dict[str, Any] = {}
    if names["energy"] is not None:
        results["energy"] = np.asarray(value(names["energy"], 0)).reshape(-1)[0]
    if names["forces"] is not None:
        forces = np.asarray(content[names["forces"]][i])
        results["forces"] = forces[atoms] if len(forces) == len(atoms) else forces
    if "stress" in content:
        results["stress"] = content["stress"][i]
    info = (
        {"config_type": str(content["config_type"][i])}
        if content.get("config_type", np.array(0)).ndim == 1
        else {}
    )
    return RawFrame(
        numbers[atoms],
        positions[atoms],
        np.zeros((3, 3)) if cell is None else np.asarray(cell, dtype=float),
        np.full(3, cell is not None) if pbc is None else np.asarray(pbc, dtype=bool),
        i,
        info,
        {},
        results,
    )
