"""Relaxations go downhill: molecules and crystals, rattled, with and without cell, under two pressures."""

from __future__ import annotations

import numpy as np
import pytest
from ase.calculators.emt import EMT

from jmp_calc.workflows.relax import RelaxResult, relax
from tests.workflows.relaxations import CASES, EMT_CASES, MOLECULES, Case, SmoothPairs


def check(case: Case, result: RelaxResult) -> None:
    assert result.converged
    assert not result.climbed
    lowest = result.objectives_ev[result.step]
    assert lowest <= result.objectives_ev[0]
    if case.cell == "full":
        assert result.pressure_gpa == pytest.approx(case.pressure_gpa, abs=0.5)


def test_there_are_fifty_relaxations() -> None:
    assert len(CASES) >= 50
    assert len({case.name for case in CASES}) == 14 + 11


@pytest.mark.parametrize("case", EMT_CASES, ids=str)
def test_relaxations_with_effective_medium_theory_converge_downhill(case: Case) -> None:
    check(case, relax(case.atoms(), calc=EMT(), cell=case.cell, pressure_gpa=case.pressure_gpa))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_relaxations_with_smooth_pairs_converge_downhill(case: Case) -> None:
    check(case, relax(case.atoms(), calc=SmoothPairs(), cell=case.cell, pressure_gpa=case.pressure_gpa))


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["BFGS", "FIRE"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_no_relaxation_with_jmp_xs_ends_above_its_start(case: Case, optimizer: str) -> None:
    from jmp_calc import JMPCalculator

    head = "b3lyp" if case.name in MOLECULES else {"Ag": "rpbe"}.get(case.name, "pbe")
    result = relax(
        case.atoms(),
        calc=JMPCalculator("jmp-xs", head=head),
        optimizer=optimizer,
        cell=case.cell,
        pressure_gpa=case.pressure_gpa,
    )
    assert not result.climbed
    assert result.objectives_ev[result.step] <= result.objectives_ev[0]
    assert result.converged


def test_the_smooth_pairs_have_the_forces_and_stress_of_their_energy() -> None:
    case, step = Case("MgO", "full"), 1e-5
    start = case.atoms()
    start.calc = SmoothPairs()

    def energy(strain: np.ndarray, move: float = 0.0) -> float:
        atoms = start.copy()
        atoms.positions[3, 1] += move
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
        return float(SmoothPairs().get_potential_energy(atoms))

    none, shear = np.zeros((3, 3)), np.zeros((3, 3))
    shear[0, 1] = shear[1, 0] = step / 2
    slope = (energy(none, step) - energy(none, -step)) / (2 * step)
    assert start.get_forces()[3, 1] == pytest.approx(-slope, abs=1e-6)
    slope = (energy(shear) - energy(-shear)) / (2 * step * start.get_volume())
    assert start.get_stress()[5] == pytest.approx(slope, abs=1e-8)
