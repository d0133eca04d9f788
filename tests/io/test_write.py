"""What we write, everybody can read again: ASE, and our own next command."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms, FixCartesian, FixCom, FixedLine, FixedPlane, FixScaled, Hookean

from jmp_calc.errors import JMPWarning, UsageError
from jmp_calc.io.structures import read_frames, read_structure
from jmp_calc.io.write import write_as, write_extxyz, written_name


def copper() -> Atoms:
    atoms = bulk("Cu", cubic=True)
    atoms.calc = SinglePointCalculator(
        atoms, energy=-1.5, forces=np.full((4, 3), 0.25), stress=np.arange(6.0)
    )
    return atoms


def again(path: Path, atoms: Atoms) -> tuple[Atoms, Atoms]:
    """The structure as ASE and as we read it, from a file of two frames."""
    write_extxyz(path, [atoms, atoms])
    ours, theirs = read_frames(path), ase.io.read(path, ":")
    assert len(ours) == len(theirs) == 2
    for found in (*ours, *theirs):
        assert found.get_potential_energy() == -1.5 and found.info["after"] == 7
        np.testing.assert_array_equal(found.get_forces(), 0.25)
        np.testing.assert_allclose(found.get_stress(), np.arange(6.0))
        np.testing.assert_allclose(found.cell.array, atoms.cell.array)
    return ours[0], theirs[0]


@pytest.mark.parametrize(
    "value",
    [
        "first line\nsecond line",
        "",
        " ",
        "a\tb",
        'say "no"',
        "C:\\new\\",
        "x=1 y=2",
        "[1 2",
        ["a", 'b "c"', "d\\n"],
        {"k": [1, {"l": "m\n"}]},
    ],
)
def test_entries_come_back_as_they_were(tmp_path: Path, value) -> None:
    atoms = copper()
    atoms.info = {"note": value, "after": 7}
    for found in again(tmp_path / "a.extxyz", atoms):
        got = found.info["note"]
        assert (got.tolist() if isinstance(got, np.ndarray) else got) == value


@pytest.mark.parametrize(
    "value",
    [
        None,
        object(),
        1j,
        np.array([1j]),
        np.zeros((2, 3, 4)),
        np.array([{}, 1], dtype=object),
        "x" * 200_000,
        b"b",
    ],
)
@pytest.mark.parametrize("key", ["odd", "two words", "a=b", 'q"', "Lattice", "pbc", "virial", 3, ""])
def test_any_entry_leaves_the_file_readable(tmp_path: Path, key, value) -> None:
    atoms = copper()
    atoms.info = {key: value, "after": 7}
    again(tmp_path / "a.extxyz", atoms)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 3, 3)),
        np.zeros((4, 2)),
        np.zeros((4, 0)),
        np.ones(4, np.uint8),
        np.ones(4, np.int8),
        np.ones(4, np.float16),
        np.ones(4, complex),
        np.ones(4, bool),
        np.array(["a b", "", "c", "d"]),
        np.array([b"a b", b"", b"c", b"d"]),
        np.array(["a b", None, 3, {}], dtype=object),
        np.full(4, np.datetime64("2020-01-01")),
        np.full(4, np.nan),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
@pytest.mark.parametrize("name", ["extra", "two words", "a:b", "species", "Z", "forces"])
def test_any_array_leaves_the_file_readable(tmp_path: Path, name: str, array: np.ndarray) -> None:
    atoms = copper()
    atoms.info["after"] = 7
    atoms.set_array(name, array)
    for found in again(tmp_path / "a.extxyz", atoms):
        assert (found.numbers == 29).all()


def test_tensors_per_atom_are_kept_as_columns(tmp_path: Path) -> None:
    atoms = copper()
    atoms.info["after"] = 7
    atoms.set_array("born", np.arange(36.0).reshape(4, 3, 3))
    for found in again(tmp_path / "a.extxyz", atoms):
        np.testing.assert_array_equal(found.arrays["born"].reshape(4, 3, 3), np.arange(36.0).reshape(4, 3, 3))


@pytest.mark.capability("A14")
def test_labels_beside_results_of_the_same_name_do_not_stop_the_file(tmp_path: Path) -> None:
    atoms = copper()
    atoms.info.update(energy=3.0, stress=np.zeros(6), after=7)
    atoms.arrays["forces"] = np.zeros((4, 3))
    again(tmp_path / "a.extxyz", atoms)


def test_formats_by_name(tmp_path: Path) -> None:
    atoms = bulk("NaCl", "rocksalt", a=5.6)
    atoms.info["note"] = "a\nb"
    for name in ("POSCAR", "cif", "xyz", "extxyz", "traj"):
        path = tmp_path / written_name("opt", name)
        write_as(path, [atoms], name)
        assert sorted(ase.io.read(path).numbers) == [11, 17]
    assert (tmp_path / "opt.POSCAR").is_file()
    write_as(tmp_path / "all.xyz", [atoms, atoms], "xyz")
    with pytest.raises(UsageError, match="holds one structure"):
        write_as(tmp_path / "POSCAR", [atoms, atoms], "poscar")
    with pytest.raises(UsageError, match="Unknown format 'docx'"):
        write_as(tmp_path / "a.docx", [atoms], "docx")


@pytest.mark.parametrize("name", ["xyz", "extxyz", "traj", "cif", "pdb", "POSCAR"])
@pytest.mark.parametrize(
    "constraint",
    [
        FixAtoms([0]),
        FixCartesian([0], (True, False, False)),
        FixScaled([0], (True, False, True)),
        FixedPlane([0], (0, 0, 1)),
        FixedPlane([0], (1, 1, 1)),
        FixedLine([0], (1, 1, 0)),
        Hookean(0, 1, 5.0, 2.0),
        FixCom(),
    ],
    ids=["atoms", "axis", "scaled", "plane", "oblique plane", "line", "spring", "centre of mass"],
)
def test_no_format_loses_a_constraint_without_a_word(tmp_path: Path, constraint: object, name: str) -> None:
    atoms = copper()
    atoms.set_constraint(constraint)
    path = tmp_path / written_name("opt", name)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", JMPWarning)
        write_as(path, [atoms], name)
    kept = ase.io.read(path).constraints
    assert bool(kept) != any(type(constraint).__name__ in str(warning.message) for warning in told)
    assert atoms.constraints  # the structure itself keeps them


@pytest.mark.parametrize("name", ["extxyz", "traj"])
def test_results_of_another_structure_are_not_written(tmp_path: Path, name: str) -> None:
    atoms = copper()
    atoms.calc = EMT()
    atoms.get_potential_energy()
    other = atoms.copy()
    other.calc = atoms.calc
    other.rattle(0.1, seed=1)
    write_as(tmp_path / f"a.{name}", [atoms, other], name)
    first, second = ase.io.read(tmp_path / f"a.{name}", ":")
    assert first.get_potential_energy() == pytest.approx(atoms.get_potential_energy())
    assert second.calc is None


def test_streams_are_written_too() -> None:
    stream = io.StringIO()
    write_extxyz(stream, [copper()])
    assert stream.getvalue().startswith("4\nLattice=")


@pytest.mark.parametrize("text", ["F", "T", "NaN", "InF", "1 2", "[F]", "None", "C=C#N", "a b", "NaCl"])
def test_texts_are_read_as_texts(tmp_path: Path, text: str) -> None:
    """F is hydrogen fluoride, NaN a compound of sodium: neither a truth value nor a number."""
    atoms = Atoms("H")
    atoms.info["name"] = text
    path = tmp_path / "text.extxyz"
    write_extxyz(path, [atoms])
    assert ase.io.read(path).info["name"] == text
    assert read_structure(path).info["name"] == text
