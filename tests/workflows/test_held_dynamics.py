"""What constraints leave free: directions in skewed cells, degrees of freedom, momentum; what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.constraints import (
    ExternalForce,
    FixAtoms,
    FixBondLength,
    FixBondLengths,
    FixCartesian,
    FixedPlane,
    FixInternals,
    FixScaled,
    Hookean,
)

from jmp_calc.errors import JMPWarning, UsageError
from jmp_calc.workflows.constraints import free_components, mend
from jmp_calc.workflows.md import md
from jmp_calc.workflows.relax import relax


def skewed(*constraints: object) -> Atoms:
    """Eight atoms in a cell of rhombohedra, out of their places."""
    atoms = bulk("Cu") * (2, 2, 2)
    atoms.rattle(0.08, seed=3)
    atoms.set_constraint(list(constraints))
    atoms.calc = EMT()
    return atoms


def copper(*constraints: object) -> Atoms:
    atoms = bulk("Cu", cubic=True) * (2, 1, 1)
    atoms.set_constraint(list(constraints))
    atoms.calc = EMT()
    return atoms


@pytest.mark.parametrize("mask", [(True, True, False), (False, True, False), (True, True, True)], ids=str)
def test_selective_dynamics_of_a_skewed_cell_relax_all_that_is_free(mask: tuple[bool, bool, bool]) -> None:
    atoms = skewed(FixScaled([0, 3], mask))
    result = relax(atoms, fmax=0.005, steps=200)
    assert result.converged
    kept = result.atoms.get_scaled_positions(wrap=False) - atoms.get_scaled_positions(wrap=False)
    assert kept[[0, 3]][:, np.array(mask)] == pytest.approx(0.0, abs=1e-9)
    free = atoms.cell.array[~np.array(mask)]
    forces = result.atoms.get_forces(apply_constraint=False)
    along = forces[[0, 3]] @ free.T / np.linalg.norm(free, axis=1)
    assert np.abs(along).max(initial=0.0) < 0.006 and np.abs(np.delete(forces, [0, 3], 0)).max() < 0.006


def test_selective_dynamics_of_a_skewed_cell_conserve_the_energy() -> None:
    atoms = skewed(FixScaled([0, 1, 2, 3], (False, True, True)))
    run = md(atoms, ensemble="nve", temperature_k=300, timestep_fs=2.0, steps=150, stats_every=1)
    total, potential = (run.stats[:, run.columns.index(name)] for name in ("etot_eV", "epot_eV"))
    assert np.ptp(total) < 0.03 * np.ptp(potential)
    assert run.degrees_of_freedom == 4 * 3 + 4 * 1
    assert run.stats[0, run.columns.index("temperature_K")] == pytest.approx(300)


@pytest.mark.parametrize("thermostat", ["langevin", "baoab", "nose-hoover", "bussi"])
def test_selective_dynamics_hold_fractional_coordinates_with_every_thermostat(thermostat: str) -> None:
    atoms = skewed(FixScaled([0, 1, 2, 3], (False, False, True)))
    run = md(atoms, ensemble="nvt", thermostat=thermostat, timestep_fs=2.0, steps=40, stats_every=1)
    moved = run.atoms.get_scaled_positions(wrap=False) - atoms.get_scaled_positions(wrap=False)
    assert moved[:4, 2] == pytest.approx(0.0, abs=1e-9) and np.abs(moved[:4, :2]).min() > 1e-6
    assert run.degrees_of_freedom == 4 * 3 + 4 * 2


@pytest.mark.parametrize(
    ("constraints", "held"),
    [
        ([FixAtoms([0, 1]), FixAtoms([0, 1])], 6),
        ([FixAtoms([0, 1]), FixAtoms([1, 2])], 9),
        ([FixAtoms([0]), FixCartesian([0, 1], (False, True, True))], 5),
        ([FixedPlane([0], (1, 1, 0)), FixedPlane([0], (1, 1, 0))], 1),
        ([FixScaled([0, 1], (True, False, False)), FixAtoms([1])], 4),
        ([FixBondLengths([(0, 1), (2, 3)]), FixBondLength(0, 1)], 2),
        ([FixBondLengths([(0, 1), (1, 2), (0, 2)])], 3),
        ([FixBondLength(0, 1), FixAtoms([0, 1])], 6),
        ([Hookean(0, 1, 5.0, 2.0), ExternalForce(0, 1, 0.1)], 0),
    ],
    ids=lambda value: str(value)[:60],
)
def test_what_several_constraints_hold_counts_once(constraints: list[object], held: int) -> None:
    atoms = skewed(*constraints)
    atoms.rattle(0.05, seed=5)  # so that no bonds are parallel
    mend(atoms)
    assert free_components(atoms) == 3 * len(atoms) - held


def test_a_molecule_whose_distances_are_all_fixed_turns_and_drifts() -> None:
    methane = molecule("CH4")
    methane.set_constraint(FixBondLengths([(a, b) for a in range(5) for b in range(a)]))
    assert free_components(methane) == 6


def test_atoms_that_are_fixed_twice_do_not_halve_the_temperature() -> None:
    once = md(copper(FixAtoms([0, 1, 2, 3])), ensemble="nvt", thermostat="bussi", steps=20, stats_every=1)
    twice = md(
        copper(FixAtoms([0, 1, 2, 3]), FixAtoms([0, 1, 2, 3])),
        ensemble="nvt", thermostat="bussi", steps=20, stats_every=1,
    )  # fmt: skip
    assert twice.degrees_of_freedom == once.degrees_of_freedom == 12
    assert np.array_equal(once.stats, twice.stats)


def internals() -> FixInternals:
    return FixInternals(bonds=[[2.5, [0, 1]]])


@pytest.mark.parametrize(
    ("constraints", "fact"),
    [
        ([internals()], "FixInternals cannot be used in dynamics"),
        ([FixAtoms([0]), FixBondLength(0, 1)], "contradict each other"),
        ([FixedPlane([0], (1, 0, 0)), FixedPlane([0], (1, 1, 0))], "contradict each other"),
    ],
    ids=["FixInternals", "bond", "planes"],
)
def test_constraints_without_a_sound_temperature_are_refused(constraints: list[object], fact: str) -> None:
    with pytest.raises(UsageError, match=fact):
        md(copper(*constraints), ensemble="nve", steps=1)


@pytest.mark.parametrize("thermostat", [None, "langevin", "bussi"])
@pytest.mark.parametrize(
    ("constraint", "taken"),
    [(Hookean(0, 1, 5.0, 2.0), 0), (ExternalForce(0, 1, 0.1), 0), (FixBondLength(0, 1), 1)],
    ids=["spring", "pull", "bond"],
)
def test_what_pairs_of_atoms_do_to_each_other_lets_nothing_drift(
    constraint: object, taken: int, thermostat: str | None
) -> None:
    atoms = copper(constraint)
    drifting = np.random.default_rng(0).normal(size=(8, 3)) + [5.0, 0.0, 0.0]
    if thermostat is None:
        atoms.set_momenta(drifting)
        with pytest.warns(JMPWarning, match="had a drift"):
            run = md(atoms, ensemble="nve", velocities="keep", steps=10)
    else:
        run = md(atoms, ensemble="nvt", thermostat=thermostat, steps=10)
    assert run.degrees_of_freedom == 24 - 3 - taken
    assert run.atoms.get_momenta().sum(axis=0) == pytest.approx(0.0, abs=1e-6)


def test_a_rigid_molecule_turns_and_does_not_drift() -> None:
    water = molecule("H2O")
    water.set_constraint(FixBondLengths([(0, 1), (0, 2), (1, 2)]))
    water.calc = LennardJones(sigma=0.5, epsilon=0.01)
    run = md(water, ensemble="nve", temperature_k=300, steps=5, timestep_fs=0.2)
    assert run.degrees_of_freedom == 3
    assert np.abs(run.atoms.get_angular_momentum()).max() > 0.1
    assert run.atoms.get_momenta().sum(axis=0) == pytest.approx(0.0, abs=1e-9)


def test_rotation_is_removed_from_a_molecule_with_a_spring_within() -> None:
    ethanol = molecule("CH3CH2OH")
    ethanol.set_constraint(Hookean(0, 2, 3.0, 2.2))
    ethanol.calc = LennardJones(sigma=0.7, epsilon=0.05)
    run = md(ethanol, ensemble="nve", temperature_k=50, remove_rotation=True, steps=3, timestep_fs=0.2)
    assert run.degrees_of_freedom == 27 - 6
    assert np.abs(run.atoms.get_angular_momentum()).max() < 1e-6
