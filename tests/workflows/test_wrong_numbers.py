"""Numbers that cannot be meant are told and not computed: pressures in Pa, times in ps, negative seeds."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from jmp_calc import md, relax
from jmp_calc.errors import JMPWarning, UsageError
from jmp_calc.workflows.md_settings import MDSettings
from jmp_calc.workflows.phonon.qha_settings import QhaSettings
from jmp_calc.workflows.phonon.settings import PhononSettings
from jmp_calc.workflows.phonon.sscha_settings import SschaSettings
from jmp_calc.workflows.relax_settings import RelaxSettings

ATMOSPHERE_PA = 101325.0


@pytest.mark.parametrize(
    "asked",
    [
        lambda: RelaxSettings(cell="full", pressure_gpa=ATMOSPHERE_PA),
        lambda: MDSettings(ensemble="npt", pressure_gpa=ATMOSPHERE_PA),
        lambda: MDSettings(ensemble="npt", schedule="300 0>101325 GPa 1 ps").resolved(),
        lambda: QhaSettings(pressure_gpa=ATMOSPHERE_PA),
    ],
    ids=["relax", "md", "schedule", "qha"],
)
def test_a_pressure_in_pascal_is_refused(asked: Callable[[], object]) -> None:
    """Under it a cell collapses, and its neighbours have no end."""
    with pytest.raises(UsageError, match="101325 GPa cannot be meant") as refused:
        asked()
    assert "in GPa" in (refused.value.hint or "")


@pytest.mark.parametrize("thermostat", ["langevin", "baoab"])
def test_a_friction_that_stops_the_atoms_within_a_step_is_refused(thermostat: str) -> None:
    with pytest.raises(UsageError, match="5000 per ps stops the atoms"):
        MDSettings(thermostat=thermostat, friction_per_ps=5000.0).resolved()


def test_a_time_step_in_picoseconds_is_told() -> None:
    with pytest.warns(JMPWarning, match=r"0\.001 fs is far shorter"):
        md(bulk("Cu", cubic=True), calc=EMT(), timestep_fs=0.001, steps=1)


@pytest.mark.parametrize("settings", [MDSettings, PhononSettings, SschaSettings])
def test_a_negative_seed_is_a_sentence(settings: Callable[..., object]) -> None:
    with pytest.raises(UsageError, match="seed must not be negative, got -1"):
        settings(seed=-1)


def test_a_tolerance_in_which_there_is_no_symmetry_is_a_sentence() -> None:
    with pytest.raises(UsageError, match="symprec must be at most"):
        PhononSettings(symprec=1.0)
    with pytest.raises(UsageError, match="No symmetry is found within 10 Å"):
        relax(bulk("Cu"), calc=EMT(), fix_symmetry=True, symprec=10.0)
