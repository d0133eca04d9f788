"""What files say beside positions is read for every command: constraints, masses and labels of databases,
labels of numpy archives; labels in units that nobody stated are left out."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms, FixBondLength
from ase.db import connect
from ase.db.row import atoms2dict
from ase.io.jsonio import encode

from jmp_calc.errors import BadInputError, JMPWarning
from jmp_calc.io.structures import read_frames, read_structure
from tests.extras import reason


def full() -> Atoms:
    """A molecule with everything that a row can hold."""
    atoms = molecule("H2O")
    atoms.set_masses([18.0, 2.0, 2.0])
    atoms.set_tags([1, 2, 2])
    atoms.set_momenta(np.arange(9.0).reshape(3, 3))
    atoms.set_initial_charges([-0.8, 0.4, 0.4])
    atoms.set_initial_magnetic_moments([0.0, 0.0, 1.0])
    atoms.set_constraint([FixAtoms([0, 1]), FixBondLength(0, 2)])
    atoms.calc = SinglePointCalculator(
        atoms,
        energy=-2079.0,
        forces=np.arange(9.0).reshape(3, 3),
        stress=np.arange(6.0),
        dipole=[0, 0, 0.4],
        magmom=1.0,
        charges=[-0.7, 0.3, 0.4],
    )
    return atoms


def write_rows(path: Path, *rows: dict[str, Any]) -> None:
    lmdb = pytest.importorskip("lmdb", reason=reason("data"))
    with lmdb.open(str(path), subdir=False, map_size=1 << 22) as file, file.begin(write=True) as transaction:
        for number, row in enumerate(rows, start=1):
            transaction.put(str(number).encode(), zlib.compress(encode(row).encode()))


@pytest.mark.parametrize("suffix", ["db", "aselmdb"])
def test_rows_of_databases_keep_all_that_they_hold(tmp_path: Path, suffix: str) -> None:
    path, atoms = tmp_path / f"a.{suffix}", full()
    if suffix == "db":
        with connect(path) as database:
            database.write(atoms, name="w", data={"other": np.ones((3, 3))})
    else:
        facts = {"key_value_pairs": {"name": "w"}, "data": {"other": np.ones((3, 3))}, "user": None}
        write_rows(path, atoms2dict(atoms) | facts)
    found = read_structure(path)
    assert [c.todict() for c in found.constraints] == [c.todict() for c in atoms.constraints]
    for key, array in atoms.arrays.items():
        assert found.arrays[key] == pytest.approx(array), key
    assert found.calc.results.keys() == atoms.calc.results.keys()
    for key, value in atoms.calc.results.items():  # forces raw, also those of fixed atoms
        assert found.calc.results[key] == pytest.approx(value), key
    assert found.info["name"] == "w" and found.info["other"].shape == (3, 3)


@pytest.mark.parametrize(
    "change",
    [
        {"numbers": [8, 1]},
        {"positions": "near"},
        {"cell": [1, 2]},
        {"masses": [1.0]},
        {"constraints": [{"name": "Nobody", "kwargs": {}}]},
        {"data": 3},
    ],
    ids=str,
)
def test_a_row_that_ase_cannot_build_is_named(tmp_path: Path, change: dict[str, Any]) -> None:
    write_rows(tmp_path / "a.aselmdb", atoms2dict(molecule("H2O")), atoms2dict(molecule("H2O")) | change)
    with pytest.raises(BadInputError, match="The row has no structure") as error:
        read_frames(tmp_path / "a.aselmdb")
    assert "row 2" in str(error.value.where)


def test_labels_of_an_archive_are_read(tmp_path: Path) -> None:
    """Frames of another size are padded with atomic number 0."""
    forces, stress = np.arange(18.0).reshape(2, 3, 3), np.arange(12.0).reshape(2, 6)
    np.savez(
        tmp_path / "a.npz",
        numbers=[[8, 1, 1], [8, 1, 0]],
        positions=np.arange(18.0).reshape(2, 3, 3),
        energy=[-2079.0, -3.0],
        forces=forces,
        stress=stress,
        cell=9 * np.eye(3),
    )
    found = read_frames(tmp_path / "a.npz")
    assert [atoms.get_potential_energy() for atoms in found] == [-2079.0, -3.0]
    assert found[1].get_forces().tolist() == forces[1, :2].tolist()
    assert found[1].get_stress().tolist() == stress[1].tolist()


@pytest.mark.parametrize(
    "labels, said",
    [
        ({"forces": np.zeros((1, 5, 3))}, "There are 5 forces for 3 atoms"),
        ({"stress": np.zeros((1, 4))}, r"The stress has shape \(4,\)"),
    ],
)
def test_labels_of_an_archive_that_do_not_fit(tmp_path: Path, labels: dict[str, Any], said: str) -> None:
    np.savez(tmp_path / "a.npz", numbers=[8, 1, 1], positions=np.arange(9.0).reshape(1, 3, 3), **labels)
    with pytest.raises(BadInputError, match=said) as error:
        read_structure(tmp_path / "a.npz")
    assert "frame 0" in str(error.value.where)


@pytest.mark.parametrize(
    "names",
    [
        ("nuclear_charges", "coords", "energies", "forces"),
        ("z", "R", "E", "F"),
    ],
)
def test_labels_in_units_that_nobody_stated_are_left_out(tmp_path: Path, names: tuple[str, ...]) -> None:
    """rMD17 and sGDML: kcal/mol must not pass for eV."""
    values = ([8, 1], np.arange(12.0).reshape(2, 2, 3), [-47000.0, -47001.0], np.ones((2, 2, 3)))
    np.savez(tmp_path / "a.npz", **dict(zip(names, values, strict=True)))
    with pytest.warns(JMPWarning, match="its energy, forces are left out") as told:
        found = read_frames(tmp_path / "a.npz")
    assert [atoms.calc for atoms in found] == [None, None] and len(told) == 1
    np.savez(tmp_path / "b.npz", **dict(zip(names[:2], values[:2], strict=True)))
    assert len(read_frames(tmp_path / "b.npz")) == 2  # without a warning
