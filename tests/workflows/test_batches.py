"""Displaced structures: one batch where the calculator has batches, the same numbers one by one."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import all_changes
from ase.calculators.morse import MorsePotential

from jmp_calc import JMPCalculator
from jmp_calc.errors import BadInputError
from jmp_calc.workflows.batches import displaced_forces
from tests.workflows.conftest import crystal


def displaced(atoms: Atoms, count: int) -> list[Atoms]:
    moved = []
    for number in range(count):
        copy = atoms.copy()
        copy.positions[0, number % 3] += 0.01 * (1 + number)
        copy.calc = atoms.calc
        moved.append(copy)
    return moved


@pytest.mark.capability("D18")
def test_displacements_go_to_a_jmp_calculator_at_once(
    calc: JMPCalculator, salt: Atoms, evaluations: list[int]
) -> None:
    salt.calc = calc
    moved = displaced(salt, 6)
    forces = displaced_forces(moved, bar="phonons", what="displacement", quiet=True)
    assert len(evaluations) == 1
    assert forces.shape == (6, len(salt), 3)
    for atoms, batched in zip(moved, forces, strict=True):
        assert np.allclose(atoms.get_forces(), batched, rtol=0, atol=1e-5)


def test_other_calculators_compute_one_by_one() -> None:
    moved = displaced(crystal(), 3)
    forces = displaced_forces(moved, bar="phonons", what="displacement", quiet=True)
    assert np.array_equal(forces[2], moved[2].get_forces())


class Failing(MorsePotential):
    """Forces that are no numbers where an atom has moved far."""

    def calculate(self, atoms=None, properties=("energy",), system_changes=tuple(all_changes)) -> None:
        super().calculate(atoms, properties, system_changes)
        if atoms.positions[0, 1] > 0.015:
            self.results["forces"] = np.full((len(atoms), 3), np.nan)


def test_forces_that_are_not_finite_name_the_displacement() -> None:
    atoms = crystal()
    atoms.calc = Failing(**atoms.calc.parameters)
    moved = displaced(atoms, 3)
    with pytest.raises(BadInputError, match="displacement 1 are not finite"):
        displaced_forces(moved, bar="phonons", what="displacement", quiet=True)
