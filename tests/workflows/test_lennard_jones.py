"""A Lennard-Jones crystal, whose lattice constant, bulk modulus, elastic constants and frequencies are sums.

Of a crystal of pairs at rest, C_ijkl = Σ (φ''/r² − φ'/r³) r_i r_j r_k r_l / 2V, so that C12 = C44 (Cauchy).
"""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.lj import LennardJones
from scipy.optimize import brentq

from jmp_calc import elastic, eos, vib
from jmp_calc.units import CM1_PER_EV, EV_PER_FREQUENCY, GPA_PER_EV_A3

EPSILON, SIGMA, CUTOFF = 0.0104, 3.40, 7.9
"""Argon; the cutoff lies between two shells of neighbours, so that small strains carry none across."""


def slope(r: np.ndarray) -> np.ndarray:
    return 4 * EPSILON * (-12 * SIGMA**12 / r**13 + 6 * SIGMA**6 / r**7)


def curvature(r: np.ndarray) -> np.ndarray:
    return 4 * EPSILON * (156 * SIGMA**12 / r**14 - 42 * SIGMA**6 / r**8)


def pairs(a: float) -> np.ndarray:
    """Vectors (n, 3) from an atom of the fcc crystal to its neighbours within the cutoff."""
    grid = np.stack(np.meshgrid(*[np.arange(-8, 9)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    vectors = grid[(grid.sum(axis=1) % 2 == 0) & grid.any(axis=1)] * a / 2
    return vectors[np.linalg.norm(vectors, axis=1) < CUTOFF]


def tensor(a: float) -> np.ndarray:
    """C_ijkl (3, 3, 3, 3), GPa."""
    vectors = pairs(a)
    r = np.linalg.norm(vectors, axis=1)
    weight = curvature(r) / r**2 - slope(r) / r**3
    return np.einsum("n,ni,nj,nk,nl->ijkl", weight, *[vectors] * 4) / (2 * a**3 / 4) * GPA_PER_EV_A3


def virial(a: float) -> float:
    r = np.linalg.norm(pairs(a), axis=1)
    return float((slope(r) * r).sum())


@pytest.fixture(scope="module")
def constant() -> float:
    """At which the virial vanishes."""
    return float(brentq(virial, 5.1, 5.5))


@pytest.fixture
def argon(constant: float) -> Atoms:
    atoms = bulk("Ar", "fcc", a=constant)
    atoms.calc = LennardJones(epsilon=EPSILON, sigma=SIGMA, rc=CUTOFF)
    return atoms


def test_no_shell_of_neighbours_crosses_the_cutoff(constant: float) -> None:
    for strain in (-0.02, 0.02):
        assert len(pairs(constant * (1 + strain))) == len(pairs(constant))


def test_elastic_constants_are_the_sums_over_pairs(argon: Atoms, constant: float) -> None:
    found = elastic(argon, max_strain=0.001).tensor.constants_gpa
    exact = tensor(constant)
    for (i, j), value in (
        ((0, 0), exact[0, 0, 0, 0]),
        ((0, 1), exact[0, 0, 1, 1]),
        ((3, 3), exact[1, 2, 1, 2]),
    ):
        assert found[i, j] == pytest.approx(value, rel=1e-3)
    assert found[0, 1] == pytest.approx(found[3, 3], rel=1e-3)  # Cauchy


def test_the_equation_of_state_finds_its_minimum_and_bulk_modulus(argon: Atoms, constant: float) -> None:
    result = eos(argon, min_volume=0.97, max_volume=1.03, n_volumes=9, relax="none")
    exact = tensor(constant)
    assert result.fit is not None
    assert result.fit.volume_a3 == pytest.approx(constant**3 / 4, rel=1e-4)
    modulus = (exact[0, 0, 0, 0] + 2 * exact[0, 0, 1, 1]) / 3
    assert result.fit.bulk_modulus_gpa == pytest.approx(modulus, rel=5e-3)


def test_a_zone_boundary_mode_is_the_stiffness_between_its_sublattices(argon: Atoms, constant: float) -> None:
    """Of the cubic cell's four sublattices, X folds to Γ: planes that alternate along an axis."""
    cubic = bulk("Ar", "fcc", a=constant, cubic=True)
    result = vib(cubic, calc=argon.calc, thermo="none")
    vectors = pairs(constant)
    r = np.linalg.norm(vectors, axis=1)
    unit = vectors / r[:, None]
    along = curvature(r) * unit[:, 2] ** 2 + slope(r) / r * (1 - unit[:, 2] ** 2)
    odd = np.rint(2 * vectors[:, 2] / constant).astype(int) % 2 == 1
    stiffness = 2 * along[odd].sum()  # planes against their neighbours: each pair is stretched twice
    longitudinal = np.sqrt(stiffness / cubic.get_masses()[0]) * EV_PER_FREQUENCY * CM1_PER_EV
    assert result.frequencies_cm1.max() == pytest.approx(longitudinal, rel=1e-3)
