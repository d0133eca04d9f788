"""Frames of numpy archives: arrays over all frames, also the layouts of rMD17 and sGDML."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BadInputError
from .arrays import load_arrays
from .files import Index, open_bytes, select
from .raw_frame import RawFrame, RawStream

_NPZ_NAMES = {
    "numbers": ("numbers", "nuclear_charges", "z", "atomic_numbers"),
    "positions": ("positions", "coords", "R"),
    "energy": ("energy", "energies", "E"),
    "forces": ("forces", "F"),
}  # fmt: skip


def stream_npz(path: Path, index: Index) -> RawStream:
    """Frames of a plain numpy archive of one molecule.

    Raises:
        BadInputError: no such archive, or arrays of other names or shapes.
    """
    with open_bytes(path) as stream:
        data = io.BytesIO(stream.read())
    content = load_arrays(data, path)
    names = {what: next((n for n in options if n in content), None) for what, options in _NPZ_NAMES.items()}
    if names["numbers"] is None or names["positions"] is None:
        raise BadInputError(
            f"{path.name} has no atomic numbers or no positions; its keys: {sorted(content)}.",
            where=str(path),
            hint="name them numbers, positions, energy, forces (and cell, pbc, stress)",
        )
    _refuse_text(content, [name for name in names.values() if name is not None], path)
    positions = np.asarray(content[names["positions"]], dtype=float)
    if positions.ndim != 3 or positions.shape[2] != 3:
        raise BadInputError(
            f"Positions have shape {positions.shape}, not (frames, atoms, 3).", where=str(path)
        )
    frames = (_npz_frame(content, names, i, path) for i in select(range(len(positions)), index))
    return RawStream(
        frames, foreign_units=names["numbers"] in ("nuclear_charges", "z") or names["energy"] == "E"
    )


def _refuse_text(content: dict[str, np.ndarray], names: list[str], path: Path) -> None:
    for name in [*names, *(key for key in ("cell", "lattice", "pbc", "stress") if key in content)]:
        if content[name].dtype.kind not in "biuf":
            raise BadInputError(
                f"{name!r} holds {content[name].dtype}, not numbers.", where=f"{path} array {name}"
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
        forces = np.asarray(_entry(content, names["forces"], i, path))
        results["forces"] = forces[atoms] if len(forces) == len(atoms) else forces
    if "stress" in content:
        results["stress"] = _entry(content, "stress", i, path)
    info = {}
    if content.get("config_type", np.array(0)).ndim == 1:
        info["config_type"] = str(_entry(content, "config_type", i, path))
    if cell is not None and np.shape(cell) != (3, 3):
        raise BadInputError(f"The cell has shape {np.shape(cell)}, not (3, 3).", where=f"{path} frame {i}")
    if pbc is not None and np.size(pbc) not in (1, 3):
        raise BadInputError(f"pbc has shape {np.shape(pbc)}, not (3,).", where=f"{path} frame {i}")
    return RawFrame(
        numbers[atoms],
        positions[atoms],
        np.zeros((3, 3)) if cell is None else np.asarray(cell, dtype=float),
        np.full(3, cell is not None if pbc is None else np.asarray(pbc, dtype=bool)),
        i,
        info,
        {},
        results,
    )


def _entry(content: dict[str, np.ndarray], name: str, i: int, path: Path) -> Any:
    """What an array over all frames has for one of them."""
    array = content[name]
    if array.ndim == 0 or i >= len(array):
        raise BadInputError(
            f"{name!r} has {len(array) if array.ndim else 'no'} entries, too few for frame {i}.",
            where=f"{path} array {name}",
        )
    return array[i]
