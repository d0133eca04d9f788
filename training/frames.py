"""Labelled frames as ASE structures, for files that people open."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jmp_calc.io.atomic import replacing

from .labels import Frame

if TYPE_CHECKING:
    from ase import Atoms

    from .metrics import Predictions

VOIGT = ((0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1))


def spread(frames: Sequence[Frame], count: int) -> list[Frame]:
    """At most ``count`` of the frames at even distances, the first and the last among them."""
    return [frames[i] for i in np.linspace(0, len(frames) - 1, min(count, len(frames))).astype(int)]


def to_atoms(frame: Frame) -> Atoms:
    """ASE structure with the labels in an attached calculator; scalars, classes, vectors and origin in ``info``."""
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator

    atoms = Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=frame.pbc)
    atoms.info.update(config_type=frame.group, source=frame.source, source_index=frame.index)
    labels: dict[str, Any] = {"energy": frame.energy, "forces": frame.forces,
                              "stress": None if frame.stress is None else frame.stress[VOIGT]}
    for name, value in frame.targets.items():
        (labels if name == "energy" else atoms.info)[info_key(name)] = value
    for name, target in (*frame.classes.items(), *frame.vectors.items()):
        atoms.info[info_key(name)] = target
    present = {name: value for name, value in labels.items() if value is not None}
    if present:
        atoms.calc = SinglePointCalculator(atoms, **present)
    return atoms


def info_key(target: str) -> str:
    """Name of a scalar in extended XYZ: without spaces."""
    return target.replace(" ", "_")


def write_frames(path: Path, frames: Sequence[Frame]) -> None:
    """Write frames with their labels as extxyz."""
    from ase.io import write

    with replacing(path) as temporary:
        write(temporary, [to_atoms(frame) for frame in frames], format="extxyz")


def write_predictions(
    path: Path, frames: Sequence[Frame], predictions: Predictions, target: str | None = None, classes: Sequence[str] = (),
) -> None:
    """Frames with labels untouched and predictions as ``jmp_energy``, ``jmp_forces``, ``jmp_stress`` (Voigt-6).

    With a scalar, class or vector ``target``, as ``jmp_<target>`` only; ``classes`` are the names of the classes.
    """
    from ase.io import write

    images, first = [], 0
    for i, frame in enumerate(frames):
        atoms = to_atoms(frame)
        images.append(atoms)
        if target is not None:
            atoms.info[f"jmp_{info_key(target)}"] = _predicted(predictions, i, classes)
            continue
        atoms.info["jmp_energy"] = float(predictions.energy[i])
        atoms.arrays["jmp_forces"] = predictions.forces[first:first + frame.n_atoms]
        if np.isfinite(predictions.stress[i]).all() and frame.stress is not None:
            atoms.info["jmp_stress"] = predictions.stress[i][VOIGT]
        first += frame.n_atoms
    with replacing(path) as temporary:
        write(temporary, images, format="extxyz")


def _predicted(predictions: Predictions, i: int, classes: Sequence[str]) -> float | str | np.ndarray:
    """What was predicted for a structure: the name of a class, a vector, or a number."""
    if classes:
        return classes[int(predictions.chosen[i])] if np.isfinite(predictions.chosen[i]) else "not finite"
    return predictions.vector[i] if np.isfinite(predictions.vector[i]).all() else float(predictions.scalar[i])
