"""Parity and loss curves as SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jmp_calc.io.atomic import replacing
from jmp_calc.io.plots import drawn
from jmp_calc.units import GPA_PER_EV_A3

from ..config import WeightSet
from .history import read_tasks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .history import Row
    from .metrics import Predictions

MAX_POINTS = 4000
"""Points per panel; more make the file heavy and show nothing new."""


def drawn_points(count: int) -> np.ndarray:
    """Numbers of at most ``MAX_POINTS`` of ``count`` points, the same in every run.

    Even strides would show one component of forces only.
    """
    if count <= MAX_POINTS:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, MAX_POINTS, replace=False))


@drawn("The parity plot")
def plot_parity(path: Path, predictions: Mapping[str, Predictions], target: str) -> None:
    """Predicted against true energies (per atom, shifted to their mean), forces and stresses of each set, or
    scalars or vectors.

    ``target``: what the axes of the scalars, or of components of vectors, say.
    """
    panels = [panel for panel in _panels(predictions, target) if any(len(x) for _, x, _ in panel[1])]
    if not panels:
        return
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2 * len(panels), 4.0), layout="constrained")
    for axes, (title, series) in zip(np.atleast_1d(figure.subplots(1, len(panels))), panels):
        for name, true, predicted in series:
            mae = float(np.abs(predicted - true).mean()) if len(true) else math.nan
            shown = drawn_points(len(true))
            axes.plot(
                true[shown],
                predicted[shown],
                ".",
                ms=3,
                alpha=0.5,
                label=f"{name}: MAE {mae:.3g}",
                rasterized=True,
            )
        low, high = axes.get_xlim()
        axes.plot([low, high], [low, high], "k-", lw=0.8)
        axes.set(xlabel=f"reference {title}", ylabel=f"predicted {title}")
        axes.legend(fontsize=8)
    _save(figure, path)


@drawn("The table of classes")
def plot_confusion(path: Path, tables: Mapping[str, np.ndarray], classes: Sequence[str]) -> None:
    """Tables (n_classes, n_classes) of true and predicted classes of each set, shaded by the share of the
    true class; nothing without tables."""
    if not tables:
        return
    from matplotlib.figure import Figure

    side = 1.6 + 0.45 * len(classes)
    figure = Figure(figsize=(side * len(tables), side), layout="constrained")
    for axes, (name, table) in zip(np.atleast_1d(figure.subplots(1, len(tables))), tables.items()):
        shares = table / table.sum(axis=1, keepdims=True).clip(min=1)
        axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
        for (row, column), count in np.ndenumerate(table):
            shade = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=shade, fontsize=8)
        axes.set(title=name, xlabel="predicted", ylabel="true")
        axes.set_xticks(range(len(classes)), classes, rotation=90 if max(map(len, classes)) > 3 else 0)
        axes.set_yticks(range(len(classes)), classes)
    _save(figure, path)


@drawn("The curves of the losses")
def plot_losses(path: Path, rows: Sequence[Row]) -> None:
    """Training and validation loss, and the validation errors of energies and forces, or of the target,
    against the step: of the averaged weights and of those as they are, with the last best model marked."""
    from matplotlib.figure import Figure

    panels = [("loss", "loss"), *((n, label) for n, label in _ERROR_PANELS if any(r.values(n) for r in rows))]
    figure = Figure(figsize=(4.5 * len(panels), 3.6), layout="constrained")
    all_axes = np.atleast_1d(figure.subplots(1, len(panels)))
    for axes, (name, label) in zip(all_axes, panels):
        if name == "loss":
            steps, losses = [row.step for row in rows[1:]], [row.train_loss for row in rows[1:]]
            axes.plot(steps, losses, "C0", label="training")
        _plot_validations(axes, rows, name)
        axes.set(xlabel="step", ylabel=label, yscale="log" if name in _LOGARITHMIC else "linear")
    all_axes[0].legend(fontsize=8)
    _save(figure, path)


def _plot_validations(axes: Axes, rows: Sequence[Row], name: str) -> None:
    """A curve for each set of weights, and a mark at the best model."""
    styles: dict[WeightSet, tuple[str, str]] = {
        "averaged": ("C1", "averaged weights"),
        "raw": ("C2--", "weights as they are"),
    }
    for weights, (style, label) in styles.items():
        points = [(row.step, row.values(name)[weights]) for row in rows if weights in row.values(name)]
        if points:
            axes.plot(*zip(*points), style, lw=1.2, label=f"validation, {label}")
    best = [row for row in rows if row.best]
    if best:
        axes.plot(best[-1].step, getattr(best[-1], f"valid_{name}"), "k*", ms=9, label="best model")


_ERROR_PANELS = (
    ("energy_mae_mev_per_atom", "validation energy MAE (meV/atom)"),
    ("forces_mae_mev_per_a", "validation force MAE (meV/Å)"),
    ("scalar_mae", "validation MAE (label units)"),
    ("vector_mae", "validation MAE (label units)"),
    ("balanced_accuracy", "balanced accuracy"),
)
"""Columns of the history and what their axis says."""
_LOGARITHMIC = ("loss", "energy_mae_mev_per_atom", "forces_mae_mev_per_a", "scalar_mae", "vector_mae")


def _save(figure: Figure, path: Path) -> None:
    with replacing(path) as temporary:
        # dpi: of the points, which are drawn as an image: 1 MB as shapes
        figure.savefig(temporary, format=path.suffix.lstrip("."), dpi=200)


@drawn("The curves of the data sets")
def plot_tasks(path: Path, folder: Path) -> None:
    """Validation errors of energies and forces of every data set in ``folder/tasks.csv`` against the step."""
    rows = read_tasks(folder)
    if not rows:
        return
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.0, 4.4), layout="constrained")
    for axes, key, label in zip(
        figure.subplots(1, 2),
        ("energy_mae_mev_per_atom", "forces_mae_mev_per_a"),
        ("energy MAE (meV/atom)", "force MAE (meV/Å)"),
    ):
        for task in dict.fromkeys(row["task"] for row in rows):
            points = [(int(row["step"]), float(row[key])) for row in rows if row["task"] == task and row[key]]
            if points:
                axes.plot(*zip(*points), label=task, lw=1.0)
        axes.set(xlabel="step", ylabel=label, yscale="log", title="validation")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper", fontsize=7)
    _save(figure, path)


Series = tuple[str, np.ndarray, np.ndarray]


def _panels(predictions: Mapping[str, Predictions], target: str) -> list[tuple[str, list[Series]]]:
    energy: list[Series] = []
    forces: list[Series] = []
    stress: list[Series] = []
    scalars: list[Series] = []
    for name, p in predictions.items():
        true, predicted = _known(p.energy_true / p.n_atoms, p.energy / p.n_atoms)
        mean = true.mean() if len(true) else 0.0
        energy.append((name, true - mean, predicted - mean))
        forces.append((name, *_known(p.forces_true.ravel(), p.forces.ravel())))
        stress.append(
            (name, *_known(p.stress_true.ravel() * GPA_PER_EV_A3, p.stress.ravel() * GPA_PER_EV_A3))
        )
        true, predicted = (
            np.append(p.scalar_true, p.vector_true),
            np.append(p.scalar, p.vector),
        )  # of one kind all are NaN
        scalars.append((name, *_known(true, predicted)))
    return [
        ("energy (eV/atom, mean removed)", energy),
        ("force (eV/Å)", forces),
        ("stress (GPa)", stress),
        (target, scalars),
    ]


def _known(true: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    known = ~np.isnan(true)  # a prediction that is NaN has no point, but the MAE says so
    return true[known], predicted[known]
