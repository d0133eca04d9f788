"""The energy does not depend on how a structure is described."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from ase import Atoms
from scipy.spatial.transform import Rotation

from tests.physics.models import Model
from tests.physics.structures import DISORDERED

TOLERANCE = 1e-9


def assert_equal(model: Model, atoms: Atoms, other: Atoms, back: Callable[[np.ndarray], np.ndarray]) -> None:
    """Same energy, and the same forces after ``back``."""
    first, second = model.predict([atoms]), model.predict([other])
    assert first.forces is not None
    assert second.forces is not None
    assert abs(float((first.energy - second.energy).detach())) <= TOLERANCE
    assert np.abs(first.forces.numpy() - back(second.forces.numpy())).max() <= TOLERANCE


@pytest.mark.parametrize("name", DISORDERED)
def test_translation(own_model: Model, name: str) -> None:
    atoms = DISORDERED[name]()
    other = atoms.copy()
    other.translate([17.3, -4.1, 0.77])
    assert_equal(own_model, atoms, other, lambda forces: forces)


@pytest.mark.parametrize("improper", [False, True], ids=["rotation", "reflection"])
@pytest.mark.parametrize("name", DISORDERED)
def test_rotation(own_model: Model, name: str, improper: bool) -> None:
    atoms = DISORDERED[name]()
    matrix = Rotation.from_rotvec([0.4, -1.1, 2.0]).as_matrix() * (-1.0 if improper else 1.0)
    other = Atoms(atoms.numbers, atoms.positions @ matrix, cell=atoms.cell.array @ matrix, pbc=atoms.pbc)
    assert_equal(own_model, atoms, other, lambda forces: forces @ matrix.T)


@pytest.mark.parametrize("name", DISORDERED)
def test_permutation(own_model: Model, name: str) -> None:
    atoms = DISORDERED[name]()
    order = np.random.default_rng(1).permutation(len(atoms))
    assert_equal(own_model, atoms, atoms[order], lambda forces: forces[np.argsort(order)])


@pytest.mark.parametrize("name", [name for name, make in DISORDERED.items() if make().pbc.any()])
def test_lattice_shifts_of_single_atoms(own_model: Model, name: str) -> None:
    atoms = DISORDERED[name]()
    other = atoms.copy()
    shifts = np.random.default_rng(2).integers(-3, 4, size=(len(atoms), 3)) * atoms.pbc
    other.positions += shifts @ atoms.cell.array
    assert_equal(own_model, atoms, other, lambda forces: forces)
