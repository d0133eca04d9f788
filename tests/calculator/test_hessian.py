"""The Hessian by automatic differentiation against finite differences of forces, and what it refuses."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import PropertyNotImplementedError
from ase.vibrations import VibrationsData

from jmp_calc import JMPCalculator
from jmp_calc.errors import UsageError


def differences(calc: JMPCalculator, atoms: Atoms, step: float = 1e-4) -> np.ndarray:
    """-dF/dx (3N, 3N) by central differences, eV/Å²."""
    moved = []
    for i in range(3 * len(atoms)):
        for sign in (1, -1):
            moved.append(atoms.copy())
            moved[-1].positions.flat[i] += sign * step
    forces = [results["forces"].ravel() for results in calc.batch(moved, ["forces"])]
    return -(np.array(forces[::2]) - np.array(forces[1::2])) / (2 * step)


@pytest.mark.capability("A7")
@pytest.mark.parametrize("name", ["ethanol", "salt"])
def test_it_is_the_derivative_of_the_forces(
    calc: JMPCalculator, name: str, request: pytest.FixtureRequest
) -> None:
    atoms = request.getfixturevalue(name)
    found = calc.get_hessian(atoms)
    assert found.matrix.shape == (len(atoms), 3, len(atoms), 3)
    assert np.array_equal(found.square, found.square.T)
    assert found.asymmetry < 1e-10 * np.abs(found.matrix).max()
    assert found.square == pytest.approx(differences(calc, atoms), abs=2e-6)
    # moving all atoms costs nothing
    assert np.abs(found.matrix.sum(axis=2)).max() < 1e-10


def test_a_part_is_the_block_of_the_whole(calc: JMPCalculator, ethanol: Atoms) -> None:
    whole, part = calc.get_hessian(ethanol), calc.get_hessian(ethanol, indices=[4, -1, 0])
    chosen = [4, 8, 0]
    assert part.indices.tolist() == chosen
    assert part.matrix == pytest.approx(whole.matrix[np.ix_(chosen, range(3), chosen, range(3))], abs=1e-12)
    VibrationsData(ethanol, part.matrix, indices=part.indices)  # takes its shape


@pytest.mark.parametrize("plan", ["on", "off"])
def test_it_does_not_depend_on_the_memory_plan_or_single_precision(
    model_path: Path, calc: JMPCalculator, plan: str
) -> None:
    atoms, wanted = molecule("H2O"), calc.get_hessian(molecule("H2O"))
    other = JMPCalculator(model_path, device="cpu", dtype="float64", activation_checkpointing=plan)
    assert other.get_hessian(atoms).matrix == pytest.approx(wanted.matrix, abs=1e-12)
    if plan == "off":
        single = JMPCalculator(model_path, device="cpu", dtype="float32").get_hessian(atoms)
        scale = np.abs(wanted.matrix).max()
        assert np.abs(single.matrix - wanted.matrix).max() < 1e-4 * scale
        assert 0 < single.asymmetry < 1e-4 * scale


def test_the_cache_stays_and_the_last_structure_is_the_default(calc: JMPCalculator, ethanol: Atoms) -> None:
    with pytest.raises(UsageError, match="without atoms"):
        calc.get_hessian()
    ethanol.calc = calc
    energy = ethanol.get_potential_energy()
    other = calc.get_hessian(molecule("H2O"))
    assert len(other.indices) == 3
    assert calc.results["energy"] == energy and len(calc.atoms) == len(ethanol)
    assert calc.get_hessian(indices=[0]).matrix.shape == (1, 3, 1, 3)


def test_lone_atoms_have_none(calc: JMPCalculator) -> None:
    found = calc.get_hessian(Atoms("HO", [[0, 0, 0], [0, 0, 30.0]]))
    assert not found.matrix.any() and found.asymmetry == 0


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        ([9], "no atom 9"),
        ([-10], "no atom -10"),
        ([1, 1], "twice"),
        ([0, -9], "twice"),
        ([], "list of numbers"),
        ([0.5], "list of numbers"),
        ([True] * 9, "list of numbers"),
    ],
)
def test_indices_that_are_none_are_refused(
    calc: JMPCalculator, ethanol: Atoms, indices: list, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        calc.get_hessian(ethanol, indices=indices)


def test_direct_forces_have_no_hessian(make_model) -> None:
    from tests.small_network import CHON, OFFICIAL

    path = make_model(
        policy=OFFICIAL, heads=(CHON,), default="organic", subtract_lone_atom=False, pair_repulsion=False
    )
    calc = JMPCalculator(path, device="cpu", forces="direct")
    with pytest.raises(PropertyNotImplementedError, match="direct"):
        calc.get_hessian(molecule("H2O"))


def test_it_can_be_had_inside_no_grad(calc: JMPCalculator) -> None:
    import torch

    atoms = molecule("H2O")
    with torch.no_grad():
        inside = copy.copy(calc).get_hessian(atoms)
    assert np.array_equal(inside.matrix, calc.get_hessian(atoms).matrix)
