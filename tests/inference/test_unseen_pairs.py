"""A head that knows two elements, but not side by side, says so once and computes."""

from __future__ import annotations

import copy
import pickle
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from jmp_calc import JMPCalculator
from jmp_calc.errors import JMPWarning
from tests.small_network import ANY, CHON, ModelFactory

METHANE = {"H-H": 1.7, "H-C": 1.0}


@pytest.fixture(scope="module")
def metals(make_model: ModelFactory) -> Path:
    """Cu and O in the metal and in the molecule, and a head that does not know its pairs."""
    head = replace(ANY, elements=(1, 6, 8, 29), pairs={"Cu-Cu": 2.4, "O-O": 1.1, **METHANE})
    return make_model(heads=(head, replace(CHON, direct_forces=False)), default="materials")


def calculator(path: Path, head: str | None = None, elements: str = "trained") -> JMPCalculator:
    return JMPCalculator(path, head=head, device="cpu", dtype="float64", elements=elements)  # type: ignore[arg-type]


def test_neighbours_that_the_data_have_not_are_told_once_with_their_atoms(metals: Path) -> None:
    calc = calculator(metals)
    oxide = bulk("CuO", "rocksalt", a=4.2)
    with pytest.warns(
        JMPWarning, match=r"no neighbours O-Cu \(atoms \d \w+ and \d \w+\): .* a guess"
    ) as told:
        energy = calc.get_potential_energy(oxide)
    assert np.isfinite(energy) and len(told) == 1
    oxide.rattle(0.01, seed=0)
    calc.get_potential_energy(oxide)  # a second warning would be an error here
    copy.copy(calc).get_potential_energy(oxide)
    with pytest.warns(JMPWarning, match="O-Cu"):
        calculator(metals).get_potential_energy(oxide)


def test_another_pair_is_told_when_it_comes(metals: Path) -> None:
    calc = calculator(metals)
    with pytest.warns(JMPWarning, match="O-Cu"):
        calc.get_potential_energy(bulk("CuO", "rocksalt", a=4.2))
    with pytest.warns(JMPWarning, match=r"H-O \(atoms 1 H and 0 O\)|H-O \(atoms 0 O and 1 H\)"):
        calc.get_potential_energy(molecule("H2O"))


def test_a_screening_over_many_compounds_is_not_full_of_warnings(metals: Path) -> None:
    calc = calculator(metals)
    chains = [Atoms(pair, positions=[[0, 0, 0], [0, 0, 1.9]]) for pair in ("CuO", "CuC", "CuH", "CO", "OH")]
    with pytest.warns(JMPWarning, match="no neighbours") as told:
        assert all(np.isfinite([calc.get_potential_energy(atoms) for atoms in chains]))
    assert len(told) == 3
    assert [str(one.message).count("further pairs are not told") for one in told] == [0, 0, 1]


def test_known_neighbours_and_distant_strangers_are_not_told(metals: Path) -> None:
    calc = calculator(metals)
    apart = Atoms("CuO", positions=[[0, 0, 0], [0, 0, 9.0]])
    for atoms in (bulk("Cu"), molecule("O2"), molecule("CH4"), apart, Atoms("Cu")):
        calc.get_potential_energy(atoms)


def test_a_head_that_does_not_know_its_pairs_says_nothing(metals: Path) -> None:
    calculator(metals, head="organic").get_potential_energy(molecule("CH3CH2OH"))


def test_elements_that_the_head_does_not_cover_are_told_as_such_alone(metals: Path) -> None:
    with pytest.warns(JMPWarning) as told:
        calculator(metals, elements="any").get_potential_energy(bulk("CuZn", "cesiumchloride", a=3.0))
    assert len(told) == 1 and "was not trained on Zn" in str(told[0].message)


def test_many_pairs_are_counted(metals: Path) -> None:
    mixed = Atoms("CuOHC", positions=[[0, 0, 0], [2, 0, 0], [0, 2, 0], [0, 0, 2]])
    with pytest.warns(JMPWarning, match="and 2 more pairs"):
        calculator(metals).get_potential_energy(mixed)


def test_batches_and_pickles_tell_too(metals: Path) -> None:
    calc = pickle.loads(pickle.dumps(calculator(metals)))
    with pytest.warns(JMPWarning, match="O-Cu") as told:
        calc.batch([bulk("Cu"), bulk("CuO", "rocksalt", a=4.2), bulk("CuO", "rocksalt", a=4.3)])
    assert len(told) == 1


def test_descriptors_are_of_no_head(metals: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        calculator(metals).descriptors(bulk("CuO", "rocksalt", a=4.2))
