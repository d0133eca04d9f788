"""Results chain into the next workflow, say on one line what they are, and name what one must know."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111
from ase.calculators.emt import EMT

from jmp_calc.errors import UsageError
from jmp_calc.units import GPA_PER_EV_A3
from jmp_calc.workflows.md import md
from jmp_calc.workflows.relax import relax
from jmp_calc.workflows.stats import COLUMNS, averages


def test_results_go_into_the_next_workflow() -> None:
    start = bulk("Cu", cubic=True)
    calc = EMT()
    relaxed = relax(start, calc=calc, cell="full")
    assert start.calc is None and relaxed.atoms.calc is calc
    hot = md(relaxed.atoms, ensemble="nvt", temperature_k=100, steps=4)
    assert hot.atoms.calc is calc
    more = md(hot.atoms, ensemble="nve", velocities="keep", steps=4, traj_every=4)
    assert more.trajectory[0].get_momenta() == pytest.approx(hot.atoms.get_momenta(), abs=1e-9)
    cold = relax(more.atoms)
    assert cold.energy_ev == pytest.approx(relaxed.energy_ev, abs=1e-3)


def test_phonons_take_a_relaxed_crystal() -> None:
    from jmp_calc.workflows.phonon.phonons import phonons

    start = bulk("Cu")
    result = phonons(
        relax(start, calc=EMT(), cell="full").atoms, supercell="2 2 2", mesh="2 2 2", tmax=20, band_points=2
    )
    assert result.space_group.startswith("Fm-3m")


def test_a_given_calculator_wins(copper: Atoms) -> None:
    for workflow in (relax, md):
        assert workflow(copper, calc=EMT(), steps=1).atoms.calc.name == "emt"
    copper.calc = None
    with pytest.raises(UsageError, match="no calculator"):
        md(copper, steps=1)


def test_energies_of_a_result_outlive_the_next_run(copper: Atoms) -> None:
    """The calculator has moved on; the result computes again, and is the same."""
    copper.rattle(0.05, seed=1)
    first = relax(copper)
    energy, forces = first.energy_ev, first.trajectory[first.step].get_forces()
    relax(copper, steps=1)
    assert first.atoms.get_potential_energy() == pytest.approx(energy)
    assert first.atoms.get_forces() == pytest.approx(forces)


def test_results_are_one_line(copper: Atoms, cluster: Atoms) -> None:
    copper.rattle(0.05, seed=1)
    assert repr(relax(copper)).startswith("<RelaxResult of Cu8: converged after ")
    assert "not converged after 1 steps" in repr(relax(copper, steps=1))
    run = md(cluster, ensemble="nve", steps=10)
    assert repr(run).startswith("<MDResult of nve of Cu4: 10 steps, 0.01 ps, mean temperature ")
    assert repr(run.state) == "<MDState of 4 atoms after step 10>"
    for thing in (run, run.state, relax(copper)):
        assert "\n" not in repr(thing) and len(repr(thing)) < 120


@pytest.mark.capability("C9")
@pytest.mark.parametrize("ensemble", ["nve", "nvt", "npt"])
def test_crystals_have_a_column_of_pressures(copper: Atoms, ensemble: str) -> None:
    result = md(copper, ensemble=ensemble, temperature_k=500, steps=20, stats_every=20, traj_every=20)
    pressure = result.stats[-1, result.columns.index("pressure_GPa")]
    last = result.trajectory[-1]
    stress = copper.calc.get_stress(last) + last.get_kinetic_stress()
    assert pressure == pytest.approx(-stress[:3].mean() * GPA_PER_EV_A3)
    assert result.to_dict()["pressure_gpa_mean"] == pytest.approx(result.stats[:, 6].mean())


def test_molecules_and_slabs_have_no_pressure(cluster: Atoms) -> None:
    slab = fcc111("Cu", (1, 1, 3), vacuum=6.0)
    slab.calc = EMT()
    for atoms in (cluster, slab):
        assert md(atoms, ensemble="nve", steps=2).columns == COLUMNS


def test_means_name_their_part() -> None:
    table = np.column_stack([np.arange(21) * 10, np.arange(21) * 10.0, *np.ones((3, 21)), np.arange(21.0)])
    found = averages(table, COLUMNS)
    assert (found["means_from_ps"], found["means_to_ps"]) == (0.02, 0.2)
    assert found["temperature_k_mean"] == np.arange(2, 21).mean()
    assert averages(table[:0], COLUMNS) == {}


def test_the_speed_is_simulated_time_over_the_clock(copper: Atoms) -> None:
    result = md(copper, steps=50, timestep_fs=2.0)
    assert result.ns_per_day is not None and result.ns_per_day > 0
    done = md(copper, steps=50, timestep_fs=2.0, restart=result.state)
    assert (done.started_at, done.ns_per_day) == (50, None)


def test_the_space_group_is_found_and_told_when_it_changes() -> None:
    sharp = relax(bulk("Cu", cubic=True), calc=EMT(), cell="full")
    assert sharp.space_groups == ("Fm-3m (225)", "Fm-3m (225)")
    rattled = bulk("Cu", cubic=True)
    rattled.rattle(0.05, seed=1)
    found = relax(rattled, calc=EMT(), fmax=1e-4)
    assert found.space_groups == ("P1 (1)", "Fm-3m (225)")
    assert relax(fcc111("Cu", (1, 1, 3), vacuum=6.0), calc=EMT(), steps=1).space_groups == (None, None)


def test_a_restart_at_another_temperature_names_the_way(copper: Atoms) -> None:
    state = md(copper, steps=2, temperature_k=300).state
    with pytest.raises(UsageError, match="temperature_k was 300, now 600") as caught:
        md(copper, steps=4, temperature_k=600, restart=state)
    assert "final.extxyz with velocities='keep'" in str(caught.value.hint)
