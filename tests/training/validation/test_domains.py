"""What structures are, and errors of each kind of them beside the size of the forces."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule

from jmp_calc.model.config import Domain
from jmp_calc.training.data.frame import Frame
from jmp_calc.training.validation.domains import correlation, domain_errors, domain_of, in_order
from jmp_calc.training.validation.metrics import Predictions


def frame(atoms: Atoms) -> Frame:
    pbc = np.array(atoms.pbc)
    return Frame(
        atoms.numbers, atoms.positions, atoms.cell.array, pbc, None, None, None, "default", "memory", 0
    )


def boxed(pbc: object) -> Atoms:
    atoms = molecule("CH4")
    atoms.center(vacuum=4.0)
    atoms.pbc = pbc
    return atoms


@pytest.mark.parametrize(
    ("atoms", "domain"),
    [
        (molecule("CH4"), "molecules"),
        (boxed(False), "molecules"),
        (boxed(True), "molecules"),
        (boxed((True, False, False)), "molecules"),
        (bulk("Si"), "crystals"),
        (bulk("Cu", cubic=True) * (3, 3, 3), "crystals"),
        (fcc111("Al", (1, 1, 3), vacuum=6.0), "surfaces"),
        (fcc111("Al", (1, 1, 3), vacuum=6.0, periodic=True), "surfaces"),
    ],
)
def test_domains_follow_from_cell_and_vacuum(atoms: Atoms, domain: Domain) -> None:
    assert domain_of(frame(atoms)) == domain


def test_domains_have_one_order() -> None:
    assert in_order(["surfaces", "molecules", "surfaces"]) == ("molecules", "surfaces")


def predictions(n_atoms: list[int], seed: int = 0) -> Predictions:
    rng = np.random.default_rng(seed)
    count, atoms = len(n_atoms), sum(n_atoms)
    nothing, true = np.full(count, np.nan), rng.normal(size=(atoms, 3))
    return Predictions(
        n_atoms=np.array(n_atoms),
        energy=np.arange(count) + 0.1,
        energy_true=np.arange(count, dtype=float),
        forces=true + 0.1 * rng.normal(size=(atoms, 3)),
        forces_true=true,
        stress=np.full((count, 3, 3), np.nan),
        stress_true=np.full((count, 3, 3), np.nan),
        scalar=nothing,
        scalar_true=nothing,
        chosen=nothing,
        chosen_true=nothing,
        vector=np.full((count, 3), np.nan),
        vector_true=np.full((count, 3), np.nan),
    )


def test_errors_of_a_domain_are_those_of_its_structures() -> None:
    found = predictions([2, 4, 5])
    molecules, crystals = domain_errors(found, ["molecules", "crystals", "molecules"])
    rows = np.r_[0:2, 6:11]
    error = np.abs(found.forces - found.forces_true)[rows].mean()
    assert (molecules.domain, molecules.frames, crystals.frames) == ("molecules", 2, 1)
    assert molecules.forces_mae_mev_per_a == pytest.approx(1e3 * error, rel=1e-4)
    assert molecules.mean_force_mev_per_a == pytest.approx(
        1e3 * np.abs(found.forces_true[rows]).mean(), rel=1e-4
    )
    expected = np.corrcoef(found.forces[rows].ravel(), found.forces_true[rows].ravel())[0, 1]
    assert molecules.forces_correlation == pytest.approx(expected, rel=1e-4)
    assert molecules.energy_mae_mev_per_atom == pytest.approx(1e3 * (0.1 / 2 + 0.1 / 5) / 2, rel=1e-4)
    assert crystals.energy_mae_mev_per_atom == pytest.approx(25.0, rel=1e-4)


def test_a_network_that_says_zero_has_an_error_of_the_mean_force_and_no_correlation() -> None:
    found = predictions([3, 3])
    zero = dataclasses.replace(found, forces=np.zeros((6, 3)))
    (errors,) = domain_errors(zero, ["crystals"] * 2)
    assert errors.forces_mae_mev_per_a == errors.mean_force_mev_per_a
    assert errors.forces_correlation is None


def test_frames_without_forces_and_broken_predictions_do_not_count() -> None:
    found = predictions([2, 3, 4])
    found.forces_true[:2] = np.nan
    found.energy_true[1] = np.nan
    (errors,) = domain_errors(found, ["crystals"] * 3)
    assert errors.frames == 2
    assert errors.energy_mae_mev_per_atom == pytest.approx(1e3 * (0.1 / 2 + 0.1 / 4) / 2, rel=1e-4)
    found.forces[8] = np.nan
    assert [item.domain for item in domain_errors(found, ["crystals", "molecules", "crystals"])] == [
        "molecules"
    ]


def test_correlation_of_what_does_not_vary_is_none() -> None:
    assert correlation(np.zeros(5), np.arange(5.0)) is None
    assert correlation(np.arange(1.0), np.arange(1.0)) is None
    assert correlation(np.arange(5.0), -np.arange(5.0)) == -1.0
