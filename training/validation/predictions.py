"""Labelled frames with what the model predicts for them, as an extended XYZ file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jmp_calc.io.atomic import replacing
from jmp_calc.io.raw_frame import VOIGT
from jmp_calc.io.write import write_extxyz

from ..data.frame import Frame
from ..data.to_ase import info_key, to_atoms

if TYPE_CHECKING:
    from .metrics import Predictions


def write_predictions(
    path: Path,
    frames: Sequence[Frame],
    predictions: Predictions,
    target: str | None = None,
    classes: Sequence[str] = (),
) -> None:
    """Frames with labels untouched and predictions as ``jmp_energy``, ``jmp_forces``, ``jmp_stress``
    (Voigt-6).

    With a scalar, class or vector ``target``, as ``jmp_<target>`` only; ``classes`` are the names of the
    classes.
    """
    images, first = [], 0
    for i, frame in enumerate(frames):
        atoms = to_atoms(frame)
        images.append(atoms)
        if target is not None:
            atoms.info[f"jmp_{info_key(target)}"] = _predicted(predictions, i, classes)
            continue
        atoms.info["jmp_energy"] = float(predictions.energy[i])
        atoms.arrays["jmp_forces"] = predictions.forces[first : first + frame.n_atoms]
        if np.isfinite(predictions.stress[i]).all() and frame.stress is not None:
            atoms.info["jmp_stress"] = predictions.stress[i][VOIGT]
        first += frame.n_atoms
    with replacing(path) as temporary:
        write_extxyz(temporary, images)


def _predicted(predictions: Predictions, i: int, classes: Sequence[str]) -> float | str | np.ndarray:
    """What was predicted for a structure: the name of a class, a vector, or a number."""
    if classes:
        return classes[int(predictions.chosen[i])] if np.isfinite(predictions.chosen[i]) else "not finite"
    return predictions.vector[i] if np.isfinite(predictions.vector[i]).all() else float(predictions.scalar[i])
