"""A relaxation that ends above its start is an error of its own; what is kept is the lowest structure."""

from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.constraints import FixAtoms, Hookean

from jmp_calc.errors import BadInputError, ClimbedError, JMPWarning, NotConvergedError
from jmp_calc.workflows.relax import relax
from tests.workflows.relaxations import Case, SmoothPairs


class Hill(Calculator):
    """E = -cos(x) of the first atom: minima at 0, maxima at π, where the forces vanish too."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012
    sign = 1.0

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        x = self.atoms.positions[0, 0]
        forces = np.zeros((len(self.atoms), 3))
        forces[0, 0] = -self.sign * np.sin(x)
        self.results = {"energy": -np.cos(x), "forces": forces}


class UphillHill(Hill):
    """Forces of the wrong sign: every optimizer ends at the maximum."""

    sign = -1.0


@pytest.mark.parametrize("optimizer", ["BFGS", "FIRE"])
def test_an_end_above_the_start_is_an_error_and_the_lowest_frame_is_kept(
    optimizer: str, tmp_path: Path
) -> None:
    atoms = Atoms("Cu", [[1.0, 0, 0]])
    with pytest.warns(JMPWarning, match="above its start"):
        result = relax(atoms, calc=UphillHill(), optimizer=optimizer, fmax=1e-3, out=tmp_path)
    assert not result.converged and result.climbed
    assert result.step == 0 and result.atoms.positions[0, 0] == 1.0
    assert result.climb_ev == pytest.approx(1 + np.cos(1.0), abs=1e-4)
    assert result.fmax == pytest.approx(np.sin(1.0))
    with pytest.raises(ClimbedError, match=r"uphill: it ended 1\.54 eV above its start") as caught:
        result.require_converged()
    assert caught.value.exit_code == 3
    assert ase.io.read(tmp_path / "opt.extxyz").positions[0, 0] == 1.0
    assert len(ase.io.read(tmp_path / "traj.extxyz", ":")) == result.n_steps + 1


def test_lbfgs_that_climbs_says_so_and_the_default_does_not_climb() -> None:
    case = Case("H2")
    with pytest.warns(JMPWarning, match="above its start"):
        climbed = relax(case.atoms(), calc=SmoothPairs(), optimizer="LBFGS")
    with pytest.raises(ClimbedError, match=r"\[after \d+ steps of LBFGS\].*BFGS or FIRE"):
        climbed.require_converged()
    assert relax(case.atoms(), calc=SmoothPairs()).converged


def test_under_pressure_the_enthalpy_decides() -> None:
    """The energy goes up when a crystal is pressed, the enthalpy goes down."""
    atoms = bulk("Cu", cubic=True)
    free = relax(atoms, calc=SmoothPairs(), cell="full")
    pressed = relax(free.atoms, cell="full", pressure_gpa=20.0)
    assert pressed.converged and not pressed.climbed
    assert pressed.energy_ev > free.energy_ev
    assert pressed.climb_ev < 0


def test_springs_count() -> None:
    """A stretched spring pulls the atom up the hill of the potential: downhill in the sum."""
    atoms = Atoms("Cu2", [[0.5, 0, 0], [4.0, 0, 0]])
    atoms.set_constraint([Hookean(a1=0, a2=1, rt=0.5, k=0.2), FixAtoms([1])])
    result = relax(atoms, calc=Hill(), fmax=1e-3, steps=300)
    assert result.converged and not result.climbed
    assert result.energy_ev > -np.cos(0.5)
    spring = result.atoms.constraints[0].adjust_potential_energy(result.atoms)
    assert result.constraint_energy_ev == pytest.approx(spring)
    assert result.objectives_ev[-1] == pytest.approx(result.energy_ev + spring)
    assert result.atoms.get_potential_energy() == pytest.approx(result.objectives_ev[-1])


def test_a_run_out_of_steps_keeps_its_lowest_frame(tmp_path: Path) -> None:
    """FIRE runs through the minimum of a hill and up the other side."""
    atoms = Atoms("Cu", [[0.3, 0, 0]])
    whole = relax(atoms, calc=Hill(), optimizer="FIRE", fmax=1e-6, steps=500)
    energies = np.array(whole.objectives_ev)
    steps = 1 + int(np.flatnonzero(np.diff(energies) > 0)[0])  # the first step upwards
    result = relax(atoms, calc=Hill(), optimizer="FIRE", fmax=1e-6, steps=steps, out=tmp_path)
    assert not result.converged and not result.climbed
    assert result.step == steps - 1 and result.n_steps == steps
    assert result.energy_ev == energies[: steps + 1].min()
    assert ase.io.read(tmp_path / "opt.extxyz").info["step"] == result.step
    with pytest.raises(NotConvergedError, match="Not converged"):
        result.require_converged()


class LostHill(Hill):
    """The third evaluation gives no number."""

    calls = 0

    def calculate(self, *args, **kwargs) -> None:
        super().calculate(*args, **kwargs)
        self.calls += 1
        if self.calls == 3:
            self.results["energy"] = float("nan")


def test_a_relaxation_that_breaks_leaves_its_lowest_frame(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="NaN at step 2"):
        relax(Atoms("Cu", [[1.0, 0, 0]]), calc=LostHill(), out=tmp_path)
    assert ase.io.read(tmp_path / "opt.extxyz").info["step"] == 1
