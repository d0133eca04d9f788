"""Perfect crystals and degenerate molecules."""

from __future__ import annotations

import numpy as np
import pytest

from tests.physics.models import Model
from tests.physics.structures import PERFECT, SPECIAL


@pytest.mark.parametrize("name", PERFECT)
def test_perfect_cubic_crystals(model: Model, name: str) -> None:
    crystal = PERFECT[name]()
    assert np.abs(model.forces(crystal)).max() < 1e-8
    stress = model.stress(crystal)
    assert np.abs(stress - np.eye(3) * np.trace(stress) / 3).max() < 1e-9


@pytest.mark.parametrize("name", SPECIAL)
def test_degenerate_geometry_is_finite(model: Model, name: str) -> None:
    atoms = SPECIAL[name]()
    assert np.isfinite(model.energy(atoms))
    forces = model.forces(atoms)
    assert np.isfinite(forces).all()
    assert np.abs(forces.sum(0)).max() < 1e-9


@pytest.mark.parametrize(
    "name", ["linear CO2", "linear HCCH", "chain of 4 along z", "planar C2H4", "planar C6H6"]
)
def test_forces_keep_the_symmetry_of_a_molecule(model: Model, name: str) -> None:
    """Along the axis of a linear molecule, in the plane of a planar one."""
    atoms = SPECIAL[name]()
    forces = model.forces(atoms)
    centred = atoms.positions - atoms.positions.mean(0)
    _, extent, axes = np.linalg.svd(centred)
    assert np.abs(forces @ axes[extent < 1e-6].T).max() < 1e-9
