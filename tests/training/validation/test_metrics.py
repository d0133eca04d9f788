"""Errors: over the structures that have the label, and a prediction that is not finite is never left out."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.constraints import FixAtoms
from ase.io import read, write

from jmp_calc.errors import BadInputError
from jmp_calc.model.potential import Prediction
from jmp_calc.training.batches.dataset import FrameGraphs
from jmp_calc.training.batches.tasks import Task
from jmp_calc.training.config import LossConfig
from jmp_calc.training.evaluate import evaluate
from jmp_calc.training.loss import loss_terms
from jmp_calc.training.validation import view
from jmp_calc.training.validation.metrics import Collector, Predictions
from jmp_calc.zoo.container import ModelCard, save_model
from tests.training.helpers.tiny import POLICY, emt_atoms, emt_file, emt_frames, tiny_model, tiny_potential

FRAMES = emt_frames(3)


def compared(energy: list[float], forces: torch.Tensor | None) -> Predictions:
    """Three structures of four atoms with these predictions, the forces relative to the labels."""
    target = FrameGraphs(FRAMES, POLICY, Task("old")).collate(range(3))
    collector = Collector()
    total = torch.tensor(energy, dtype=torch.float64) + target.energy
    collector.add(
        Prediction(total, torch.zeros(12), None if forces is None else forces + target.forces, None), target
    )
    return collector.finish()


def test_a_prediction_that_is_not_finite_makes_the_error_nan_and_is_counted() -> None:
    forces = torch.zeros(12, 3)
    forces[5, 1] = torch.nan
    found = compared([0.0, 0.0, torch.inf], forces)
    errors = found.errors()
    assert np.isnan(errors.forces_mae_mev_per_a) and errors.energy_mae_mev == np.inf  # type: ignore[arg-type]
    assert errors.n_not_finite == 2 and found.not_finite.tolist() == [False, True, True]
    assert "F nan meV/Å" in str(errors) and "not finite for 2 of 3 structures" in str(errors)
    rest = found.errors(np.array([True, False, False]))
    assert rest.n_not_finite is None and rest.energy_mae_mev == pytest.approx(0.0, abs=1e-9)


def test_a_constant_offset_of_energies_is_told_apart() -> None:
    """Another zero of energy: 10 eV per structure of four atoms, and errors of 4, 0 and -4 meV beside it."""
    errors = compared([10.004, 10.0, 9.996], None).errors()
    assert errors.energy_mae_mev_per_atom == pytest.approx(2500.0)
    assert errors.energy_shifted_mae_mev_per_atom == pytest.approx(2.0 / 3.0)
    assert "E 2500.00 meV/atom (0.67 without the constant offset)" in str(errors)
    plain = compared([0.004, 0.0, -0.004], None).errors()
    assert plain.energy_shifted_mae_mev_per_atom == pytest.approx(2.0 / 3.0) and "offset" not in str(plain)
    alone = compared([10.0, 0.0, 0.0], None).errors(np.array([True, False, False]))
    assert alone.energy_shifted_mae_mev_per_atom is None


def test_what_is_not_predicted_or_not_labelled_does_not_count() -> None:
    found = compared([0.004, 0.0, 0.0], None).errors()
    assert found.forces_mae_mev_per_a is None and found.stress_mae_gpa is None and found.n_not_finite is None
    assert found.energy_mae_mev_per_atom == pytest.approx(1.0 / 3.0)
    unlabelled = compared([0.0, 0.0, torch.nan], None)
    unlabelled.energy_true[2] = np.nan
    assert unlabelled.errors().energy_mae_mev == pytest.approx(0.0, abs=1e-9)


def test_forces_of_fixed_atoms_count_in_the_loss_and_not_in_the_errors() -> None:
    """Two of four atoms are held in place, and only their forces are wrong; they may even be NaN."""
    frame = dataclasses.replace(FRAMES[0], fixed=np.array([True, True, False, False]))
    target = FrameGraphs([frame], POLICY, Task("old")).collate([0])

    def prediction(error: float) -> Prediction:
        return Prediction(
            target.energy,
            torch.zeros(4),
            target.forces + torch.tensor([[error] * 3] * 2 + [[0.01] * 3] * 2),
            None,
        )

    collector = Collector()
    collector.add(prediction(5.0), target)
    assert collector.finish().errors().forces_mae_mev_per_a == pytest.approx(10.0, rel=1e-4)
    small, large = (
        float(loss_terms(prediction(error), target, LossConfig()).forces) for error in (0.01, 5.0)
    )
    assert large > 100.0 * small
    collector.add(prediction(float("nan")), target)
    assert collector.finish().errors().n_not_finite is None


def test_evaluate_leaves_out_held_atoms_of_files_and_of_structures(tmp_path: Path) -> None:
    tiny_model(tmp_path / "tiny.safetensors")
    free = emt_atoms(2)
    held = [atoms.copy() for atoms in free]
    for atoms, origin in zip(held, free, strict=True):
        atoms.calc = origin.calc
        atoms.set_constraint(FixAtoms([0, 1]))
    write(tmp_path / "a.extxyz", held)  # the column move_mask
    write(tmp_path / "a.traj", held)
    everything = evaluate(free, model=tmp_path / "tiny.safetensors").predictions
    rest = np.arange(everything.n_atoms.sum()) % 4 >= 2
    expected = 1e3 * np.abs(everything.forces - everything.forces_true)[rest].mean()
    for given in (tmp_path / "a.extxyz", tmp_path / "a.traj", held):
        found = evaluate(given, model=tmp_path / "tiny.safetensors")
        assert found.errors.forces_mae_mev_per_a == pytest.approx(expected, rel=1e-4)
        length = 1e3 * np.linalg.norm(everything.forces - everything.forces_true, axis=1)[rest].reshape(2, 2)
        shown = view.compared(found.predictions)
        assert np.allclose(shown["mean force error"].values, length.mean(axis=1), rtol=1e-4)
        assert np.allclose(shown["largest force error"].values, length.max(axis=1), rtol=1e-4)


def test_evaluate_names_the_frames_whose_predictions_are_not_finite(tmp_path: Path) -> None:
    """Of a network whose numbers for aluminium overflow."""
    potential = tiny_potential()
    with torch.no_grad():
        potential.embedding.weight[13 - 1] = 1e38
    save_model(tmp_path / "broken.safetensors", potential, ModelCard(name="broken"))
    found = evaluate(emt_file(tmp_path / "test.extxyz", 4), model=tmp_path / "broken.safetensors")
    assert found.errors.n_not_finite == 2 and np.isnan(found.errors.to_dict()["forces_mae_mev_per_a"])
    assert (
        found.messages[-1]
        == "The predictions for 2 of 4 frames are not finite: test.extxyz frame 1, test.extxyz frame 3."
    )
    assert found.by_group["Cu"].n_not_finite is None
    found.write(tmp_path / "errors")
    assert np.isnan(read(tmp_path / "errors" / "predictions.extxyz", 1).info["jmp_energy"])


@pytest.mark.parametrize(("label", "value"), [("energy", np.nan), ("forces", np.full((4, 3), np.inf))])
def test_evaluate_refuses_labels_that_are_not_finite(tmp_path: Path, label: str, value: object) -> None:
    images = emt_atoms(3)
    for atoms in images:
        results, atoms.calc = atoms.calc.results, None
        atoms.info["REF_energy"], atoms.arrays["REF_forces"] = results["energy"], results["forces"]
    (images[1].info if label == "energy" else images[1].arrays)[f"REF_{label}"] = value
    write(tmp_path / "test.extxyz", images, format="extxyz")
    with pytest.raises(BadInputError, match="not finite") as refused:
        evaluate(tmp_path / "test.extxyz", model=tiny_model(tmp_path / "tiny.safetensors"))
    assert "test.extxyz frames 1" in str(refused.value.where)
