"""An imaginary mode is followed to the structure below it, or said to lead nowhere."""

from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.morse import MorsePotential

from jmp_calc import phonons
from jmp_calc.errors import JMPWarning
from jmp_calc.workflows.phonon.follow import follow, holding
from tests.workflows.conftest import morse

QUICK = {"band_points": 5, "tmax": 310.0, "plot": False}
R0, EPSILON, SPACING = 2.6, 0.34, 2.45


@pytest.fixture
def squeezed() -> Atoms:
    """A chain of bonds between neighbours only that are too short: it buckles."""
    atoms = Atoms("Cu", pbc=(True, False, False), cell=[SPACING, 0, 0])
    atoms.calc = MorsePotential(epsilon=EPSILON, r0=R0, rho0=3.8, rcut1=1.5, rcut2=1.8)
    return atoms


@pytest.mark.capability("D11")
@pytest.mark.filterwarnings("ignore:the cell is strained", "ignore:.*modes are imaginary")
def test_a_squeezed_chain_becomes_the_zigzag_of_relaxed_bonds(squeezed: Atoms, tmp_path: Path) -> None:
    result = phonons(squeezed, supercell="4 1 1", mesh="4 1 1", follow_imaginary=True, out=tmp_path, **QUICK)
    found = result.followed
    assert found is not None
    assert found.is_lower
    assert found.qpoint == (0.5, 0.0, 0.0)
    assert found.cells == len(found.atoms) == 2
    assert found.atoms.get_distance(0, 1) == pytest.approx(R0, abs=1e-3)
    assert found.atoms.cell[0, 0] == pytest.approx(2 * SPACING)
    before = EPSILON * ((stretch := np.exp(3.8 * (1 - SPACING / R0))) ** 2 - 2 * stretch)
    assert found.gain_ev_per_atom == pytest.approx(before + EPSILON, rel=1e-3)
    said = result.to_dict()["followed"]
    assert said["lower"]
    assert said["converged"]
    assert "meV/atom lower, to a structure of 2 atoms" in str(found)
    stored = ase.io.read(tmp_path / "followed.extxyz")
    assert stored.get_potential_energy() == pytest.approx(-2 * EPSILON, abs=1e-4)


@pytest.mark.filterwarnings("ignore:the cell is strained", "ignore:.*modes are imaginary")
def test_atoms_keep_what_is_theirs_down_the_mode(squeezed: Atoms) -> None:
    """Cells of two kinds of atoms, given in an order that is not phonopy's."""
    atoms = squeezed.repeat((3, 1, 1))
    atoms.set_masses([70.0, 10.0, 70.0])
    atoms.set_tags([1, 2, 1])
    atoms.calc = squeezed.calc
    found = phonons(atoms, supercell="2 1 1", mesh="2 1 1", follow_imaginary=True, **QUICK).followed
    assert found is not None
    assert found.is_lower
    assert [{1: 70.0, 2: 10.0}[tag] for tag in found.atoms.get_tags()] == found.atoms.get_masses().tolist()
    assert found.atoms.get_potential_energy() / len(found.atoms) == pytest.approx(-EPSILON, abs=2e-3)


def test_without_imaginary_modes_nothing_is_followed() -> None:
    atoms = bulk("Cu", "fcc", a=3.302)
    atoms.calc = morse()
    result = phonons(atoms, supercell="2 2 2", mesh="2 2 2", follow_imaginary=True, **QUICK)
    assert result.followed is None
    assert "followed" not in result.to_dict()


def test_a_mode_of_wrong_force_constants_leads_nowhere() -> None:
    atoms = bulk("Cu", "fcc", a=3.302)
    atoms.calc = morse()
    result = phonons(atoms, supercell="2 2 2", mesh="2 2 2", **QUICK)
    result.phonopy.force_constants = -result.phonopy.force_constants
    found = follow(result.phonopy, atoms, np.ones(3, dtype=bool), result.settings)
    assert found is not None
    assert not found.is_lower
    assert found.gain_ev_per_atom == 0.0
    assert found.atoms.get_potential_energy() / len(found.atoms) == pytest.approx(
        atoms.get_potential_energy(), abs=1e-6
    )
    assert "leads to no lower energy" in str(found)


@pytest.mark.filterwarnings("ignore:the cell is strained", "ignore:.*modes are imaginary")
def test_a_relaxation_that_ends_early_keeps_the_phonons(squeezed: Atoms) -> None:
    settings = {"supercell": "2 1 1", "mesh": "2 1 1", "relax": False, "relax_steps": 1}
    with pytest.warns(JMPWarning, match="down the imaginary mode is not relaxed"):
        found = phonons(squeezed, follow_imaginary=True, **settings, **QUICK).followed
    assert found is not None
    assert not found.converged


@pytest.mark.parametrize(
    "q, n_cells",
    [
        ((0, 0, 0), 1),
        ((0.5, 0, 0), 2),
        ((0.5, 0.5, 0.5), 2),
        ((0.5, 0, 0.5), 2),
        ((1 / 3, 1 / 3, 0), 3),
        ((0.25, 0, 0.75), 4),
        ((0.5, 1 / 3, 0), 6),
        ((-0.5, 0.5, 1.0), 2),
    ],
)
def test_the_smallest_cell_that_holds_a_wave_is_found(q: tuple[float, float, float], n_cells: int) -> None:
    vectors = bulk("Cu", "fcc", a=3.6).cell.array
    cell = holding(np.array(q), vectors, np.ones(3, dtype=bool))
    assert round(np.linalg.det(cell)) == n_cells
    phases = cell @ q
    assert phases == pytest.approx(np.rint(phases), abs=1e-9)


def test_open_directions_stay_as_they_are() -> None:
    layer = np.array([[2.5, 0, 0], [-1.25, 2.165, 0], [0, 0, 30.0]])
    cell = holding(np.array([1 / 3, 1 / 3, 0]), layer, np.array([True, True, False]))
    assert cell[2].tolist() == [0, 0, 1]
    assert cell[:2, 2].tolist() == [0, 0]
