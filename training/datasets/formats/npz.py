"""The numpy archives of rMD17 and MD22: only the members that are needed are read, none of them with
pickle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jmp_calc.errors import BadInputError
from jmp_calc.io.npz import archive_arrays
from jmp_calc.units import KCAL_MOL

from ..base import MoleculeFrames


def read_members(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The named arrays of ``path``; BadInputError naming file and key if one is missing, damaged or an object
    array."""
    found = archive_arrays(path, path, names)
    missing = [name for name in names if name not in found]
    if missing:
        raise BadInputError(
            f"{path.name} has no array {missing[0]!r}; its arrays: {sorted(archive_arrays(path, path))}.",
            where=str(path),
            hint="is this the file of another data set?",
        )
    return found


def kcal_frames(
    path: Path,
    group: str,
    numbers: np.ndarray,
    positions: np.ndarray,
    energies: np.ndarray,
    forces: np.ndarray,
) -> MoleculeFrames:
    """Frames of arrays in kcal/mol and Å; BadInputError if their shapes do not agree.

    Shapes: numbers (N,), positions and forces (n_frames, N, 3), energies (n_frames,).

    Converted in float64: at 17,600 eV float32 would lose 2 meV.
    """
    for name, array in (
        ("numbers", numbers),
        ("positions", positions),
        ("energies", energies),
        ("forces", forces),
    ):
        if array.dtype.kind not in "iuf":
            raise BadInputError(f"The {name} are {array.dtype}, not numbers.", where=str(path))
    energies = np.asarray(energies, dtype=np.float64).reshape(-1)
    shape = positions.shape
    if (
        positions.ndim != 3
        or shape[1:] != (len(numbers), 3)
        or forces.shape != shape
        or len(energies) != shape[0]
    ):
        raise BadInputError(
            f"Shapes do not agree: {len(numbers)} atoms, positions {shape}, forces {forces.shape}, "
            f"{len(energies)} energies.",
            where=str(path),
            hint="fetch the file again",
        )
    if shape[0] == 0:
        raise BadInputError(f"{path.name} has no frames.", where=str(path))
    return MoleculeFrames(
        path, group, numbers, positions, energies * KCAL_MOL, np.asarray(forces, dtype=np.float64) * KCAL_MOL
    )
