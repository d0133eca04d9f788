"""Errors of a model as a map of structures and atoms in the viewer chemiscope."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jmp_calc.io.chemiscope import Shown, write_chemiscope
from jmp_calc.units import GPA_PER_EV_A3

from ..data.to_ase import to_atoms

if TYPE_CHECKING:
    from ..data.frame import Frame
    from .metrics import Predictions


def write_view(
    path: Path,
    frames: Sequence[Frame],
    predictions: Predictions,
    target: str | None = None,
    classes: Sequence[str] = (),
) -> None:
    """Frames with labels, predictions and errors by structure and by atom.

    Raises UsageError where chemiscope is missing.
    """
    shown = compared(predictions, target, classes)
    axes = [*(name for name in shown if shown[name].of == "structure"), "frame", "atoms"]
    shown["group"] = Shown([frame.group for frame in frames], text="config_type of the file")
    shown["frame"] = Shown(np.array([frame.index for frame in frames]), text="number in its file, from 0")
    shown["atoms"] = Shown(predictions.n_atoms, text="number of atoms")
    colour = next((name for name in axes if name.endswith("error")), "group")
    write_chemiscope(path, [to_atoms(frame) for frame in frames], shown, x=axes[0], y=axes[1], colour=colour)


def compared(
    predictions: Predictions, target: str | None = None, classes: Sequence[str] = ()
) -> dict[str, Shown]:
    """Labels, predictions and errors by the names that the viewer shows.

    What no structure has a label of is left out; where single labels are missing the value is NaN.
    """
    if target is None:
        return _energies(predictions) | _forces(predictions) | _stresses(predictions)
    if classes:
        return _classes(target, predictions, classes)
    if np.isnan(predictions.scalar_true).all():
        return _vectors(target, predictions)
    return _scalars(target, predictions)


def _energies(predictions: Predictions) -> dict[str, Shown]:
    """Per atom, in the unit of the error table."""
    if np.isnan(predictions.energy_true).all():
        return {}
    label, model = (e / predictions.n_atoms for e in (predictions.energy_true, predictions.energy))
    return {
        "energy, label": Shown(label, "eV/atom", "energy of the data"),
        "energy, model": Shown(model, "eV/atom", "energy of the model"),
        "energy error": Shown(1e3 * (model - label), "meV/atom", "model minus label"),
    }


def _forces(predictions: Predictions) -> dict[str, Shown]:
    """Lengths of the difference of two vectors, of each atom, and their mean and largest by structure; NaN of
    atoms that were held."""
    if np.isnan(predictions.forces_true).all():
        return {}
    length = 1e3 * np.linalg.norm(predictions.forces - predictions.forces_true, axis=1)
    starts = np.cumsum(predictions.n_atoms) - predictions.n_atoms
    known = ~np.isnan(predictions.forces_true).any(axis=1)
    free = np.add.reduceat(known.astype(float), starts)
    total = np.add.reduceat(np.where(known, length, 0.0), starts)
    mean = np.divide(total, free, out=np.full(len(free), np.nan), where=free > 0)
    largest = np.maximum.reduceat(np.where(known, length, -np.inf), starts)
    label = np.linalg.norm(predictions.forces_true, axis=1)
    return {
        "mean force error": Shown(mean, "meV/Å", "mean over the free atoms of |model - label|"),
        "largest force error": Shown(np.where(free > 0, largest, np.nan), "meV/Å", "of one free atom"),
        "force error of the atom": Shown(length, "meV/Å", "|model - label|", of="atom"),
        "force on the atom, label": Shown(label, "eV/Å", "length of the force", of="atom"),
    }


def _stresses(predictions: Predictions) -> dict[str, Shown]:
    """Mean over the nine components."""
    if np.isnan(predictions.stress_true).all():
        return {}
    difference = np.abs(predictions.stress - predictions.stress_true).mean(axis=(1, 2)) * GPA_PER_EV_A3
    return {"stress error": Shown(difference, "GPa", "mean of |model - label| over the components")}


def _classes(target: str, predictions: Predictions, classes: Sequence[str]) -> dict[str, Shown]:
    """Names of the classes, and whether the model is right."""
    names = (*classes, "not finite")
    label, model = (
        [names[int(number) if np.isfinite(number) else -1] for number in numbers]
        for numbers in (predictions.chosen_true, predictions.chosen)
    )
    right = np.array([float(a == b) for a, b in zip(label, model)])
    return {
        f"{target}, right": Shown(right, text="1 where the model is right"),
        f"{target}, label": Shown(label),
        f"{target}, model": Shown(model),
    }


def _scalars(target: str, predictions: Predictions) -> dict[str, Shown]:
    """In the units of the labels."""
    return {
        f"{target}, label": Shown(predictions.scalar_true, text="of the data"),
        f"{target}, model": Shown(predictions.scalar, text="of the model"),
        f"{target} error": Shown(predictions.scalar - predictions.scalar_true, text="model minus label"),
    }


def _vectors(target: str, predictions: Predictions) -> dict[str, Shown]:
    """Their lengths, and the length of the difference."""
    difference = predictions.vector - predictions.vector_true
    label, model, error = (
        np.linalg.norm(vectors, axis=1)
        for vectors in (predictions.vector_true, predictions.vector, difference)
    )
    return {
        f"{target}, label": Shown(label, text="of the data, length"),
        f"{target}, model": Shown(model, text="of the model, length"),
        f"{target} error": Shown(error, text="|model - label|"),
    }
