"""Labelled frames as ASE structures, for files that people open."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jmp_calc.io.atomic import replacing
from jmp_calc.io.raw_frame import VOIGT
from jmp_calc.io.write import write_extxyz

from .frame import Frame

if TYPE_CHECKING:
    from ase import Atoms


def to_atoms(frame: Frame) -> Atoms:
    """ASE structure with the labels in an attached calculator; scalars, classes, vectors and origin in
    ``info``, atoms that were held in the column ``fixed``."""
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator

    atoms = Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=frame.pbc)
    atoms.info.update(config_type=frame.group, source=frame.source, source_index=frame.index)
    if frame.fixed is not None:
        atoms.arrays["fixed"] = frame.fixed
    labels: dict[str, Any] = {
        "energy": frame.energy,
        "forces": frame.forces,
        "stress": None if frame.stress is None else frame.stress[VOIGT],
    }
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
    with replacing(path) as temporary:
        write_extxyz(temporary, [to_atoms(frame) for frame in frames])
