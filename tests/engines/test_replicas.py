"""Copies of a structure that a driver asks for: as many answers as copies, none for none."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from jmp_calc.engines.replicas import Replicas
from jmp_calc.errors import BadInputError, BadStructureError, GuardError


def test_every_copy_has_its_energy_forces_and_virial() -> None:
    template = bulk("Cu", cubic=True)
    replicas = Replicas(template, EMT())
    rng = np.random.default_rng(0)
    cells = [template.cell.array * factor for factor in (0.98, 1.02)]
    places = [template.positions + rng.normal(scale=0.05, size=(4, 3)) for _ in cells]
    for cell, positions, answer in zip(cells, places, replicas.evaluate(cells, places), strict=True):
        atoms = template.copy()
        atoms.cell[:], atoms.positions[:] = cell, positions
        atoms.calc = EMT()
        assert answer.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-12)
        np.testing.assert_allclose(answer.forces, atoms.get_forces(), atol=1e-12)
        virial = -atoms.get_volume() * atoms.get_stress(voigt=False)
        np.testing.assert_allclose(answer.virial, virial, atol=1e-10)


def test_no_copies_have_no_answers_and_lists_that_differ_are_refused() -> None:
    template = bulk("Cu", cubic=True)
    replicas = Replicas(template, EMT())
    assert replicas.evaluate([], []) == []
    with pytest.raises(BadInputError, match="2 cells came with positions of 1 copies"):
        replicas.evaluate([template.cell.array] * 2, [template.positions])
    with pytest.raises(BadInputError, match="Positions of 3 atoms came, the template has 4"):
        replicas.evaluate([template.cell.array], [template.positions[:3]])


class Unsound(EMT):
    """Forces that are no numbers."""

    def calculate(self, *args, **kwargs) -> None:
        super().calculate(*args, **kwargs)
        self.results["forces"] = np.full_like(self.results["forces"], np.nan)


def test_no_program_gets_forces_that_are_no_numbers() -> None:
    template = bulk("Cu", cubic=True)
    with pytest.raises(GuardError, match="no number"):
        Replicas(template, Unsound()).evaluate([template.cell.array], [template.positions])


def test_one_periodic_direction_has_no_virial_and_is_refused() -> None:
    wire = bulk("Cu", cubic=True)
    wire.pbc = (True, False, False)
    with pytest.raises(BadStructureError, match="periodic in one direction only"):
        Replicas(wire, EMT())


def test_layers_need_a_cell_with_a_volume() -> None:
    layer = bulk("Cu", cubic=True)
    layer.pbc = (True, True, False)
    cell = layer.cell.array.copy()
    replicas = Replicas(layer, EMT())
    (answer,) = replicas.evaluate([cell], [layer.positions])
    assert answer.virial.any()
    with pytest.raises(BadInputError, match="vector c is zero"):
        replicas.evaluate([cell * [[1], [1], [0]]], [layer.positions])
