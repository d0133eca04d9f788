"""Constraints in files and energies: kept or told; springs counted once; what cannot move is said."""

from __future__ import annotations

import warnings
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111
from ase.calculators.emt import EMT
from ase.constraints import (
    ExternalForce,
    FixAtoms,
    FixBondLength,
    FixCartesian,
    FixedLine,
    FixedPlane,
    Hookean,
    MirrorForce,
)

from jmp_calc.errors import JMPWarning, UsageError
from jmp_calc.workflows.md import md
from jmp_calc.workflows.relax import relax

SPRINGS = [
    Hookean(a1=0, a2=4, rt=3.0, k=2.0),
    ExternalForce(0, 4, 0.2),
    Hookean(a1=1, a2=(0, 0, 0), k=1.0, rt=1.0),
]


def copper(*constraints: object) -> Atoms:
    atoms = bulk("Cu", cubic=True) * (2, 1, 1)
    atoms.rattle(0.03, seed=1)
    atoms.set_constraint(list(constraints))
    atoms.calc = EMT()
    return atoms


def bare(frame: Atoms) -> Atoms:
    """The same structure with the potential alone."""
    atoms = frame.copy()
    atoms.set_constraint()
    atoms.calc = EMT()
    return atoms


def check_pair(frame: Atoms) -> None:
    """Energy and forces that are stored are both of the potential alone."""
    assert frame.calc.results["energy"] == pytest.approx(bare(frame).get_potential_energy(), abs=1e-6)
    assert frame.calc.results["forces"] == pytest.approx(bare(frame).get_forces(), abs=1e-6)


@pytest.mark.filterwarnings("ignore:extxyz files cannot hold")
@pytest.mark.parametrize("spring", SPRINGS, ids=["Hookean", "ExternalForce", "Hookean-point"])
def test_springs_are_not_in_what_is_stored(spring: object, tmp_path: Path) -> None:
    result = relax(copper(spring), out=tmp_path / "relax", steps=5, fmax=1e-9)
    assert result.energy_ev == pytest.approx(bare(result.atoms).get_potential_energy())
    together = result.energy_ev + result.constraint_energy_ev
    assert result.atoms.get_potential_energy() == pytest.approx(together)
    run = md(copper(spring), ensemble="nve", temperature_k=100, steps=10, out=tmp_path / "md")
    table = dict(zip(run.columns, run.stats[-1], strict=True))
    assert run.atoms.get_potential_energy() == pytest.approx(table["epot_eV"])
    for path in ("relax/opt.extxyz", "relax/traj.extxyz", "md/traj.extxyz", "md/final.extxyz"):
        for frame in ase.io.read(tmp_path / path, ":"):
            check_pair(frame)


@pytest.mark.parametrize("spring", SPRINGS, ids=["Hookean", "ExternalForce", "Hookean-point"])
def test_springs_are_part_of_the_energy_that_dynamics_conserve(spring: object) -> None:
    run = md(copper(spring), ensemble="nve", temperature_k=100, steps=60, stats_every=1, guard=False)
    total = run.stats[:, run.columns.index("etot_eV")]
    potential = run.stats[:, run.columns.index("epot_eV")]
    assert np.ptp(total) < 0.05 * np.ptp(potential)


@pytest.mark.capability("C5")
@pytest.mark.parametrize("constraint", [FixAtoms([0, 2]), FixCartesian([1], (True, False, True))], ids=str)
def test_constraints_that_extxyz_knows_are_in_every_file(constraint: object, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", JMPWarning)
        relax(copper(constraint), out=tmp_path / "relax")
        md(copper(constraint), ensemble="nvt", steps=10, out=tmp_path / "md")
    wanted = copper(constraint).get_forces()
    for path in ("relax/opt.extxyz", "relax/traj.extxyz", "md/traj.extxyz", "md/final.extxyz"):
        frame = ase.io.read(tmp_path / path, 0)
        frame.calc, frame.positions = EMT(), copper().positions
        assert frame.get_forces() == pytest.approx(wanted), path


@pytest.mark.parametrize(
    "constraint",
    [FixedPlane([0], (0, 0, 1)), FixedLine([1, 2], (1, 0, 0)), FixBondLength(0, 1), SPRINGS[0], SPRINGS[1]],
    ids=lambda constraint: type(constraint).__name__,
)
def test_constraints_that_extxyz_does_not_know_are_told(constraint: object, tmp_path: Path) -> None:
    name = type(constraint).__name__.removesuffix("s")
    with pytest.warns(JMPWarning, match=f"cannot hold {name}"):
        relax(copper(constraint, FixAtoms([3])), steps=3, out=tmp_path / "relax")
    with pytest.warns(JMPWarning, match=f"cannot hold {name}"):
        md(copper(constraint, FixAtoms([3])), ensemble="nve", steps=3, out=tmp_path / "md")
    kept = ase.io.read(tmp_path / "md/traj.extxyz").constraints
    assert [type(constraint).__name__ for constraint in kept] == ["FixAtoms"]
    with warnings.catch_warnings():
        warnings.simplefilter("error", JMPWarning)  # no file, nothing lost
        relax(copper(constraint), steps=3)


@pytest.mark.parametrize(
    "constraints",
    [
        [FixAtoms(range(8))],
        [FixAtoms(range(4)), FixAtoms(range(4, 8))],
        [FixCartesian(range(8))],
        [FixedPlane(range(8), (0, 0, 1)), FixCartesian(range(8), (True, True, False))],
    ],
    ids=["all", "in two parts", "by components", "plane and line"],
)
def test_what_cannot_move_is_said(constraints: list[object]) -> None:
    for ensemble in ("nve", "nvt"):
        with pytest.raises(UsageError, match="Every atom is fixed"):
            md(copper(*constraints), ensemble=ensemble, steps=2)
    with pytest.warns(JMPWarning, match="every atom is fixed"):
        assert relax(copper(*constraints)).n_steps == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error", JMPWarning)
        relax(copper(FixAtoms(range(8))), cell="volume", fmax=0.1)  # the cell may


def test_a_constraint_without_known_degrees_of_freedom_is_a_sentence() -> None:
    with pytest.raises(UsageError, match="MirrorForce cannot be used in dynamics"):
        md(copper(MirrorForce(0, 1)), ensemble="nve", steps=2)


def test_a_symmetry_that_exchanges_fixed_and_free_atoms_is_refused() -> None:
    """Kept nevertheless, the free side of a slab pulls its fixed image along."""
    slab = fcc111("Cu", (1, 1, 5), vacuum=8.0, a=3.75, periodic=True)
    slab.calc = EMT()
    slab.set_constraint(FixAtoms([0, 1]))
    with pytest.raises(UsageError, match="contradict each other.*FixAtoms, FixSymmetry"):
        relax(slab, fix_symmetry=True)
    slab.set_constraint(FixAtoms([0, 4]))
    result = relax(slab, fix_symmetry=True, fmax=0.05)
    assert result.converged
    assert result.atoms.positions[[0, 4]] == pytest.approx(slab.positions[[0, 4]], abs=1e-9)


def test_a_bond_to_a_fixed_atom_is_refused() -> None:
    with pytest.raises(UsageError, match="contradict each other.*FixAtoms, FixBondLengths"):
        relax(copper(FixAtoms([0]), FixBondLength(0, 1)))
    assert relax(copper(FixAtoms([0]), FixBondLength(1, 2)), fmax=0.1).step >= 0
