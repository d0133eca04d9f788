"""Dynamics of a calculator that knows how far its energy may be off."""

from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from jmp_calc.errors import GuardError, UsageError
from jmp_calc.workflows.md import md


class UncertainSprings(Calculator):
    """Independent wells; the further out, the less certain."""

    implemented_properties = ["energy", "forces", "energy_std"]  # noqa: RUF012

    def __init__(self, places: np.ndarray, slope: float = 1.0) -> None:
        super().__init__()
        self.places, self.slope = places, slope

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        shift = self.atoms.positions - self.places
        self.results = {"energy": (shift**2).sum(), "forces": -2 * shift}
        self.results["energy_std"] = self.slope * float(np.linalg.norm(shift))


@pytest.fixture
def argon() -> Atoms:
    places = 4.0 * np.array([[i, j, 0] for i in range(3) for j in range(3)], dtype=float)
    return Atoms("Ar9", positions=places)


def run(atoms: Atoms, tmp_path: Path, **settings):
    calc = UncertainSprings(atoms.positions.copy())
    return md(atoms, calc=calc, ensemble="nve", steps=60, timestep_fs=2.0, out=tmp_path / "o", **settings)


def test_the_table_has_the_deviation_of_the_energy(argon: Atoms, tmp_path: Path) -> None:
    result = run(argon, tmp_path)
    assert result.columns[-1] == "energy_std_eV"
    assert "energy_std_eV" in (tmp_path / "o/stats.dat").read_text().splitlines()[0]
    assert result.to_dict()["energy_std_ev_mean"] > 0


@pytest.mark.capability("A9")
def test_a_run_that_leaves_what_is_known_is_stopped(argon: Atoms, tmp_path: Path) -> None:
    with pytest.raises(GuardError, match="may be off by .* meV/atom"):
        run(argon, tmp_path, max_uncertainty_mev=5.0)
    assert len(ase.io.read(tmp_path / "o/last-good.extxyz")) == 9


@pytest.mark.capability("A9")
def test_a_run_within_the_limit_goes_on(argon: Atoms, tmp_path: Path) -> None:
    assert run(argon, tmp_path, max_uncertainty_mev=1000.0).n_steps == 60


def test_a_limit_needs_a_calculator_that_is_uncertain(copper: Atoms) -> None:
    with pytest.raises(UsageError, match="gives no energy_std"):
        md(copper, steps=1, max_uncertainty_mev=5.0)
    with pytest.raises(UsageError, match="must be positive"):
        md(copper, steps=1, max_uncertainty_mev=0.0)
    with pytest.raises(UsageError, match="guard watches"):
        md(copper, steps=1, max_uncertainty_mev=5.0, guard=False)
