"""Units and signs that the labels themselves do not contradict, and single frames, are told and named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.optimize import BFGS, FIRE
from ase.optimize.optimize import Optimizer

from jmp_calc.training.audit.agreement import check_agreement
from jmp_calc.training.audit.causes import cause_of_scale, cause_of_stress, cause_of_work
from jmp_calc.training.audit.outliers import check_frames
from jmp_calc.training.data.frame import Frame
from jmp_calc.units import unit_factor
from tests.training.helpers.md_frames import frame_of, molecule_md, nve, scaled, strained_copper

MOLECULES = molecule_md(48)
CRYSTALS = strained_copper(30)


def breathing(stress: bool, count: int = 24) -> tuple[Frame, ...]:
    """As in NPT dynamics: a little strain and much vibration."""
    rng = np.random.default_rng(1)
    frames = []
    for index in range(count):
        atoms = bulk("Ag", a=4.09 * (1 + 0.004 * np.sin(index)), cubic=True)
        atoms.positions += 0.08 * rng.normal(size=(4, 3))
        atoms.calc = EMT()
        frame = frame_of(atoms, index)
        frames.append(frame if stress else replace(frame, stress=None))
    return tuple(frames)


def vibrating(count: int = 20) -> tuple[Frame, ...]:
    """In one cell: energies say nothing of the stress."""
    rng = np.random.default_rng(2)
    frames = []
    for index in range(count):
        atoms = bulk("Al", cubic=True) * (2, 1, 1)
        atoms.positions += 0.08 * rng.normal(size=(8, 3))
        atoms.calc = EMT()
        frames.append(frame_of(atoms, index))
    return tuple(frames)


NPT, NPT_BARE, NVT = breathing(stress=True), breathing(stress=False), vibrating()
NVE = nve(bulk("Al", cubic=True) * (2, 1, 1), 600, timestep_fs=4.0, every=2, count=40, seed=3)


@pytest.mark.parametrize("frames", [MOLECULES, CRYSTALS, NPT, NPT_BARE, NVT, NVE])
def test_right_labels_pass_without_a_word(frames: tuple[Frame, ...]) -> None:
    assert check_agreement(frames) == []
    assert check_frames(frames) == []


@pytest.mark.parametrize("frames", [NPT, NPT_BARE, NVT, MOLECULES])
def test_gradients_are_told_where_cells_change_too(frames: tuple[Frame, ...]) -> None:
    (found,) = check_agreement(scaled(frames, forces=-1.0))
    assert found.code == "forces_disagree"
    assert "gradients" in found.hint


@pytest.mark.parametrize("frames", [NPT_BARE, CRYSTALS, MOLECULES])
@pytest.mark.parametrize("unit", ["hartree", "rydberg", "kcal/mol", "kJ/mol"])
def test_energies_and_forces_both_in_another_unit_are_told(frames: tuple[Frame, ...], unit: str) -> None:
    factor = 1.0 / unit_factor(unit, "energy")
    found = check_agreement(scaled(frames, energy=factor, forces=factor, stress=factor))
    assert found[0].code == "energy_unit"
    assert unit in found[0].hint


@pytest.mark.parametrize(("unit", "sign"), [("eV/angstrom^3", -1.0), ("GPa", 1.0), ("kbar", -1.0)])
def test_stress_in_one_cell_is_told_by_the_forces(unit: str, sign: float) -> None:
    (found,) = check_agreement(scaled(NVT, stress=sign / unit_factor(unit, "stress")))
    assert found.code == "stress_disagrees"
    assert ("--stress-sign pressure" in found.hint) == (sign < 0)
    assert f"--stress-unit {unit}" in found.hint or unit.startswith("eV")


@pytest.mark.parametrize("frames", [MOLECULES, NPT, NVT])
@pytest.mark.parametrize("factor", [30.0, -30.0])
def test_one_frame_with_forces_of_another_size_is_named(frames: tuple[Frame, ...], factor: float) -> None:
    one = tuple(replace(f, forces=factor * f.forces) if f.index == 7 else f for f in frames)
    (found,) = check_frames(one)
    assert found.where.endswith("frames 7")


@pytest.mark.parametrize("factor", [-30.0, -1.0, 0.0, 0.02, 0.1, 10.0])
@pytest.mark.parametrize("index", [7, 20, 33])
def test_one_frame_that_the_others_of_its_trajectory_contradict_is_named(index: int, factor: float) -> None:
    one = tuple(replace(f, forces=factor * f.forces) if f.index == index else f for f in NVE)
    (found,) = check_frames(one)
    assert found.where.endswith(f"frames {index}")


@pytest.mark.parametrize("optimizer", [BFGS, FIRE])
def test_a_relaxation_from_large_forces_to_none_passes_without_a_word(optimizer: type[Optimizer]) -> None:
    atoms = bulk("Cu", cubic=True) * (2, 1, 1)
    atoms.rattle(0.35, seed=4)
    atoms.calc = EMT()
    frames: list[Frame] = []
    with optimizer(atoms, logfile=None) as relaxation:
        for _ in relaxation.irun(fmax=1e-3, steps=60):
            frames.append(frame_of(atoms, len(frames)))
    sizes = [float(np.abs(frame.forces).max()) for frame in frames if frame.forces is not None]
    assert sizes[0] > 100 * sizes[-1]
    assert check_frames(frames) == []


def test_a_group_of_frames_in_another_unit_is_named() -> None:
    other = scaled(tuple(replace(f, group="old", source="old.xyz") for f in MOLECULES), forces=-1.0)
    found = check_agreement((*molecule_md(60, seed=3), *molecule_md(60, seed=4), *other[:30]))
    assert any("old.xyz" in item.where or "gradients" in item.hint for item in found)


def test_causes_name_the_options_that_declare_them() -> None:
    hartree_bohr = unit_factor("hartree/bohr", "forces")
    both = cause_of_work(hartree_bohr / unit_factor("hartree", "energy"), 1.0 / hartree_bohr)
    assert both is not None and both.action.endswith("--energy-unit hartree --forces-unit hartree/bohr")
    assert cause_of_work(1.05) is None and cause_of_scale(1.7) is None and cause_of_stress(1.1) is None
