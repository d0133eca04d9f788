"""Dynamics: exact restarts, right temperatures, start velocities, refusals and the verdict on the drift."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import fcc100, molecule
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms

from jmp_calc.errors import BadInputError, JMPWarning, UsageError
from jmp_calc.workflows.md import md
from jmp_calc.workflows.stats import COLUMNS, drift_verdict
from tests.workflows.springs import Springs

ENSEMBLES = ["nve", "nvt", "npt"]


@pytest.mark.capability("C8")
@pytest.mark.parametrize("ensemble", ENSEMBLES)
def test_restarted_run_equals_uninterrupted_run_bit_for_bit(
    copper: Atoms, ensemble: str, tmp_path: Path
) -> None:
    settings = dict(
        ensemble=ensemble, timestep_fs=2.0, seed=3, stats_every=5, traj_every=10, temperature_k=400.0
    )
    whole = md(copper, steps=100, out=tmp_path / "whole", **settings)
    md(copper, steps=60, out=tmp_path / "parts", **settings)
    parts = md(copper, steps=100, out=tmp_path / "parts", restart=tmp_path / "parts/restart.npz", **settings)
    assert np.array_equal(whole.atoms.positions, parts.atoms.positions)
    assert np.array_equal(whole.atoms.get_momenta(), parts.atoms.get_momenta())
    assert np.array_equal(whole.atoms.cell.array, parts.atoms.cell.array)
    for name in whole.state.integrator:
        assert np.array_equal(whole.state.integrator[name], parts.state.integrator[name]), name
    for name in ("stats.dat", "traj.extxyz", "final.extxyz"):  # one header, no step twice
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()


def test_restart_drops_what_a_killed_job_wrote_after_it(copper: Atoms, tmp_path: Path) -> None:
    settings = dict(ensemble="nve", timestep_fs=2.0, stats_every=5, traj_every=5)
    md(copper, steps=40, out=tmp_path / "whole", **settings)
    md(copper, steps=20, out=tmp_path / "killed", **settings)
    restart = (tmp_path / "killed/restart.npz").read_bytes()
    md(copper, steps=30, out=tmp_path / "killed", restart=tmp_path / "killed/restart.npz", **settings)
    (tmp_path / "killed/restart.npz").write_bytes(restart)  # killed after step 30, last restart at step 20
    for name in ("stats.dat", "traj.extxyz"):
        path = tmp_path / "killed" / name
        path.write_bytes(path.read_bytes()[:-9])  # ... in the middle of a line
    md(copper, steps=40, out=tmp_path / "killed", restart=tmp_path / "killed/restart.npz", **settings)
    for name in ("stats.dat", "traj.extxyz"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "killed" / name).read_bytes()


@pytest.mark.capability("C11")
def test_nve_conserves_energy_and_momentum(copper: Atoms) -> None:
    result = md(copper, ensemble="nve", timestep_fs=1.0, steps=500, temperature_k=300.0, stats_every=2)
    assert result.drift is not None
    assert abs(result.drift.drift_mev_per_atom_per_ps) < 2.0
    total = result.stats[:, COLUMNS.index("etot_eV")]
    assert np.ptp(total) / len(copper) < 1e-3
    assert np.abs(result.atoms.get_momenta().sum(axis=0)).max() < 1e-9
    assert result.degrees_of_freedom == 3 * len(copper) - 3


def test_npt_conserves_its_extended_energy_and_finds_the_pressure(copper: Atoms) -> None:
    result = md(
        copper,
        ensemble="npt",
        timestep_fs=2.0,
        steps=400,
        temperature_k=200.0,
        pressure_gpa=5.0,
        stats_every=4,
    )
    conserved = result.stats[:, result.columns.index("conserved_eV")]
    assert np.ptp(conserved) < 5e-3
    pressure = result.stats[:, result.columns.index("pressure_GPa")]
    assert pressure.min() < 5.0 < pressure.max()
    assert np.ptp(result.stats[:, result.columns.index("volume_A3")]) > 0
    shape = result.atoms.cell.array / copper.cell.array[0, 0]
    assert shape / shape[0, 0] == pytest.approx(copper.cell.array / copper.cell.array[0, 0])


@pytest.mark.parametrize("fixed", [0, 5])
def test_langevin_samples_the_temperature_also_with_fixed_atoms(fixed: int) -> None:
    places = np.random.default_rng(0).uniform(0, 40, (30, 3))
    atoms = Atoms("Cu30", places)
    atoms.calc = Springs(places)
    if fixed:
        atoms.set_constraint(FixAtoms(range(fixed)))
    result = md(
        atoms,
        ensemble="nvt",
        temperature_k=300.0,
        friction_per_ps=50.0,
        timestep_fs=2.0,
        steps=3000,
        stats_every=5,
        traj_every=3000,
        guard=False,
    )
    assert result.degrees_of_freedom == 90 - 3 * (fixed or 1)
    mean = result.to_dict()["temperature_k_mean"]
    # 3000·2 fs·50/ps = 300 relaxation times of 75-87 oscillators: standard error 300·sqrt(2/75/150) = 4 K
    assert mean == pytest.approx(300.0, abs=16.0)
    if fixed:
        assert np.array_equal(result.atoms.positions[:fixed], places[:fixed])
    assert len(result.atoms.constraints) == (1 if fixed else 0)  # the helper FixCom does not leak


def test_start_velocities_have_the_temperature_and_neither_drift_nor_spin(cluster: Atoms) -> None:
    first = md(cluster, ensemble="nve", temperature_k=250.0, steps=1, stats_every=1, traj_every=1)
    start = first.trajectory[0]
    assert first.degrees_of_freedom == 6
    assert 2 * start.get_kinetic_energy() / (6 * units.kB) == pytest.approx(250.0)
    assert np.abs(start.get_momenta().sum(axis=0)).max() < 1e-12
    assert np.abs(start.get_angular_momentum()).max() < 1e-9
    again = md(cluster, ensemble="nve", temperature_k=250.0, steps=1, seed=0)
    other = md(cluster, ensemble="nve", temperature_k=250.0, steps=1, seed=1)
    assert np.array_equal(first.atoms.positions, again.atoms.positions)
    assert not np.array_equal(first.atoms.positions, other.atoms.positions)
    assert not cluster.has("momenta")


def test_linear_molecule_has_one_more_degree_of_freedom() -> None:
    atoms = molecule("CO2")
    atoms.calc = Springs(atoms.positions)
    assert md(atoms, ensemble="nve", steps=1).degrees_of_freedom == 4


def test_custom_masses_slow_the_motion(cluster: Atoms) -> None:
    heavy = cluster.copy()
    heavy.set_masses([1e6] * 4)
    heavy.calc = cluster.calc
    moved = [
        np.abs(md(a, ensemble="nve", steps=20).atoms.positions - cluster.positions).max()
        for a in (cluster, heavy)
    ]
    assert moved[1] < 0.02 * moved[0]


def test_velocities_are_kept_on_request(cluster: Atoms) -> None:
    spun = md(cluster, ensemble="nve", temperature_k=300.0, steps=5).atoms
    spun.calc = cluster.calc
    momenta = spun.get_momenta()
    kept = md(spun, ensemble="nve", velocities="keep", steps=1, traj_every=1)
    assert kept.trajectory[0].get_momenta() == pytest.approx(momenta, abs=1e-12)
    assert kept.degrees_of_freedom == 6  # they had no rotation
    with pytest.warns(JMPWarning, match="velocities are replaced"):
        md(spun, ensemble="nve", steps=1)
    with pytest.raises(UsageError, match="no velocities"):
        md(cluster, velocities="keep")


def test_kept_velocities_have_the_same_temperature_without_thermostat(cluster: Atoms, tmp_path: Path) -> None:
    hot = md(cluster, ensemble="nvt", temperature_k=200.0, steps=20, stats_every=1)
    start = hot.atoms
    start.calc = cluster.calc
    kept = md(start, ensemble="nve", velocities="keep", steps=2, stats_every=1, out=tmp_path)
    assert kept.degrees_of_freedom == hot.degrees_of_freedom == 9
    assert kept.stats[0, 5] == pytest.approx(hot.stats[-1, 5])
    again = md(
        start, ensemble="nve", steps=4, stats_every=1, restart=tmp_path / "restart.npz"
    )  # "keep" forgotten
    assert again.degrees_of_freedom == 9


def test_kept_velocities_of_atoms_that_are_held_now_are_none(copper: Atoms) -> None:
    start = md(copper, ensemble="nvt", temperature_k=300, steps=20).atoms
    start.calc = copper.calc
    start.set_constraint(FixAtoms(range(len(start) // 2)))
    found = md(start, ensemble="nve", velocities="keep", timestep_fs=1.0, steps=20, stats_every=1)
    total = found.stats[:, COLUMNS.index("etot_eV")]
    assert np.ptp(total) < 0.01
    assert found.stats[0, COLUMNS.index("temperature_K")] < 450


def test_kept_velocities_lose_their_rotation_on_request(cluster: Atoms) -> None:
    start = md(cluster, ensemble="nvt", steps=5).atoms
    start.calc = cluster.calc
    assert np.abs(start.get_angular_momentum()).max() > 0.1
    still = md(start, ensemble="nve", velocities="keep", remove_rotation=True, steps=1, traj_every=1)
    assert np.abs(still.trajectory[0].get_angular_momentum()).max() < 1e-9
    assert still.degrees_of_freedom == 6


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"steps": 0}, "steps"),
        ({"steps": -5}, "steps"),
        ({"temperature_k": 0.0}, "temperature"),
        ({"temperature_k": -1.0}, "temperature"),
        ({"timestep_fs": 0.0}, "timestep"),
        ({"timestep_fs": -1.0}, "timestep"),
        ({"timestep_fs": float("nan")}, "timestep"),
        ({"ensemble": "nvt", "pressure_gpa": 1.0}, "pressure"),
        ({"ensemble": "nve", "friction_per_ps": 1.0}, "friction"),
        ({"ensemble": "nxt"}, "ensemble"),
        ({"traj_every": 0}, "traj_every"),
        ({"ensemble": "npt", "barostat_time_fs": -1.0}, "barostat"),
    ],
)
def test_fault_59_settings_that_cannot_be_meant(copper: Atoms, wrong: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        md(copper, **wrong)


def test_fault_91_ensembles_refuse_structures_they_cannot_treat(copper: Atoms, cluster: Atoms) -> None:
    with pytest.raises(UsageError, match="otation"):
        md(copper, ensemble="nve", remove_rotation=True)
    with pytest.raises(UsageError, match="periodic"):
        md(cluster, ensemble="npt")
    pinned = copper.copy()
    pinned.calc = copper.calc
    pinned.set_constraint(FixAtoms([0]))
    with pytest.raises(UsageError, match="constraints"):
        md(pinned, ensemble="npt")
    held = cluster.copy()
    held.calc = cluster.calc
    held.set_constraint(FixAtoms([0]))
    with pytest.raises(UsageError, match=r"whose atoms are held \(FixAtoms\)"):
        md(held, ensemble="nvt", thermostat="nose-hoover", remove_rotation=True)
    springs = copper.copy()
    springs.calc = Springs(copper.positions)
    with pytest.raises(UsageError, match="no stress"):
        md(springs, ensemble="npt")


def test_fault_92_long_time_step_with_hydrogen() -> None:
    atoms = molecule("H2O")
    atoms.calc = Springs(atoms.positions)
    with pytest.warns(JMPWarning, match="hydrogen"):
        md(atoms, ensemble="nve", timestep_fs=2.0, steps=1)


def test_fault_93_restart_of_another_run(copper: Atoms, cluster: Atoms, tmp_path: Path) -> None:
    md(copper, ensemble="nvt", steps=4, out=tmp_path)
    restart = tmp_path / "restart.npz"
    with pytest.raises(UsageError, match="other numbers"):
        md(cluster, ensemble="nvt", steps=8, restart=restart)
    with pytest.raises(UsageError, match="ensemble was nvt, now nve"):
        md(copper, ensemble="nve", steps=8, restart=restart)
    with pytest.raises(UsageError, match=r"timestep_fs was 1.0, now 2.0"):
        md(copper, ensemble="nvt", timestep_fs=2.0, steps=8, restart=restart)
    other = copper.copy()
    other.calc = EMT()
    with pytest.raises(UsageError, match="model was 'MorsePotential', now 'EMT'"):
        md(other, ensemble="nvt", steps=8, restart=restart)
    with pytest.raises(UsageError, match="beyond"):
        md(copper, ensemble="nvt", steps=2, restart=restart)
    with pytest.raises(UsageError, match="earlier run"):
        md(copper, ensemble="nvt", steps=4, out=tmp_path)


def test_restart_goes_on_in_its_own_folder_or_an_empty_one(copper: Atoms, tmp_path: Path) -> None:
    first = md(copper, steps=10, out=tmp_path / "a")
    md(copper, steps=10, seed=1, out=tmp_path / "b")
    for restart in (first.state, tmp_path / "a/restart.npz"):
        with pytest.raises(UsageError, match="earlier run"):
            md(copper, steps=20, restart=restart, out=tmp_path / "b")
    md(copper, steps=20, restart=first.state, out=tmp_path / "c")
    md(copper, steps=20, restart=first.state, out=tmp_path / "a")
    assert np.loadtxt(tmp_path / "a/stats.dat")[:, 0].tolist() == [0, 10, 20]


@pytest.mark.parametrize("content", [b"", b"rubbish", None])
def test_damaged_restart_files(copper: Atoms, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "restart.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadInputError, match="restart file"):
        md(copper, restart=path)


def drifting_table(slope: float, steps: int = 2000) -> np.ndarray:
    time_fs = np.arange(steps) * 1.0
    kinetic = 1.0 + 0.1 * np.sin(time_fs / 7)
    total = slope * 1e-3 * 8 * time_fs / 1000 + 1e-5 * np.sin(time_fs)
    return np.column_stack([np.arange(steps), time_fs, total - kinetic, kinetic, total, 300 + 0 * time_fs])


@pytest.mark.capability("C11")
@pytest.mark.parametrize("slope, word", [(0.05, "conserved"), (-1.0, "drifting"), (5.0, "not conserved")])
def test_drift_verdict_finds_a_known_slope(slope: float, word: str) -> None:
    verdict = drift_verdict(drifting_table(slope), 8)
    assert verdict is not None
    assert verdict.drift_mev_per_atom_per_ps == pytest.approx(slope, abs=1e-3)
    assert verdict.verdict == word
    short = drift_verdict(drifting_table(slope, steps=100), 8)
    assert short is not None
    assert short.verdict == "too short to tell"


def test_smoothness_of_the_model_is_asked_before_the_run(copper: Atoms) -> None:
    asked = []
    copper.calc.warn_if_not_smooth = asked.append
    md(copper, steps=1)
    assert len(asked) == 1


def test_a_barostat_along_vacuum_is_told() -> None:
    slab = fcc100("Cu", (1, 1, 4), vacuum=5.0, periodic=True)
    slab.calc = EMT()
    with pytest.warns(JMPWarning, match="vacuum along c, which a barostat"):
        md(slab, ensemble="npt", steps=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error", JMPWarning)
        md(slab, ensemble="npt", cell="ab", steps=1)
