"""The loss counts what it says: per atom, per structure, only where there is a label."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from jmp_calc.errors import UsageError
from jmp_calc.model.potential import Prediction
from jmp_calc.training.batches.dataset import FrameGraphs, TargetBatch
from jmp_calc.training.batches.tasks import Task
from jmp_calc.training.config import LossConfig
from jmp_calc.training.data.frame import Frame
from jmp_calc.training.loss import NORM_EPS, elementwise, loss_terms, masked_mean
from tests.training.helpers.tiny import POLICY, emt_frames, tiny_potential

PLAIN = LossConfig(energy_weight=1.0, forces_weight=1.0, stress_weight=1.0, energy="l1", stress="l1")


def frame(n_atoms: int, **labels: object) -> Frame:
    """A chain of copper atoms with the given labels."""
    positions = np.arange(n_atoms)[:, None] * np.array([2.5, 0.3, 0.1])
    known = {"energy": 0.0, "forces": np.zeros((n_atoms, 3)), "stress": None, **labels}
    return Frame(
        np.full(n_atoms, 29),
        positions,
        np.zeros((3, 3)),
        np.zeros(3, bool),
        group="g",
        source="s",
        index=0,
        **known,
    )


def target(*frames: Frame) -> TargetBatch:
    return FrameGraphs(frames, POLICY, Task("h")).collate(range(len(frames)))


def prediction(batch: TargetBatch, energy: list[float], forces: torch.Tensor) -> Prediction:
    return Prediction(torch.tensor(energy, dtype=torch.float64), torch.zeros(len(forces)), forces, None)


def test_structure_wise_mean_gives_every_structure_the_same_weight() -> None:
    batch = target(frame(2), frame(20))
    forces = torch.zeros(22, 3)
    forces[:2, 0] = 1.0  # error 1 on the small structure, 0 on the large one
    got = loss_terms(prediction(batch, [0.0, 0.0], forces), batch, PLAIN).forces
    assert float(got) == pytest.approx(0.5, abs=2 * NORM_EPS)
    over_atoms = dataclasses.replace(PLAIN, structure_wise=False)
    got = loss_terms(prediction(batch, [0.0, 0.0], forces), batch, over_atoms).forces
    assert float(got) == pytest.approx(2 / 22, abs=2 * NORM_EPS)


def test_a_constant_error_is_the_same_with_both_means() -> None:
    batch = target(frame(2), frame(20))
    forces = torch.zeros(22, 3)
    forces[:, 0] = 1.0
    for structure_wise in (True, False):
        config = dataclasses.replace(PLAIN, structure_wise=structure_wise)
        got = loss_terms(prediction(batch, [0.0, 0.0], forces), batch, config).forces
        assert float(got) == pytest.approx(1.0)


def test_energy_error_counts_per_atom_and_in_double_precision() -> None:
    batch = target(frame(2, energy=-100000.0), frame(20, energy=-200000.0))
    got = loss_terms(prediction(batch, [-100000.002, -200000.0], torch.zeros(22, 3)), batch, PLAIN)
    assert float(got.energy) == pytest.approx(0.5 * 0.001, rel=1e-4)


def test_force_error_is_the_length_of_the_vector() -> None:
    batch = target(frame(1))
    got = loss_terms(prediction(batch, [0.0], torch.tensor([[3.0, 4.0, 0.0]])), batch, PLAIN)
    assert float(got.forces) == pytest.approx(5.0)


def test_missing_labels_neither_count_nor_leak_gradients() -> None:
    batch = target(frame(3, energy=None, forces=None), frame(2, energy=1.0))
    energy = torch.tensor([50.0, 3.0], dtype=torch.float64, requires_grad=True)
    forces = torch.full((5, 3), 7.0, requires_grad=True)
    got = loss_terms(Prediction(energy, torch.zeros(5), forces, None), batch, PLAIN)
    assert float(got.energy.detach()) == pytest.approx(1.0)  # 2 eV over 2 atoms, one structure
    got.total.backward()
    assert energy.grad is not None
    assert forces.grad is not None
    assert float(energy.grad[0]) == 0.0
    assert float(forces.grad[:3].abs().max()) == 0.0
    assert float(forces.grad[3:].abs().min()) > 0.0


def test_nothing_labelled_is_zero_not_nan() -> None:
    assert float(masked_mean(torch.tensor([torch.nan, 1.0]), torch.tensor([False, False]))) == 0.0


def test_zero_error_has_a_finite_gradient() -> None:
    batch = target(frame(2))
    forces = torch.zeros(2, 3, requires_grad=True)
    loss_terms(prediction(batch, [0.0], forces), batch, PLAIN).total.backward()
    assert forces.grad is not None
    assert torch.isfinite(forces.grad).all()


def test_stress_of_a_molecule_in_the_same_batch_does_no_harm() -> None:
    cell = np.eye(3) * 4.0
    solid = Frame(
        np.array([29]),
        np.zeros((1, 3)),
        cell,
        np.ones(3, bool),
        0.0,
        np.zeros((1, 3)),
        np.eye(3) * 0.1,
        "g",
        "s",
        0,
    )
    batch = target(solid, frame(2))
    stress = torch.zeros(2, 3, 3, dtype=torch.float64)
    stress[1] = torch.nan  # what the network says of a structure without volume
    stress.requires_grad_(True)
    got = loss_terms(
        Prediction(torch.zeros(2).double(), torch.zeros(3), torch.zeros(3, 3), stress), batch, PLAIN
    )
    assert float(got.stress.detach()) == pytest.approx(0.1 / 3, rel=1e-5)
    got.total.backward()
    assert stress.grad is not None
    assert torch.isfinite(stress.grad).all()


def test_stress_is_trained_in_a_batch_with_a_molecule() -> None:
    potential = tiny_potential()
    batch = FrameGraphs([*emt_frames(1), frame(2)], POLICY, Task("old")).collate([0, 1])
    found = potential(batch.batch, heads="old", stress=True, create_graph=True)
    assert torch.isnan(found.stress[1]).all()  # a molecule has none
    loss_terms(found, batch, PLAIN).total.backward()
    assert all(torch.isfinite(p.grad).all() for p in potential.parameters() if p.grad is not None)


def test_huber_is_quadratic_below_and_linear_above_delta() -> None:
    error = torch.tensor([0.005, 0.01, 1.0])
    assert elementwise(error, "huber", 0.01).tolist() == pytest.approx([0.00125, 0.005, 0.995])
    assert elementwise(error, "l2", 0.01).tolist() == pytest.approx([2.5e-5, 1e-4, 1.0])


def test_weights_and_reference_offset_of_the_data_set_are_used() -> None:
    frames = [frame(2, energy=10.0), frame(2, energy=0.0)]
    tasks = Task("h", "heavy", references={29: 5.0}, weight=2.0), Task("h", "light")
    batch = FrameGraphs(frames, POLICY, tasks, task_of=np.array([0, 1])).collate([0, 1])
    got = loss_terms(prediction(batch, [1.0, 1.0], torch.zeros(4, 3)), batch, PLAIN)
    assert float(got.energy) == pytest.approx((2.0 * 0.5 + 0.5) / 2)


@pytest.mark.parametrize("bad", [{"energy_weight": -1.0}, {"forces": "l3"}, {"huber_delta": 0.0}])
def test_settings_that_cannot_be_meant_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        LossConfig(**bad)  # type: ignore[arg-type]
