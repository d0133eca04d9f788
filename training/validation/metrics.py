"""Errors of predictions, in the units people quote: meV/atom, meV/Å, GPa, units of a scalar; total and by
group.

Force errors are by component (mean over atoms and x, y, z), as in most papers, without the atoms that the
calculation held in place (OC20; ``training.md`` section 9.3).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from jmp_calc.units import GPA_PER_EV_A3

from ..distributed.world import World

if TYPE_CHECKING:
    from jmp_calc.model.potential import Prediction

    from ..batches.dataset import TargetBatch


@dataclass(frozen=True)
class Errors:
    """Errors over some structures; None where no structure has the label."""

    n_structures: int
    energy_mae_mev_per_atom: float | None = None
    energy_rmse_mev_per_atom: float | None = None
    energy_mae_mev: float | None = None
    """Of the total energy."""
    energy_shifted_mae_mev_per_atom: float | None = None
    """MAE after the mean error per atom is taken off, which is all that another zero of energy would change;
    None for a single energy."""
    forces_mae_mev_per_a: float | None = None
    forces_rmse_mev_per_a: float | None = None
    stress_mae_gpa: float | None = None
    stress_rmse_gpa: float | None = None
    scalar_mae: float | None = None
    """In the units of the labels, as the two below; None for heads with energies."""
    scalar_rmse: float | None = None
    scalar_r2: float | None = None
    """1 - (RMSE / standard deviation of the labels)²; None where the labels do not differ."""
    accuracy: float | None = None
    """Share of right classes."""
    balanced_accuracy: float | None = None
    """The same for each class that occurs, averaged over classes."""
    vector_mae: float | None = None
    """By component, units of the labels."""
    vector_length_mae: float | None = None
    n_not_finite: int | None = None
    """Structures with a label and a prediction that is not finite: the error is NaN (a class is wrong); None:
    no such."""

    def to_dict(self) -> dict[str, float | int]:
        """Plain dict of the errors that exist, numbers rounded to five significant digits."""
        present = {key: value for key, value in dataclasses.asdict(self).items() if value is not None}
        return {key: _rounded(value) for key, value in present.items()}

    def __str__(self) -> str:
        parts = []
        if self.energy_mae_mev_per_atom is not None:
            parts.append(f"E {self.energy_mae_mev_per_atom:.2f} meV/atom{self._shifted()}")
        if self.forces_mae_mev_per_a is not None:
            parts.append(f"F {self.forces_mae_mev_per_a:.1f} meV/Å")
        if self.stress_mae_gpa is not None:
            parts.append(f"stress {self.stress_mae_gpa:.3f} GPa")
        if self.scalar_mae is not None:
            r2 = "" if self.scalar_r2 is None else f", R² {self.scalar_r2:.3f}"
            parts.append(f"MAE {self.scalar_mae:.4g}, RMSE {self.scalar_rmse:.4g}{r2}")
        if self.accuracy is not None:
            parts.append(f"accuracy {self.accuracy:.4f}, balanced {self.balanced_accuracy:.4f}")
        if self.vector_mae is not None:
            parts.append(
                f"MAE {self.vector_mae:.4g} by component, {self.vector_length_mae:.4g} of the length"
            )
        if self.n_not_finite is not None:
            parts.append(f"predictions not finite for {self.n_not_finite} of {self.n_structures} structures")
        return ", ".join(parts) or "no labels"

    def _shifted(self) -> str:
        """The error without the constant offset, where that makes most of it."""
        whole, shifted = self.energy_mae_mev_per_atom, self.energy_shifted_mae_mev_per_atom
        if whole is None or shifted is None or not shifted < whole / 2:
            return ""
        return f" ({shifted:.2f} without the constant offset)"


@dataclass(frozen=True, eq=False)
class Predictions:
    """Predicted and true values of structures in order; the true one is NaN where there is no label or
    nothing is predicted.

    A prediction that is NaN beside a label is a failure of the network, and counts.
    """

    n_atoms: np.ndarray
    """(S,)"""
    energy: np.ndarray
    """(S,) eV, predicted"""
    energy_true: np.ndarray
    forces: np.ndarray
    """(N, 3) eV/Å, predicted"""
    forces_true: np.ndarray
    stress: np.ndarray
    """(S, 3, 3) eV/Å³, predicted"""
    stress_true: np.ndarray
    scalar: np.ndarray
    """(S,) units of the labels, predicted"""
    scalar_true: np.ndarray
    chosen: np.ndarray
    """(S,) number of the class, predicted"""
    chosen_true: np.ndarray
    vector: np.ndarray
    """(S, 3) units of the labels, predicted"""
    vector_true: np.ndarray

    @property
    def structure(self) -> np.ndarray:
        """(N,) number of the structure of every atom."""
        return np.repeat(np.arange(len(self.n_atoms)), self.n_atoms)

    def errors(self, chosen: np.ndarray | None = None) -> Errors:
        """Errors over the structures of a mask (S,); None: all."""
        chosen = np.ones(len(self.n_atoms), dtype=bool) if chosen is None else chosen
        atoms = chosen[self.structure]
        energy = _errors(self.energy[chosen], self.energy_true[chosen])
        per_atom = energy / self.n_atoms[chosen & ~np.isnan(self.energy_true)]
        forces = _errors(self.forces[atoms], self.forces_true[atoms])
        stress = _errors(self.stress[chosen], self.stress_true[chosen])
        scalar = _errors(self.scalar[chosen], self.scalar_true[chosen])
        classes = accuracies(self.chosen[chosen], self.chosen_true[chosen])
        vectors = vector_errors(self.vector[chosen], self.vector_true[chosen])
        return Errors(
            int(chosen.sum()),
            _mae(per_atom, 1e3),
            _rmse(per_atom, 1e3),
            _mae(energy, 1e3),
            _mae(_centred(per_atom), 1e3),
            _mae(forces, 1e3),
            _rmse(forces, 1e3),
            _mae(stress, GPA_PER_EV_A3),
            _rmse(stress, GPA_PER_EV_A3),
            _mae(scalar, 1.0),
            _rmse(scalar, 1.0),
            _r2(scalar, self.scalar_true[chosen]),
            *classes,
            *vectors,
            int(self.not_finite[chosen].sum()) or None,
        )

    @property
    def not_finite(self) -> np.ndarray:
        """(S,) whether a structure has a label with a prediction that is not finite."""
        failed = np.zeros(len(self.n_atoms), dtype=bool)
        for predicted, true in (
            (self.energy, self.energy_true),
            (self.scalar, self.scalar_true),
            (self.chosen, self.chosen_true),
            (self.stress, self.stress_true),
            (self.vector, self.vector_true),
        ):
            failed |= (~np.isfinite(predicted) & ~np.isnan(true)).reshape(len(failed), -1).any(axis=1)
        atoms = (~np.isfinite(self.forces) & ~np.isnan(self.forces_true)).any(axis=1)
        failed[self.structure[atoms]] = True
        return failed

    def errors_by_group(self, groups: Sequence[str]) -> dict[str, Errors]:
        """Errors of every group, in the order of first appearance."""
        names = np.asarray(groups)
        return {name: self.errors(names == name) for name in dict.fromkeys(groups)}


class Collector:
    """Gathers predictions batch by batch on the device and brings them to the host once, at the end."""

    def __init__(self) -> None:
        self._parts: dict[str, list[torch.Tensor]] = {name: [] for name in _COLUMNS}
        self._frames: list[int] = []

    @torch.no_grad()
    def add(self, prediction: Prediction, target: TargetBatch) -> None:
        """Add one batch."""
        n_atoms = torch.bincount(target.batch.structure, minlength=target.batch.n_structures)
        value, labels = prediction.energy.double(), _masked(target.target_value, target.target_mask)
        unknown = torch.full_like(n_atoms, torch.nan, dtype=torch.float64)
        kind = None if target.target is None else target.target_kind
        scalars = (value, labels) if kind == "scalar" else (unknown, unknown)
        classes = (chosen_class(value), labels) if kind == "class" else (unknown, unknown)
        vectors = (value, labels) if kind == "vector" else (unknown[:, None].expand(-1, 3),) * 2
        add = {
            "n_atoms": n_atoms,
            "energy": value if kind is None else unknown,
            "energy_true": unknown
            if kind
            else _masked(target.energy - target.reference_energy, target.energy_mask),
            **_compared(
                "forces",
                prediction.forces,
                target.forces,
                target.free & target.forces_mask[target.batch.structure],
            ),
            **_compared("stress", prediction.stress, target.stress, target.stress_mask),
            "scalar": scalars[0],
            "scalar_true": scalars[1],
            "chosen": classes[0],
            "chosen_true": classes[1],
            "vector": vectors[0],
            "vector_true": vectors[1],
        }
        self._frames += target.frames
        for name, value in add.items():
            self._parts[name].append(value.detach())

    def columns(self) -> tuple[list[int], dict[str, np.ndarray]]:
        """Frames that were added, by position in their data set, and their values."""
        empty = {
            "n_atoms": np.zeros(0, int),
            "forces": np.zeros((0, 3)),
            "forces_true": np.zeros((0, 3)),
            "stress": np.zeros((0, 3, 3)),
            "stress_true": np.zeros((0, 3, 3)),
            "vector": np.zeros((0, 3)),
            "vector_true": np.zeros((0, 3)),
        }
        return self._frames, {
            name: torch.cat(parts).cpu().numpy() if parts else empty.get(name, np.zeros(0))
            for name, parts in self._parts.items()
        }

    def finish(self, world: World = World()) -> Predictions:
        """All that was added, by all processes, ordered by the position of the frames in their data set."""
        gathered = world.collect(self.columns())
        frames = [frame for part, _ in gathered for frame in part]
        joined = Predictions(
            **{name: np.concatenate([columns[name] for _, columns in gathered]) for name in _COLUMNS}
        )
        return _permuted(joined, np.argsort(frames, kind="stable"))


def _permuted(predictions: Predictions, order: np.ndarray) -> Predictions:
    """The same predictions with structure ``i`` of the result being structure ``order[i]``."""
    rank = np.empty(len(order), dtype=int)
    rank[order] = np.arange(len(order))
    atoms = np.argsort(rank[predictions.structure], kind="stable")
    values: dict[str, Any] = {}
    for name in _COLUMNS:
        column = getattr(predictions, name)
        values[name] = column[atoms] if name in ("forces", "forces_true") else column[order]
    return Predictions(**values)


_COLUMNS = (
    "n_atoms",
    "energy",
    "energy_true",
    "forces",
    "forces_true",
    "stress",
    "stress_true",
    "scalar",
    "scalar_true",
    "chosen",
    "chosen_true",
    "vector",
    "vector_true",
)


def _masked(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    shaped = mask.reshape(-1, *([1] * (values.dim() - 1)))
    return torch.where(shaped, values, torch.full_like(values, torch.nan))


def _compared(
    name: str, predicted: torch.Tensor | None, label: torch.Tensor, mask: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Prediction and label as columns; both NaN where nothing was to be predicted."""
    label = _masked(label.double(), mask)
    unknown = torch.full_like(label, torch.nan)
    return {
        name: unknown if predicted is None else predicted.double(),
        f"{name}_true": unknown if predicted is None else label,
    }


def _errors(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Differences where there is a label; NaN of a prediction stays."""
    known = ~np.isnan(true)
    return np.asarray(predicted[known] - true[known])


def _mae(error: np.ndarray, scale: float) -> float | None:
    return float(np.abs(error).mean() * scale) if error.size else None


def _centred(error: np.ndarray) -> np.ndarray:
    """Errors without their mean, NaN if one is not finite; none of a single one, of which nothing is left."""
    with np.errstate(invalid="ignore"):
        return error - error.mean() if error.size > 1 else error[:0]


def _rmse(error: np.ndarray, scale: float) -> float | None:
    return float(np.sqrt(np.square(error).mean()) * scale) if error.size else None


def _r2(error: np.ndarray, true: np.ndarray) -> float | None:
    known = ~np.isnan(true)
    variance = float(np.var(true[known])) if known.any() else 0.0
    return 1.0 - float(np.square(error).mean()) / variance if variance > 0 else None


def _rounded(value: float) -> float | int:
    return value if isinstance(value, int) else float(f"{value:.5g}")


def vector_errors(predicted: np.ndarray, true: np.ndarray) -> tuple[float | None, float | None]:
    """Mean absolute errors of a component and of the length, of vectors (S, 3); None without labels.

    A prediction that is NaN makes them NaN.
    """
    known = ~np.isnan(true).any(axis=1)
    if not known.any():
        return None, None
    length = np.linalg.norm(predicted[known], axis=1) - np.linalg.norm(true[known], axis=1)
    return float(np.abs(predicted - true)[known].mean()), float(np.abs(length).mean())


def chosen_class(logits: Tensor) -> Tensor:
    """Number of the most probable class (S,) float64; NaN where a logit is not finite."""
    if logits.dim() == 1:
        logits = torch.stack([torch.zeros_like(logits), logits], dim=1)
    known = torch.isfinite(logits).all(dim=1)
    return torch.where(known, logits.argmax(dim=1).double(), torch.nan)


def accuracies(chosen: np.ndarray, true: np.ndarray) -> tuple[float | None, float | None]:
    """Share of right classes, and its mean over the classes that occur (balanced accuracy); None without
    labels. Chosen and true classes have the shape (n,).

    A prediction that is NaN is wrong.
    """
    known = np.isfinite(true)
    if not known.any():
        return None, None
    right, true = (chosen == true)[known], true[known]
    return float(right.mean()), float(np.mean([right[true == number].mean() for number in np.unique(true)]))
