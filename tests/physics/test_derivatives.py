"""Forces, stress and the gradients that training uses are the derivatives of the energy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms

from jmp_calc.graph.policy import GraphPolicy
from jmp_calc.model.recompute import Recompute
from tests.physics.models import Model, published, scratch
from tests.physics.structures import DISORDERED, PERFECT, SPECIAL

H = 1e-5


def moved(atoms: Atoms, atom: int, axis: int, step: float) -> Atoms:
    atoms = atoms.copy()
    atoms.positions[atom, axis] += step
    return atoms


def strained(atoms: Atoms, strain: np.ndarray) -> Atoms:
    atoms = atoms.copy()
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=False)
    atoms.positions = atoms.positions @ (np.eye(3) + strain)
    return atoms


@pytest.mark.capability("A1")
@pytest.mark.parametrize("name", DISORDERED)
def test_forces_are_minus_the_gradient(model: Model, name: str) -> None:
    atoms = DISORDERED[name]()
    forces = model.forces(atoms)
    steps = [moved(atoms, i, k, s) for i in range(len(atoms)) for k in range(3) for s in (H, -H)]
    energies = model.energies(steps).reshape(-1, 3, 2)
    numerical = -(energies[..., 0] - energies[..., 1]) / (2 * H)
    assert np.abs(forces - numerical).max() <= 1e-6 * max(1.0, np.abs(forces).max())
    assert np.abs(forces.sum(0)).max() < 1e-9


@pytest.mark.capability("A3")
@pytest.mark.parametrize("name", ["triclinic", "left-handed", "skewed", "silicon"])
def test_stress_is_the_strain_derivative(model: Model, name: str) -> None:
    atoms = DISORDERED[name]()
    stress = model.stress(atoms)
    rows, columns = np.triu_indices(3)
    units = [np.eye(3)[[i]].T @ np.eye(3)[[j]] for i, j in zip(rows, columns)]
    strains = [0.5 * (unit + unit.T) for unit in units]
    energies = model.energies([strained(atoms, s * strain) for strain in strains for s in (H, -H)]).reshape(
        -1, 2
    )
    numerical = (energies[:, 0] - energies[:, 1]) / (2 * H * atoms.get_volume())
    assert np.abs(stress[rows, columns] - numerical).max() <= 1e-7 * max(1.0, np.abs(stress).max())
    assert np.array_equal(stress, stress.T)


def test_equal_crystals_have_equal_stress(model: Model) -> None:
    """Exchanged, skewed and unwrapped descriptions of one crystal."""
    reference = model.stress(DISORDERED["triclinic"]())
    for name in ("left-handed", "skewed"):
        np.testing.assert_allclose(model.stress(DISORDERED[name]()), reference, rtol=0, atol=1e-9)


def loss(model: Model, structures: list[Atoms], recompute: Recompute = "nothing") -> torch.Tensor:
    """A loss of energies, forces and stresses that no term of which dominates."""
    prediction = model.predict(structures, stress=True, create_graph=True, recompute=recompute)
    assert prediction.forces is not None
    assert prediction.stress is not None
    stress = torch.nan_to_num(prediction.stress)  # molecules have none
    pattern = torch.linspace(-1, 1, prediction.forces.numel(), dtype=torch.float64).view_as(prediction.forces)
    return (
        prediction.energy.square().mean()
        + (prediction.forces - pattern).square().mean()
        + stress.square().sum()
    )


@pytest.mark.parametrize("recompute", ["nothing", "blocks"])
def test_gradients_of_a_training_loss(recompute: Recompute) -> None:
    """Double backward against central differences along random directions of all weights."""
    model = scratch()
    structures = [DISORDERED[name]() for name in ("ethanol", "triclinic", "slab")] + [SPECIAL["linear CO2"]()]
    weights = [weight.requires_grad_(True) for weight in model.potential.parameters()]
    gradients = torch.autograd.grad(loss(model, structures, recompute), weights)
    generator = torch.Generator().manual_seed(11)
    for _ in range(3):
        direction = [
            torch.randn(w.shape, generator=generator, dtype=w.dtype) * w.std(unbiased=False) for w in weights
        ]
        values = {}
        for step in (1e-5, -1e-5):
            with torch.no_grad():
                for weight, change in zip(weights, direction):
                    weight += step * change
            values[step] = float(loss(model, structures, recompute).detach())
            with torch.no_grad():
                for weight, change in zip(weights, direction):
                    weight -= step * change
        numerical = (values[1e-5] - values[-1e-5]) / 2e-5
        exact = sum(float((g * d).detach().sum()) for g, d in zip(gradients, direction))
        assert exact == pytest.approx(numerical, rel=1e-6)


@pytest.mark.parametrize("name", [*SPECIAL, *PERFECT])
def test_gradients_are_finite_where_geometry_is_degenerate(name: str) -> None:
    model = scratch()
    weights = [weight.requires_grad_(True) for weight in model.potential.parameters()]
    value = loss(model, [(SPECIAL | PERFECT)[name]()])
    if name in ("isolated atom", "two far atoms"):
        assert np.isfinite(value.item())  # the network's share cancels: nothing to learn from
        return
    gradients = torch.autograd.grad(value, weights, allow_unused=True, materialize_grads=True)
    assert all(bool(torch.isfinite(gradient).all()) for gradient in gradients)


@pytest.mark.parametrize("policy", ["smooth", "official"])
def test_gradients_of_published_weights_are_finite(policy: str) -> None:
    """Every degenerate structure at once, under both policies: no NaN, however steep ``official`` is
    there."""
    model = published()
    if policy == "official":
        config = replace(model.potential.config, policy=GraphPolicy("official", cutoff=8.0, max_neighbors=10))
        model = Model(model.potential.with_config(config), model.head)
    weights = [weight.requires_grad_(True) for weight in model.potential.parameters()]
    value = loss(model, [make() for make in (SPECIAL | PERFECT).values()])
    gradients = torch.autograd.grad(value, weights, allow_unused=True, materialize_grads=True)
    assert all(bool(torch.isfinite(gradient).all()) for gradient in gradients)
