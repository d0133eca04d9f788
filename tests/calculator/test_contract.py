"""What ASE and its users may rely on: properties, cache, copies, no side effects."""

from __future__ import annotations

import copy
import os
import pickle
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.calculators.calculator import Calculator, PropertyNotImplementedError
from ase.calculators.emt import EMT
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.io import read, write
from ase.mep import NEB

from jmp_calc.calculator import JMPCalculator
from jmp_calc.errors import ModelError, UsageError


@pytest.mark.capability("A1")
def test_forces_are_the_gradient_of_the_energy(calc: JMPCalculator, ethanol: Atoms) -> None:
    ethanol.calc = calc
    forces = ethanol.get_forces()
    numeric = calculate_numerical_forces(ethanol, eps=1e-5)
    assert np.abs(forces - numeric).max() <= 1e-6 * max(1.0, np.abs(forces).max())


def test_forces_of_a_crystal_smaller_than_the_cutoff(calc: JMPCalculator, salt: Atoms) -> None:
    salt.calc = calc
    forces = salt.get_forces()
    numeric = calculate_numerical_forces(salt, eps=1e-5)
    assert np.abs(forces).max() > 1e-3
    assert np.abs(forces - numeric).max() <= 1e-6 * max(1.0, np.abs(forces).max())


@pytest.mark.capability("A3")
def test_stress_is_the_strain_derivative(calc: JMPCalculator, salt: Atoms) -> None:
    salt.calc = calc
    stress = salt.get_stress()
    numeric = calculate_numerical_stress(salt, eps=1e-5)
    assert stress.shape == (6,)
    assert np.abs(stress).max() > 1e-3
    assert np.abs(stress - numeric).max() <= 1e-7 * max(1.0, np.abs(stress).max())


def test_stress_of_a_slab_is_per_volume_of_its_cell(calc: JMPCalculator) -> None:
    slab = fcc111("Cu", (1, 1, 3), vacuum=6.0)
    slab.pbc = [True, True, False]
    slab.rattle(0.05, seed=3)
    slab.calc = calc
    stress = slab.get_stress()
    numeric = calculate_numerical_stress(slab, eps=1e-5)
    assert np.abs(stress).max() > 1e-4
    assert np.abs(stress - numeric).max() <= 1e-7


@pytest.mark.capability("A2", "A4")
def test_energy_properties_agree(calc: JMPCalculator, ethanol: Atoms) -> None:
    ethanol.calc = calc
    energy = ethanol.get_potential_energy()
    assert isinstance(energy, float)
    assert ethanol.get_potential_energy(force_consistent=True) == energy
    energies = ethanol.get_potential_energies()
    assert energies.shape == (len(ethanol),)
    assert energies.dtype == np.float64
    assert energies.sum() == pytest.approx(energy, abs=1e-12)


@pytest.mark.parametrize("name", ["dipole", "charges", "magmom", "magmoms"])
def test_property_that_does_not_exist_lists_what_does(calc: JMPCalculator, ethanol: Atoms, name: str) -> None:
    available = "available: energy, free_energy, energies, forces, stress"
    with pytest.raises(
        PropertyNotImplementedError, match=f"{name} is not implemented by JMPCalculator; {available}"
    ):
        calc.get_property(name, ethanol)
    with pytest.raises(PropertyNotImplementedError, match=available):
        calc.calculate(ethanol, ["energy", name])


@pytest.mark.parametrize(
    "atoms, reason",
    [
        (Atoms("H2", positions=[[0, 0, 0], [0, 0, 0.8]]), "without periodic directions"),
        (Atoms("H2", positions=[[0, 0, 0], [0, 0, 0.8]], cell=[5, 5, 5]), "without periodic directions"),
        (Atoms("H", cell=[5, 5, 5], pbc=[False, True, False]), "at least two directions are periodic"),
        (Atoms("H", cell=[5, 5, 0], pbc=[True, True, False]), r"no volume \(vector c is zero\)"),
        (Atoms("H", cell=[[5, 0, 0], [0, 5, 0], [5, 5, 0]], pbc=[True, True, False]), "lie in one plane"),
    ],
    ids=["molecule", "box", "wire", "no third vector", "flat"],
)
def test_stress_that_is_not_defined_says_why(calc: JMPCalculator, atoms: Atoms, reason: str) -> None:
    with pytest.raises(PropertyNotImplementedError, match=reason):
        calc.get_stress(atoms)
    with pytest.raises(PropertyNotImplementedError, match=reason):
        calc.calculate(atoms, ["energy", "stress"])
    assert np.isfinite(calc.get_forces(atoms)).all()
    assert "stress" not in calc.results


@pytest.mark.capability("A12")
def test_cache_recomputes_exactly_when_ase_says_so(
    calc: JMPCalculator, salt: Atoms, evaluations: list[int]
) -> None:
    calc.get_forces(salt)
    reference = salt.copy()
    for move, recompute in ((0.0, False), (1e-17, False), (1e-9, True), (1e-3, True)):
        moved = reference.copy()
        moved.positions[0, 0] += move
        assert bool(Calculator.check_state(calc, moved)) == recompute
        assert calc.calculation_required(moved, ["energy"]) == recompute
        before = len(evaluations)
        calc.get_potential_energy(moved)
        assert len(evaluations) - before == int(recompute)
        calc.get_forces(reference)


@pytest.mark.capability("A12")
def test_cache_sees_cell_pbc_and_numbers_but_not_charges_it_ignores(
    calc: JMPCalculator, salt: Atoms, evaluations: list[int]
) -> None:
    energies = []
    for change in (
        lambda a: None,
        lambda a: a.set_cell(a.cell.array * 1.01),
        lambda a: a.set_pbc([True, True, False]),
        lambda a: a.set_atomic_numbers([11, 9]),
    ):
        atoms = salt.copy()
        change(atoms)
        energies.append(calc.get_potential_energy(atoms))
        fresh = copy.copy(calc)
        fresh.reset()
        assert fresh.get_potential_energy(atoms) == energies[-1]
    assert len(set(energies)) == 4
    before = len(evaluations)
    atoms.set_initial_charges([1, -1])
    calc.get_potential_energy(atoms)
    assert len(evaluations) == before


def test_forces_and_stress_come_from_one_evaluation(
    calc: JMPCalculator, salt: Atoms, evaluations: list[int]
) -> None:
    calc.get_forces(salt)
    calc.get_stress(salt)
    calc.get_potential_energy(salt)
    assert len(evaluations) == 1


@pytest.mark.capability("A13")
def test_caller_may_change_what_it_was_given(calc: JMPCalculator, salt: Atoms) -> None:
    want = {name: copy.deepcopy(calc.get_property(name, salt)) for name in ("forces", "stress", "energies")}
    for name in want:
        calc.get_property(name, salt)[:] = 99.0
    for name, value in want.items():
        np.testing.assert_array_equal(calc.get_property(name, salt), value)
    salt.positions += 0.1  # the calculator keeps its own copy of the structure
    assert calc.check_state(salt)


@pytest.mark.capability("A13")
def test_nothing_of_the_users_atoms_changes(calc: JMPCalculator, salt: Atoms) -> None:
    salt.info["note"], salt.arrays["mine"] = "kept", np.ones(2)
    salt.positions += 100.0
    before = copy.deepcopy((salt.arrays, salt.info, salt.cell.array, salt.pbc))
    calc.calculate(salt, ["energy", "forces", "stress"])
    after = (salt.arrays, salt.info, salt.cell.array, salt.pbc)
    assert before[0].keys() == after[0].keys()
    assert all(np.array_equal(before[0][key], after[0][key]) for key in before[0])
    assert before[1] == after[1]
    assert np.array_equal(before[2], after[2])
    assert salt.calc is None


@pytest.mark.capability("B3")
def test_nothing_global_changes(model_path: Path, salt: Atoms) -> None:
    properties, emt = list(Calculator.implemented_properties), list(EMT.implemented_properties)

    def state() -> tuple[object, ...]:
        return (
            torch.get_default_dtype(),
            torch.backends.cuda.matmul.allow_tf32,
            torch.get_float32_matmul_precision(),
            torch.is_grad_enabled(),
            torch.get_num_threads(),
            dict(os.environ),
            random.getstate(),
            torch.get_rng_state().tolist(),
            torch.are_deterministic_algorithms_enabled(),
            os.getcwd(),
            [str(part) for part in np.random.get_state()],
            np.geterr(),
        )

    before = state()
    for dtype in ("float32", "float64"):
        calculator = JMPCalculator(model_path, device="cpu", dtype=dtype)
        calculator.get_stress(salt)
    assert state() == before
    assert list(Calculator.implemented_properties) == properties
    assert list(EMT.implemented_properties) == emt
    assert list(JMPCalculator.implemented_properties) == [
        "energy",
        "free_energy",
        "energies",
        "forces",
        "stress",
        "stresses",
    ]


def test_images_of_a_band_may_share_one_calculator(calc: JMPCalculator) -> None:
    start, end = molecule("H2O"), molecule("H2O")
    end.rotate(60, "z")
    images = [start, start.copy(), start.copy(), end]
    for image in images:
        image.calc = calc
    band = NEB(images, allow_shared_calculator=True, method="improvedtangent")
    band.interpolate()
    shared = band.get_forces()
    for image in images:
        image.calc = copy.deepcopy(calc)
    np.testing.assert_allclose(NEB(images, method="improvedtangent").get_forces(), shared, atol=1e-10)


def test_copies_share_weights_but_not_results(calc: JMPCalculator, salt: Atoms) -> None:
    forces = calc.get_forces(salt)
    for duplicate in (copy.copy(calc), copy.deepcopy(calc)):
        assert duplicate.evaluator.potential is calc.evaluator.potential
        assert not duplicate.check_state(salt)
        np.testing.assert_array_equal(duplicate.get_forces(salt), forces)
        duplicate.results["forces"][:] = 0
        duplicate.get_potential_energy(bulk("Cu"))
        np.testing.assert_array_equal(calc.get_forces(salt), forces)
    salt.calc = calc
    assert copy.deepcopy(salt).get_potential_energy() == salt.get_potential_energy()


def test_pickle_reloads_the_same_model_and_refuses_another(
    make_model, salt: Atoms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mine.safetensors"
    path.write_bytes(make_model(seed=1).read_bytes())
    monkeypatch.chdir(tmp_path)
    calc = JMPCalculator("mine.safetensors", device="cpu", dtype="float64", cutoff=4.5)
    energy = calc.get_potential_energy(salt)
    data = pickle.dumps(calc)
    assert len(data) < 5000, "the file is referred to, not copied"
    monkeypatch.chdir("/")
    back = pickle.loads(data)
    assert back.info == calc.info
    assert not back.check_state(salt)
    back.reset()
    assert back.get_potential_energy(salt) == energy
    path.write_bytes(make_model(seed=2).read_bytes())
    with pytest.raises(ModelError, match="has changed since this calculator was pickled"):
        pickle.loads(data)


def test_todict_is_plain_and_names_the_model(
    calc: JMPCalculator, model_path: Path, salt: Atoms, tmp_path: Path
) -> None:
    assert calc.todict() == {
        "model": str(model_path),
        "device": "cpu",
        "dtype": "float64",
        "sha256": calc.info.sha256,
    }
    assert calc.todict(skip_default=False)["forces"] == "conservative"
    salt.calc = calc
    forces = salt.get_forces()
    for name in ("a.traj", "a.extxyz", "a.json", "a.db"):
        write(tmp_path / name, salt)
        np.testing.assert_allclose(read(tmp_path / name).get_forces(), forces, atol=1e-7)


def test_settings_are_fixed(calc: JMPCalculator) -> None:
    with pytest.raises(UsageError, match="Settings of a JMPCalculator are fixed"):
        calc.set(head="other")


def test_non_finite_results_are_an_error(make_model, ethanol: Atoms) -> None:
    calc = JMPCalculator(make_model(seed=4), device="cpu")
    with torch.no_grad():
        calc.evaluator.potential.heads["materials"].energy[0].weight[0, 0] = torch.inf
    with pytest.raises(ModelError, match="non-finite energy"):
        calc.get_potential_energy(ethanol)
    assert not calc.results


def test_calculate_without_atoms(calc: JMPCalculator, salt: Atoms) -> None:
    with pytest.raises(UsageError, match="without atoms"):
        calc.calculate()
    calc.calculate(salt, ["energy"])
    calc.calculate(properties=["forces"])
    assert calc.get_forces().shape == (2, 3)


def test_empty_batch_of_properties_gives_the_energy(calc: JMPCalculator, salt: Atoms) -> None:
    calc.calculate(salt, [])
    assert "energy" in calc.results
