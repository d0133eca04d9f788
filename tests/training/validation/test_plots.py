"""The figures of a run are drawn from numbers of every kind, missing ones among them."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from jmp_calc.training.validation.history import TASKS, Row
from jmp_calc.training.validation.metrics import Predictions
from jmp_calc.training.validation.plots import (
    MAX_POINTS,
    drawn_points,
    plot_confusion,
    plot_losses,
    plot_parity,
    plot_tasks,
)
from tests.extras import reason

pytest.importorskip("matplotlib", reason=reason("train"))


@pytest.fixture(scope="module", autouse=True)
def undrawn() -> None:
    """Here they are drawn."""


def panels(path: Path) -> int:
    """Axes of a figure; a figure that could not be drawn is a warning, and an error of the tests."""
    groups = ElementTree.parse(path).getroot().iter("{http://www.w3.org/2000/svg}g")
    return sum(group.get("id", "").startswith("axes_") for group in groups)


def predictions(scalar: float) -> Predictions:
    """Three structures of two atoms with energies and forces, one without an energy; no stress."""
    rng = np.random.default_rng(0)
    nothing = {field.name: np.full(3, np.nan) for field in dataclasses.fields(Predictions)}
    given = {
        "n_atoms": np.full(3, 2),
        "energy": rng.normal(size=3),
        "energy_true": np.array([1.0, np.nan, 2.0]),
        "forces": rng.normal(size=(6, 3)),
        "forces_true": rng.normal(size=(6, 3)),
        "stress": np.full((3, 3, 3), np.nan),
        "stress_true": np.full((3, 3, 3), np.nan),
        "scalar": rng.normal(size=3),
        "scalar_true": np.full(3, scalar),
        "vector": np.full((3, 3), np.nan),
        "vector_true": np.full((3, 3), np.nan),
    }
    return Predictions(**{**nothing, **given})


@pytest.mark.parametrize(("scalar", "count"), [(np.nan, 2), (0.5, 3)])
def test_parity_has_a_panel_for_what_has_labels(tmp_path: Path, scalar: float, count: int) -> None:
    plot_parity(
        tmp_path / "parity.svg", {"valid": predictions(scalar), "test": predictions(scalar)}, "gap (eV)"
    )
    assert panels(tmp_path / "parity.svg") == count


def test_all_components_of_many_forces_are_drawn() -> None:
    assert drawn_points(MAX_POINTS).tolist() == list(range(MAX_POINTS))
    chosen = drawn_points(9 * MAX_POINTS)
    assert len(set(chosen.tolist())) == MAX_POINTS and (drawn_points(9 * MAX_POINTS) == chosen).all()
    assert np.bincount(chosen % 3) / MAX_POINTS == pytest.approx([1 / 3] * 3, abs=0.05)


def test_classes_are_a_table_for_each_set(tmp_path: Path) -> None:
    table = np.array([[5, 1], [0, 0]])  # no structure of the second class
    plot_confusion(tmp_path / "confusion.svg", {"valid": table, "test": table}, ["metal", "insulator"])
    assert panels(tmp_path / "confusion.svg") == 2
    plot_confusion(tmp_path / "none.svg", {}, [])
    assert not (tmp_path / "none.svg").exists()


def test_losses_have_a_panel_for_each_error_that_was_measured(tmp_path: Path) -> None:
    known = {field.name: 1.0 for field in dataclasses.fields(Row) if field.name.startswith("train_")}
    known |= dict.fromkeys(("epoch", "elapsed_s", "lr", "gradient_norm", "n_clipped"), 1.0)
    row = dict.fromkeys((field.name for field in dataclasses.fields(Row)), None) | known
    rows = []
    for step in (0, 10, 20):
        found = {"step": step, "valid_loss": 1 / (1 + step), "other_loss": 1.0, "weights": "averaged"}
        forces = {"valid_forces_mae_mev_per_a": 100.0 / (1 + step), "best": step == 20}
        rows.append(Row(**{**row, **found, **forces}))
    plot_losses(tmp_path / "loss.svg", rows)
    assert panels(tmp_path / "loss.svg") == 2


def test_data_sets_have_energies_and_forces(tmp_path: Path) -> None:
    columns = ["step", "elapsed_s", "task", "n_structures", "energy_mae_mev_per_atom", "forces_mae_mev_per_a"]
    with open(tmp_path / TASKS, "w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow([*columns, "stress_mae_gpa", "scalar_mae"])
        rows.writerow([0, 0.0, "copper", 4, 50, 200, "", ""])
        rows.writerow([10, 1.0, "copper", 4, 20, 100, "", ""])
        rows.writerow([0, 0.0, "water", 4, "", 300, "", ""])
    plot_tasks(tmp_path / "tasks.svg", tmp_path)
    assert panels(tmp_path / "tasks.svg") == 2
