"""Stresses of atoms as ASE knows them: intensive, in Voigt's order, only where they are asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.lj import LennardJones

from jmp_calc.calculator import JMPCalculator


@pytest.mark.capability("A5")
def test_stresses_add_up_to_the_stress(calc: JMPCalculator, salt: Atoms) -> None:
    salt.calc = calc
    stresses = salt.get_stresses()
    assert stresses.shape == (len(salt), 6)
    assert np.abs(stresses).max() > 1e-3
    np.testing.assert_allclose(stresses.sum(0), salt.get_stress(), rtol=0, atol=1e-10)
    np.testing.assert_array_equal(salt.get_stresses(voigt=False)[:, 0, 1], stresses[:, 5])


def test_the_convention_is_that_of_ase(calc: JMPCalculator, salt: Atoms) -> None:
    for calculator in (calc, LennardJones(sigma=2.5, rc=6.0)):
        salt.calc = calculator
        np.testing.assert_allclose(salt.get_stresses().sum(0), salt.get_stress(), rtol=0, atol=1e-10)


def test_stresses_of_atoms_are_computed_only_where_they_are_asked_for(
    calc: JMPCalculator, salt: Atoms, evaluations: list[int]
) -> None:
    salt.calc = calc
    forces = salt.get_forces()
    assert salt.get_stress().shape == (6,) and "stresses" not in calc.results
    assert len(evaluations) == 1
    salt.get_stresses()
    assert len(evaluations) == 2
    np.testing.assert_array_equal(salt.get_forces(), forces)
    assert len(evaluations) == 2


def test_batches_give_those_of_single_calls(calc: JMPCalculator, salt: Atoms) -> None:
    copper = bulk("Cu", cubic=True)
    copper.rattle(0.05, seed=1)
    for atoms, found in zip((salt, copper), calc.batch([salt, copper], ["stresses"]), strict=True):
        np.testing.assert_allclose(found["stresses"], calc.get_stresses(atoms), rtol=0, atol=1e-10)
    assert "stresses" not in calc.batch([salt], ["energy", "forces"])[0]


def test_a_compiled_program_leaves_them_to_the_network(
    calc: JMPCalculator, salt: Atoms, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = calc.get_stresses(salt)
    calc.reset()

    def program(_: object) -> None:
        raise AssertionError("the program was asked")

    monkeypatch.setattr(calc.evaluator, "_compiled", program)
    np.testing.assert_array_equal(calc.get_stresses(salt), expected)


def test_molecules_have_none_and_are_told_why(calc: JMPCalculator, ethanol: Atoms) -> None:
    reason = "without periodic directions"
    with pytest.raises(PropertyNotImplementedError, match=reason):
        calc.get_stresses(ethanol)
    with pytest.raises(PropertyNotImplementedError, match=f"structure 1: .*{reason}"):
        calc.batch([bulk("Cu"), ethanol], ["stresses"])


def test_direct_forces_have_none(two_heads: Path) -> None:
    calc = JMPCalculator(two_heads, head="organic", forces="direct", device="cpu")
    with pytest.raises(PropertyNotImplementedError, match="forces='direct'"):
        calc.get_stresses(Atoms("CO", [[0, 0, 0], [0, 0, 1.2]], cell=[4, 4, 4], pbc=True))
