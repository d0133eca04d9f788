"""Frames of numpy archives: arrays over all frames, also the layouts of rMD17 and sGDML."""

from __future__ import annotations

import math
import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np

from ..errors import BadInputError
from .files import UNPACKED_FREELY, UNPACKED_RATIO, Index, select, unpacked
from .raw_frame import RawFrame, RawStream

_NPZ_NAMES = {
    "numbers": ("numbers", "nuclear_charges", "z", "atomic_numbers"),
    "positions": ("positions", "coords", "R"),
    "energy": ("energy", "energies", "E"),
    "forces": ("forces", "F"),
}  # fmt: skip


def stream_npz(path: Path, index: Index) -> RawStream:
    """Selected frames of an archive with numbers, positions and whatever labels it has.

    Raises BadInputError for what is no plain archive, unpacks to more than its size allows, or has arrays
    that
    do not fit together.
    """
    with unpacked(path) as source:
        content = archive_arrays(source, path)
    names = {what: next((n for n in options if n in content), None) for what, options in _NPZ_NAMES.items()}
    if names["numbers"] is None or names["positions"] is None:
        raise BadInputError(
            f"{path.name} has no atomic numbers or no positions; its keys: {sorted(content)}.",
            where=str(path),
            hint="name them numbers, positions, energy, forces (and cell, pbc, stress)",
        )
    positions = content[names["positions"]]
    if positions.ndim != 3 or positions.shape[2] != 3 or positions.dtype.kind not in "fiu":
        raise BadInputError(
            f"Positions have shape {positions.shape}, not (frames, atoms, 3).", where=str(path)
        )
    frames = (_npz_frame(content, names, i, path) for i in select(range(len(positions)), index))
    return RawStream(
        frames, foreign_units=names["numbers"] in ("nuclear_charges", "z") or names["energy"] == "E"
    )


def archive_arrays(source: Path, path: Path, names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """The named arrays of an archive, or all, each no larger than its header and the archive say.

    BadInputError, naming ``path``, for what is damaged, unpacks to far more, or holds Python objects.
    """
    bound = max(UNPACKED_FREELY, UNPACKED_RATIO * source.stat().st_size)
    try:
        with zipfile.ZipFile(source) as archive:
            members = [item for item in archive.infolist() if item.filename.endswith(".npy")]
            if names is not None:
                members = [item for item in members if item.filename[:-4] in names]
            if sum(item.file_size for item in members) > bound:
                raise BadInputError(
                    f"The archive unpacks to more than {bound >> 20} MB.",
                    where=str(path),
                    hint="save it with numpy.savez, without compression, if that is right",
                )
            return {item.filename[:-4]: _array(archive, item) for item in members}
    # Damaged archives raise whatever zipfile, zlib and numpy make of them.
    except (ValueError, KeyError, TypeError, SyntaxError, RuntimeError, OverflowError, MemoryError) as error:
        raise _no_archive(path) from error
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, struct.error, TokenError) as error:
        raise _no_archive(path) from error


def _array(archive: zipfile.ZipFile, item: zipfile.ZipInfo) -> np.ndarray:
    """One array; ValueError for objects and for a header that promises more than the member holds."""
    with archive.open(item) as stream:
        version = np.lib.format.read_magic(stream)
        read = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, _, kind = read(stream)
        if kind.hasobject or math.prod(shape) * max(kind.itemsize, 1) > item.file_size:
            raise ValueError("objects, or more numbers than the member holds")
    with archive.open(item) as stream:
        return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))


def _no_archive(path: Path) -> BadInputError:
    return BadInputError(
        f"{path.name} is not a plain numpy archive.",
        where=str(path),
        hint="save it with numpy.savez: numbers, positions, energy, forces (cell, pbc, stress)",
    )


def _npz_frame(content: dict[str, np.ndarray], names: dict[str, str | None], i: int, path: Path) -> RawFrame:
    """Frame ``i``; BadInputError, naming the key, for an array that does not fit the others."""
    count = len(content[names["positions"] or ""])

    def value(key: str | None, shape: tuple[int, ...], what: type = float) -> np.ndarray | None:
        """The entry of this frame, or the one of all frames, of that shape (-1: any length)."""
        array = content.get(key or "")
        if array is None:
            return None
        each = array.ndim == len(shape) + 1
        if each and len(array) != count:
            raise BadInputError(f"{key!r} has {len(array)} entries for {count} frames.", where=str(path))
        entry = array[i] if each else array
        fits = entry.ndim == len(shape) and all(a in (-1, b) for a, b in zip(shape, entry.shape))
        if not fits or entry.dtype.kind not in "fiub":
            raise BadInputError(f"{key!r} has shape {array.shape} and type {array.dtype}.", where=str(path))
        return entry.astype(what)

    numbers = value(names["numbers"], (-1,))
    positions = np.asarray(content[names["positions"] or ""][i], dtype=float)
    if numbers is None or len(numbers) != len(positions):
        raise BadInputError(
            f"{0 if numbers is None else len(numbers)} atomic numbers for {len(positions)} positions.",
            where=f"{path} frame {i}",
        )
    if not (np.abs(numbers) < 1e6).all():
        raise BadInputError("Atomic numbers are not finite, or huge.", where=f"{path} frame {i}")
    if (numbers != np.round(numbers)).any() or numbers.min(initial=0) < -1:
        wrong = numbers[(numbers != np.round(numbers)) | (numbers < -1)][0]
        raise BadInputError(f"{wrong:g} is no atomic number.", where=f"{path} frame {i}")
    atoms = numbers > 0  # frames of different size are padded with atomic number 0 or -1
    cell, pbc = value("cell", (3, 3)), value("pbc", (3,), bool)
    if cell is None:
        cell = value("lattice", (3, 3))
    results: dict[str, Any] = {}
    energies = content.get(names["energy"] or "")
    if energies is not None:
        flat = energies[:, 0] if energies.ndim == 2 and energies.shape[1] == 1 else energies
        results["energy"] = _entry(flat, i, count, str(names["energy"]), path)
    if names["forces"] is not None:
        forces = value(names["forces"], (-1, -1))
        results["forces"] = forces[atoms] if forces is not None and len(forces) == len(atoms) else forces
    if "stress" in content:
        results["stress"] = _entry(content["stress"], i, count, "stress", path)
    kinds = content.get("config_type", np.array(0))
    info = {} if kinds.ndim != 1 else {"config_type": str(_entry(kinds, i, count, "config_type", path))}
    return RawFrame(
        numbers[atoms].astype(np.int64),
        positions[atoms],
        np.zeros((3, 3)) if cell is None else cell,
        np.full(3, cell is not None and bool(cell.any())) if pbc is None else pbc,
        i,
        info,
        {},
        results,
    )


def _entry(array: np.ndarray, i: int, count: int, key: str, path: Path) -> Any:
    """Entry ``i`` of an array with one entry for each of ``count`` frames; BadInputError for another
    number."""
    if array.ndim == 0 or len(array) != count:
        raise BadInputError(
            f"{key!r} has {len(array) if array.ndim else 'no'} entries for {count} frames.", where=str(path)
        )
    return array[i]
