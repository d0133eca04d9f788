"""Statistics of features for uncertainties and domains: what they are sums of, and that they are
calibrated."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from jmp_calc.graph.batch import collate
from jmp_calc.graph.build import build_graph
from jmp_calc.inference.uncertainty import LastLayer
from jmp_calc.model.potential import Potential
from jmp_calc.training.batches.tasks import Task
from jmp_calc.training.data.frame import Frame
from jmp_calc.training.validation.knowledge import SecondMoments, Seen, calibrated, knowledge_of
from tests.training.helpers.tiny import emt_frames, tiny_potential

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def potential() -> Potential:
    return tiny_potential("one", "other", dtype=torch.float64)


@pytest.fixture(scope="module")
def frames() -> tuple[Frame, ...]:
    return emt_frames(24)


def graphs(potential: Potential, frames: tuple[Frame, ...]):
    return [build_graph(f.positions, f.numbers, f.cell, f.pbc, potential.config.policy) for f in frames]


def test_the_energy_is_linear_in_the_features_that_are_read(
    potential: Potential, frames: tuple[Frame, ...]
) -> None:
    batch = collate(graphs(potential, frames[:5]))
    found = potential.readout(batch, "one")
    energy = potential(batch, heads="one", forces="none").energy
    last = potential.heads["one"].energy[-1].weight[0]
    assert torch.allclose(found.energy, energy, atol=1e-12)
    assert torch.allclose(found.features @ last, energy, atol=1e-10)
    assert torch.equal(found.descriptors, potential.descriptors(batch, "final")[: batch.n_atoms])


def test_moments_are_those_of_all_structures_and_atoms(
    potential: Potential, frames: tuple[Frame, ...]
) -> None:
    seen = Seen(Task("one"), frames[:16], frames[16:])
    found = knowledge_of(potential, [seen], CPU)
    assert set(found.heads) == {"one"}
    batch = collate(graphs(potential, frames[:16]))
    one = potential.readout(batch, "one")
    rows = one.features.numpy()
    assert found.heads["one"].structures == 16
    assert found.heads["one"].covariance == pytest.approx(rows.T @ rows / 16)
    assert found.elements is not None
    assert found.elements.numbers.tolist() == [13, 29]
    atoms = one.descriptors.numpy()[batch.numbers.numpy() == 29]
    assert found.elements.counts[1] == len(atoms)
    assert found.elements.mean[1] == pytest.approx(atoms.mean(0), abs=1e-5)
    assert found.elements.covariance[1] == pytest.approx(np.cov(atoms.T, bias=True), abs=1e-5)


def test_references_of_a_data_set_are_no_errors(potential: Potential, frames: tuple[Frame, ...]) -> None:
    moved = tuple(
        replace(f, energy=f.energy + 100.0 * sum(f.numbers == 13) - 7.0 * sum(f.numbers == 29))
        for f in frames
    )
    references = {13: 100.0, 29: -7.0}
    plain = knowledge_of(potential, [Seen(Task("one"), frames[:16], frames[16:])], CPU)
    same = knowledge_of(potential, [Seen(Task("one", references=references), moved[:16], moved[16:])], CPU)
    assert same.heads["one"].scale == pytest.approx(plain.heads["one"].scale, rel=1e-6)


def test_heads_without_energies_on_validation_have_no_statistics(
    potential: Potential, frames: tuple[Frame, ...]
) -> None:
    blind = tuple(replace(f, energy=None) for f in frames[16:])
    found = knowledge_of(
        potential, [Seen(Task("one"), frames[:8], blind), Seen(Task("other"), frames[:8], frames[16:])], CPU
    )
    assert set(found.heads) == {"other"}
    assert found.elements is not None


def test_predicted_deviations_are_those_of_the_errors() -> None:
    """Errors of a linear model with random weights: 68 % within one deviation, and the squares right."""
    rng = np.random.default_rng(0)
    spread = np.diag([3.0, 1.0, 0.3, 0.01])
    train, valid = rng.standard_normal((500, 4)) @ spread, rng.standard_normal((4000, 4)) @ spread
    moments = SecondMoments(4)
    moments.add(train)
    truth = np.linalg.inv(np.linalg.cholesky(train.T @ train / 500 + 1e-4 * np.eye(4)))
    errors = np.einsum("ni,ji,nj->n", valid, truth.T, rng.standard_normal((4000, 4))) * 0.2
    found = calibrated(moments, valid, errors)
    assert found is not None
    inverse = np.linalg.inv(found.covariance + found.regulariser * np.eye(4))
    deviation = found.scale * np.sqrt(np.einsum("ni,ij,nj->n", valid, inverse, valid))
    assert np.mean((errors / deviation) ** 2) == pytest.approx(1.0, abs=1e-6)
    assert np.mean(np.abs(errors) < deviation) == pytest.approx(0.68, abs=0.06)


def test_deviations_of_forces_on_validation_are_as_large_as_their_errors(
    potential: Potential, frames: tuple[Frame, ...]
) -> None:
    statistics = knowledge_of(potential, [Seen(Task("one"), frames[:16], frames[16:])], CPU).heads["one"]
    batch = collate(graphs(potential, frames[16:]))
    forces = potential(batch, heads="one").forces
    labels = torch.from_numpy(np.concatenate([f.forces for f in frames[16:]]))
    source = LastLayer(potential, "one", statistics)
    deviation = source.spread(potential.slopes(batch, partial(source.members, batch)))
    ratios = ((forces - labels) / deviation).square()
    assert float(ratios.mean()) == pytest.approx(1.0, abs=1e-4)
    features = potential.final_features(batch)
    unscaled = LastLayer(potential, "one", replace(statistics, force_factor=1.0))
    assert torch.equal(source.energy_std(batch, features), unscaled.energy_std(batch, features))


def test_without_forces_on_validation_those_of_energies_stand(
    potential: Potential, frames: tuple[Frame, ...]
) -> None:
    blind = tuple(replace(f, forces=None) for f in frames[16:])
    found = knowledge_of(potential, [Seen(Task("one"), frames[:16], blind)], CPU)
    assert found.heads["one"].force_factor == 1.0


def test_moments_of_constant_features_have_no_negative_variance() -> None:
    moments = SecondMoments(2)
    for _ in range(3):
        moments.add(np.full((1000, 2), 0.1))
    assert (moments.about_mean.diagonal() >= 0).all()
    assert calibrated(moments, np.zeros((3, 2)), np.ones(3)) is None
