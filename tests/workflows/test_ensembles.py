"""Thermostats and barostats sample the distributions that statistical mechanics gives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms, FixBondLengths, FixCartesian, FixCom, FixedLine, FixedPlane

from jmp_calc.errors import GuardError, UsageError
from jmp_calc.workflows.integrators import Integrator, add_momentum_constraint
from jmp_calc.workflows.md import md
from jmp_calc.workflows.md_settings import SCALING, THERMOSTATS, MDSettings
from jmp_calc.workflows.velocities import degrees_of_freedom, start_velocities


class ElasticCrystal(Calculator):
    """Atoms on springs to the sites of a lattice that moves with their centre, in an elastic cell.

    E = V0·(λ/2·tr(η)² + μ·tr(η²)) + Σ (k/2·u² + q/4·u⁴), η Green's strain of the cell and u the displacements
    from the sites less their mean: total momentum is conserved, and cell and atoms are independent.
    """

    implemented_properties = ["energy", "forces", "stress"]  # noqa: RUF012
    lam, mu, spring, quartic = 0.6, 0.4, 4.0, 40.0

    def __init__(self, atoms: Atoms) -> None:
        super().__init__()
        self.cell0, self.sites = atoms.cell.array.copy(), atoms.get_scaled_positions(wrap=False)
        self.inverse, self.volume0 = np.linalg.inv(self.cell0), abs(np.linalg.det(self.cell0))

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        cell = self.atoms.cell.array
        gradient = (self.inverse @ cell).T
        strain = (gradient.T @ gradient - np.eye(3)) / 2
        shift = self.atoms.positions - self.sites @ cell
        shift -= shift.mean(axis=0)
        self.shift = shift
        square = (shift**2).sum(axis=1)
        pull = (self.spring + self.quartic * square)[:, None] * shift
        pull -= pull.mean(axis=0)
        elastic = self.lam / 2 * np.trace(strain) ** 2 + self.mu * (strain**2).sum()
        self.elastic = self.volume0 * elastic
        piola = self.lam * np.trace(strain) * np.eye(3) + 2 * self.mu * strain
        volume = abs(np.linalg.det(cell))
        stress = (self.volume0 * gradient @ piola @ gradient.T + pull.T @ shift) / volume
        self.results = {
            "energy": self.elastic + (self.spring / 2 * square + self.quartic / 4 * square**2).sum(),
            "forces": -pull,
            "stress": stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]],
        }


def elastic_crystal() -> Atoms:
    atoms = bulk("Cu", "fcc", a=3.6, cubic=True)
    atoms.calc = ElasticCrystal(atoms)
    return atoms


def test_the_elastic_crystal_has_the_forces_and_the_stress_of_its_energy() -> None:
    from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress

    atoms = elastic_crystal()
    atoms.rattle(0.1, seed=1)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.02 * np.diag([1, -1, 2])), scale_atoms=True)
    assert atoms.get_forces() == pytest.approx(
        calculate_numerical_forces(atoms, eps=1e-4, force_consistent=False), abs=1e-6
    )
    numerical = calculate_numerical_stress(atoms, eps=1e-4, voigt=True, force_consistent=False)
    assert atoms.get_stress() == pytest.approx(numerical, abs=1e-6)


def samples(atoms: Atoms, steps: int, of: Callable[[Atoms], list[float]], **given: Any) -> np.ndarray:
    """What ``of`` says after every step but the first tenth, shape (steps, n); checks what is conserved."""
    settings = MDSettings(timestep_fs=4.0, **given).resolved()
    rng = np.random.default_rng(5)
    add_momentum_constraint(atoms, settings)
    start_velocities(atoms, settings, rng)
    dynamics = Integrator(atoms, settings, rng, degrees_of_freedom(atoms, settings))
    found, conserved = [], []
    for _ in range(steps):
        dynamics.step()
        found.append(of(atoms))
        conserved.append(dynamics.conserved_energy())
    if settings.thermostat in SCALING:
        quarter = steps // 4
        drift = np.mean(conserved[-quarter:]) - np.mean(conserved[:quarter])
        assert abs(drift) < 0.1 * units.kB * (settings.temperature_k or 0.0)
    return np.array(found[steps // 10 :])


def agrees(values: np.ndarray, exact: float, error: float) -> None:
    """The mean is ``exact`` within 4 standard errors of 16 blocks, which are below the share ``error``."""
    blocks = values[: len(values) // 16 * 16].reshape(16, -1).mean(axis=1)
    standard = float(blocks.std(ddof=1) / 4)
    assert standard < error * exact
    assert blocks.mean() == pytest.approx(exact, abs=4 * standard)


def heat_and_virial(atoms: Atoms) -> list[float]:
    kinetic = atoms.get_kinetic_energy()
    pull = float((atoms.get_forces(apply_constraint=False) * atoms.calc.shift).sum())
    return [kinetic / (units.kB * 300.0), -pull / (units.kB * 300.0)]


THERMOSTAT_SETTINGS = {
    "langevin": {"friction_per_ps": 20.0}, "baoab": {"friction_per_ps": 20.0},
    "nose-hoover": {"thermostat_time_fs": 40.0}, "bussi": {"thermostat_time_fs": 20.0},
}  # fmt: skip


@pytest.mark.capability("C6")
@pytest.mark.slow
@pytest.mark.parametrize("thermostat", THERMOSTATS)
def test_a_thermostat_gives_the_canonical_ensemble(thermostat: str) -> None:
    """Mean and variance of the kinetic energy, and the virial theorem <Σ u·dE/du> = dof·kT of the places."""
    given = THERMOSTAT_SETTINGS[thermostat]
    found = samples(elastic_crystal(), 8000, heat_and_virial, ensemble="nvt", thermostat=thermostat, **given)
    agrees(found[:, 0], 4.5, 0.1)
    agrees((found[:, 0] - 4.5) ** 2, 4.5, 0.2)
    agrees(found[:, 1], 9.0, 0.1)


def strain(atoms: Atoms) -> list[float]:
    gradient = (atoms.calc.inverse @ atoms.cell.array).T
    green = (gradient.T @ gradient - np.eye(3)) / 2
    heat = atoms.get_kinetic_energy() / (units.kB * COLD)
    return [np.linalg.det(gradient) - 1, atoms.calc.elastic, heat, *green[[0, 0, 1], [1, 2, 2]]]


COLD = 100.0
BARO = {"ensemble": "npt", "temperature_k": COLD, "thermostat_time_fs": 40.0, "barostat_time_fs": 400.0}


@pytest.mark.capability("C6")
@pytest.mark.slow
@pytest.mark.parametrize("cell", ["volume", "full", "lengths", "c", "ab"])
def test_the_cell_fluctuates_as_its_compliance_says(cell: str) -> None:
    """<V·ε·C·ε> = n·kT with n strains that are free (nine in the thermostat of a full cell would give half
    more), and <δV²> = kT·V/B where one is: chains share heat among several harmonic strains only slowly."""
    atoms = elastic_crystal()
    lam, mu, volume = ElasticCrystal.lam, ElasticCrystal.mu, atoms.get_volume()
    found = samples(atoms, 12000, strain, cell=cell, **BARO)
    agrees(2 * found[:, 1] / (units.kB * COLD), {"full": 6, "lengths": 3, "ab": 2}.get(cell, 1), 0.2)
    agrees(found[:, 2], 4.5, 0.1)
    modulus = {"c": lam + 2 * mu, "volume": lam + 2 * mu / 3}.get(cell)
    if modulus is not None:
        agrees((found[:, 0] - found[:, 0].mean()) ** 2, units.kB * COLD / (volume * modulus), 0.25)
    if cell != "full":
        assert np.abs(found[:, 3:]).max() < 1e-10


@pytest.mark.parametrize("cell, free", [("volume", "abc"), ("lengths", "abc"), ("c", "c"), ("ab", "ab")])
def test_only_the_free_axes_change_and_find_their_pressure(cell: str, free: str) -> None:
    result = md(
        elastic_crystal(), cell=cell, pressure_gpa=5.0, timestep_fs=4.0, steps=150, stats_every=1,
        guard=False,        **BARO,
    )  # fmt: skip
    means = result.to_dict()
    if cell == "volume":
        assert means["pressure_gpa_mean"] == pytest.approx(5.0, abs=1.5)
        return
    changed = [means[f"{axis}_a_std"] > 1e-9 for axis in "abc"]
    assert changed == [axis in free for axis in "abc"]
    for axis, direction in zip("abc", "xyz", strict=True):
        pressure = means[f"pressure_{direction}{direction}_gpa_mean"]
        assert abs(pressure - 5.0) < 1.5 if axis in free else pressure < 4.0


@pytest.mark.parametrize("thermostat", ["nose-hoover", "bussi"])
def test_a_molecule_does_not_start_to_turn_or_fly(thermostat: str, cluster: Atoms) -> None:
    result = md(cluster, ensemble="nvt", thermostat=thermostat, timestep_fs=2.0, steps=300)
    assert result.degrees_of_freedom == 6
    assert np.abs(result.atoms.get_angular_momentum()).max() < 1e-6
    assert np.abs(result.atoms.get_momenta().sum(axis=0)).max() < 1e-9
    assert "conserved_eV" in result.columns


@pytest.mark.parametrize("thermostat", THERMOSTATS)
def test_fixed_atoms_stay_where_they_are(thermostat: str, copper: Atoms) -> None:
    copper.set_constraint(FixAtoms([0, 3]))
    result = md(copper, ensemble="nvt", thermostat=thermostat, timestep_fs=2.0, steps=20)
    assert np.array_equal(result.atoms.positions[[0, 3]], copper.positions[[0, 3]])
    assert result.degrees_of_freedom == 18


@pytest.mark.parametrize(
    "constraint",
    [FixAtoms([0, 1, 2, 3, 4]), FixCartesian([0, 1, 2, 3]), FixedPlane([0, 1, 2], (0, 0, 1)),
     FixedLine([0, 1, 2], (0, 0, 1)), FixCom()],
    ids=lambda constraint: type(constraint).__name__,
)  # fmt: skip
def test_the_chain_heats_and_cools_what_the_constraints_leave_free(constraint: Any) -> None:
    atoms = bulk("Cu", cubic=True) * (2, 2, 1)
    atoms.set_constraint(constraint)
    atoms.calc = EMT()
    result = md(atoms, thermostat="nose-hoover", temperature_k=300, timestep_fs=4.0, steps=600, stats_every=2)
    kelvin, conserved = (
        result.stats[:, result.columns.index(name)] for name in ("temperature_K", "conserved_eV")
    )
    assert 260 < kelvin[50:].mean() < 340
    assert np.ptp(conserved) < 0.02


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"ensemble": "nvt", "thermostat": "berendsen"}, "Unknown thermostat 'berendsen'"),
        ({"ensemble": "npt", "cell": "d"}, "Unknown cell 'd'"),
        ({"ensemble": "nve", "thermostat": "bussi"}, "A thermostat has no meaning in the nve"),
        ({"ensemble": "nvt", "cell": "full"}, "A cell has no meaning in the nvt"),
        ({"ensemble": "npt", "thermostat": "bussi"}, "no thermostat bussi"),
        ({"ensemble": "nvt", "thermostat": "bussi", "friction_per_ps": 1.0}, "friction .* thermostat bussi"),
        ({"ensemble": "nvt", "thermostat_time_fs": 10.0}, "thermostat time .* thermostat langevin"),
    ],
)
def test_settings_that_contradict_the_ensemble(copper: Atoms, settings: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        md(copper, **settings)


def test_an_axis_that_is_not_perpendicular_has_no_length_of_its_own() -> None:
    atoms = bulk("Cu", "fcc", a=3.6)
    atoms.calc = ElasticCrystal(atoms)
    with pytest.raises(UsageError, match="not perpendicular"):
        md(atoms * (2, 1, 1), calc=atoms.calc, ensemble="npt", cell="c")


@pytest.mark.parametrize("thermostat", ["nose-hoover", "baoab"])
def test_rigid_bonds_need_an_integrator_that_keeps_them(thermostat: str) -> None:
    atoms = molecule("H2O")
    atoms.calc = ElasticCrystal(Atoms("H2O", atoms.positions, cell=[9, 9, 9]))
    atoms.set_constraint(FixBondLengths([[0, 1]]))
    with pytest.raises(UsageError, match="FixBondLengths cannot be used with the thermostat"):
        md(atoms, ensemble="nvt", thermostat=thermostat, timestep_fs=0.5)


@pytest.mark.parametrize("cell", ["volume", "full", "c"])
def test_a_barostat_that_runs_away_is_a_sentence(cell: str) -> None:
    with pytest.raises(GuardError, match="Guard: .*(NaN or infinite|ran away|in one step)"):
        md(
            elastic_crystal(), ensemble="npt", cell=cell, temperature_k=30.0, timestep_fs=4.0,
            barostat_time_fs=20.0, steps=400,
        )  # fmt: skip


@pytest.mark.parametrize("cell", ["volume", "full"])
def test_a_cell_that_collapses_in_one_step_is_not_evaluated(cell: str) -> None:
    """A barostat time of one step: the neighbours of the cell after it have no end."""
    crystal = bulk("Cu", "fcc", a=3.65, cubic=True)
    with pytest.raises(GuardError, match=r"volume of the cell went from .* in one step.*barostat time"):
        md(crystal, calc=EMT(), ensemble="npt", cell=cell, barostat_time_fs=1.0, steps=20)


def test_names_of_other_programs_are_understood(copper: Atoms) -> None:
    names = {"nhc": "nose-hoover", "CSVR": "bussi", "BAOAB": "baoab"}
    for given, meant in names.items():
        assert md(copper, thermostat=given, steps=1).settings.thermostat == meant


def test_restart_files_from_before_thermostats_had_names_go_on(copper: Atoms, tmp_path: Path) -> None:
    import dataclasses

    for ensemble in ("nvt", "npt"):
        state = md(copper, ensemble=ensemble, steps=2).state
        kept = {k: v for k, v in state.physics.items() if k not in ("thermostat", "cell", "schedule")}
        older = dataclasses.replace(state, physics=kept)
        assert md(copper, ensemble=ensemble, steps=4, restart=older).n_steps == 4
        other = {"thermostat": "bussi"} if ensemble == "nvt" else {"cell": "full"}
        with pytest.raises(UsageError, match="was (langevin|volume), now (bussi|full)"):
            md(copper, ensemble=ensemble, steps=4, restart=older, **other)
