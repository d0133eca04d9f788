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

    Properties that no frame has a label of are left out; where single labels are missing the value is NaN.
    Raises UsageError where chemiscope is missing.
    """
    if target is None:
        shown = _energies(predictions) | _forces(predictions) | _stresses(predictions)
    else:
        shown = _targets(target, predictions, classes)
    axes = [name for name in shown if shown[name].of == "structure"]
    shown["group"] = Shown([frame.group for frame in frames], text="config_type of the file")
    shown["frame"] = Shown(np.array([frame.index for frame in frames]), text="number in its file, from 0")
    shown["atoms"] = Shown(predictions.n_atoms, text="number of atoms")
    axes = [*axes, "frame", "atoms"]
    colour = next((name for name in axes if name.endswith("error")), "group")
    write_chemiscope(path, [to_atoms(frame) for frame in frames], shown, x=axes[0], y=axes[1], colour=colour)


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
    """Lengths of the difference of two vectors, of each atom, and their mean and largest by structure."""
    if np.isnan(predictions.forces_true).all():
        return {}
    length = 1e3 * np.linalg.norm(predictions.forces - predictions.forces_true, axis=1)
    starts = np.cumsum(predictions.n_atoms) - predictions.n_atoms
    mean = np.add.reduceat(length, starts) / predictions.n_atoms
    label = np.linalg.norm(predictions.forces_true, axis=1)
    return {
        "mean force error": Shown(mean, "meV/Å", "mean over the atoms of |model - label|"),
        "largest force error": Shown(np.maximum.reduceat(length, starts), "meV/Å", "of one atom"),
        "force error of the atom": Shown(length, "meV/Å", "|model - label|", of="atom"),
        "force on the atom, label": Shown(label, "eV/Å", "length of the force", of="atom"),
    }


def _stresses(predictions: Predictions) -> dict[str, Shown]:
    """Mean over the nine components."""
    if np.isnan(predictions.stress_true).all():
        return {}
    difference = np.abs(predictions.stress - predictions.stress_true).mean(axis=(1, 2)) * GPA_PER_EV_A3
    return {"stress error": Shown(difference, "GPa", "mean of |model - label| over the components")}


def _targets(target: str, predictions: Predictions, classes: Sequence[str]) -> dict[str, Shown]:
    """Of scalars label, prediction and error; of classes the names; of vectors lengths and the error."""
    if classes:
        names = (*classes, "not finite")
        chosen = (predictions.chosen_true, predictions.chosen)
        label, model = ([names[int(n) if np.isfinite(n) else -1] for n in found] for found in chosen)
        right = np.array([float(a == b) for a, b in zip(label, model)])
        return {
            f"{target}, right": Shown(right, text="1 where the model is right"),
            f"{target}, label": Shown(label),
            f"{target}, model": Shown(model),
        }
    scalars = not np.isnan(predictions.scalar_true).all()
    pair = (predictions.scalar_true, predictions.scalar)
    if not scalars:
        pair = (predictions.vector_true, predictions.vector)
    difference = pair[1] - pair[0]
    label, model = pair if scalars else (np.linalg.norm(vectors, axis=1) for vectors in pair)
    error = difference if scalars else np.linalg.norm(difference, axis=1)
    return {
        f"{target}, label": Shown(label, text="of the data" + ("" if scalars else ", length")),
        f"{target}, model": Shown(model, text="of the model" + ("" if scalars else ", length")),
        f"{target} error": Shown(error, text="model minus label" if scalars else "|model - label|"),
    }
