"""Random displacements with symfc give the phonons of single ones."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from jmp_calc import phonons
from jmp_calc.errors import UsageError
from tests.workflows.conftest import morse

QUICK = {"supercell": "2 2 2", "mesh": "2 2 2", "band_points": 5, "tmax": 310.0, "relax": False, "fmax": 1e-3}


@pytest.fixture
def isotopes() -> Atoms:
    """Cubic copper with one light atom: two kinds that are not equivalent."""
    atoms = bulk("Cu", "fcc", a=3.302, cubic=True)
    atoms.set_masses([64.0, 64.0, 20.0, 64.0])
    atoms.calc = morse()
    return atoms


@pytest.mark.parametrize("number", ["auto", 6])
def test_they_give_the_same_frequencies(isotopes: Atoms, number: str | int) -> None:
    single = phonons(isotopes, **QUICK, displacement=0.002)
    fitted = phonons(isotopes, **QUICK, displacement=0.002, random_displacements=number)
    assert fitted.frequencies_thz == pytest.approx(single.frequencies_thz, abs=0.02)
    assert single.missed_share is None
    assert fitted.missed_share is not None
    assert 0 < fitted.missed_share < 0.05
    if number != "auto":
        assert fitted.n_displacements == number


def test_a_seed_repeats_them(isotopes: Atoms) -> None:
    first, same, other = (
        phonons(isotopes, **QUICK, random_displacements="auto", seed=seed) for seed in (1, 1, 2)
    )
    assert np.array_equal(first.frequencies_thz, same.frequencies_thz)
    assert not np.array_equal(first.frequencies_thz, other.frequencies_thz)


def test_larger_ones_are_less_harmonic(isotopes: Atoms) -> None:
    missed = [
        phonons(isotopes, **QUICK, random_displacements=6, displacement=d).missed_share for d in (0.01, 0.1)
    ]
    assert missed[0] is not None and missed[1] is not None
    assert missed[1] > 3 * missed[0]


@pytest.mark.parametrize("wrong", [-1, "many", "2.5", "", 2.5])
def test_numbers_that_are_none_are_refused(isotopes: Atoms, wrong: object) -> None:
    with pytest.raises(UsageError, match="a whole number or (auto|text)"):
        phonons(isotopes, **QUICK, random_displacements=wrong)


def test_too_few_are_refused() -> None:
    """A crystal without symmetry has many force constants."""
    atoms = bulk("Cu", "fcc", a=3.302, cubic=True)
    atoms.set_masses([61.0, 62.0, 63.0, 64.0])
    atoms.rattle(0.05, seed=0)
    atoms.calc = morse()
    with pytest.raises(UsageError, match="do not determine the force constants"):
        phonons(atoms, **{**QUICK, "fmax": 100.0, "supercell": "1 1 1"}, random_displacements=1)
