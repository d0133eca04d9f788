"""Labels keep their values through every format; what is missing, misshapen or ambiguous is refused with its
place."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms, FixCartesian
from ase.db import connect
from ase.io import write

from jmp_calc.errors import BadInputError, UsageError
from jmp_calc.training.data.keys import LabelKeys
from jmp_calc.training.data.label_units import LabelUnits
from jmp_calc.training.data.labels import read_labelled
from jmp_calc.training.data.raw import read_raw
from jmp_calc.training.data.screen import Screen
from jmp_calc.training.data.stream import LabelOptions, stream_labelled
from jmp_calc.training.data.to_ase import write_frames
from tests.training.helpers.xyz_text import CUBE, FORCES, ROWS, text, write_text


def crystal(seed: int = 0) -> Atoms:
    rng = np.random.default_rng(seed)
    atoms = bulk("Cu", "fcc", a=3.6, cubic=True)
    atoms.set_cell(atoms.cell @ (np.eye(3) + rng.normal(scale=0.02, size=(3, 3))), scale_atoms=True)
    atoms.positions += rng.normal(scale=0.1, size=(4, 3))
    atoms.calc = EMT()
    results = {
        "energy": atoms.get_potential_energy(),
        "forces": atoms.get_forces(),
        "stress": atoms.get_stress(),
    }
    atoms.calc = SinglePointCalculator(atoms, **results)
    atoms.info["config_type"] = f"group{seed % 2}"
    return atoms


def same(frame, atoms: Atoms, tolerance: float = 1e-7) -> None:
    assert frame.energy == pytest.approx(atoms.calc.results["energy"], abs=tolerance)
    np.testing.assert_allclose(frame.forces, atoms.calc.results["forces"], atol=tolerance)
    np.testing.assert_allclose(frame.stress, atoms.get_stress(voigt=False), atol=tolerance)
    np.testing.assert_allclose(frame.positions, atoms.positions, atol=tolerance)
    np.testing.assert_allclose(frame.cell, atoms.cell.array, atol=tolerance)


@pytest.mark.parametrize("name", ["a.extxyz", "a.xyz", "a.xyz.gz", "a.traj", "a.db"])
def test_values_survive_every_format(tmp_path: Path, name: str) -> None:
    images = [crystal(seed) for seed in range(3)]
    path = tmp_path / name
    if name.endswith(".db"):
        with connect(path) as base:
            for atoms in images:
                base.write(atoms, config_type=atoms.info["config_type"])
    else:
        write(path, images, **({} if name.endswith(".traj") else {"format": "extxyz"}))
    found = read_labelled(path)
    assert [frame.group for frame in found.frames] == ["group0", "group1", "group0"]
    for frame, atoms in zip(found.frames, images, strict=True):
        same(frame, atoms)
    assert [frame.index for frame in read_labelled(path, index="1:").frames] == [1, 2]
    same(read_labelled(path, index=-1).frames[0], images[-1])


def test_gzipped_traj(tmp_path: Path) -> None:
    write(tmp_path / "a.traj", [crystal(0), crystal(1)])
    (tmp_path / "a.traj.gz").write_bytes(gzip.compress((tmp_path / "a.traj").read_bytes()))
    same(read_labelled(tmp_path / "a.traj.gz").frames[1], crystal(1))


@pytest.mark.parametrize("name", ["a.traj", "a.db", "a.extxyz"])
def test_forces_of_fixed_atoms_are_kept(tmp_path: Path, name: str) -> None:
    atoms = crystal()
    atoms.set_constraint(FixAtoms([0, 1]))
    write(tmp_path / name, atoms)
    found = read_labelled(tmp_path / name).frames[0]
    same(found, atoms)
    assert found.fixed is not None and found.fixed.tolist() == [True, True, False, False]


def test_held_atoms_are_known_by_every_route(tmp_path: Path) -> None:
    """Errors of forces are those of free atoms; an atom that is held along one direction is not free."""
    partly = crystal()
    partly.set_constraint([FixAtoms([0]), FixCartesian(2, mask=(False, False, True))])
    write(tmp_path / "a.traj", partly)
    write(tmp_path / "a.extxyz", partly)
    column = crystal()
    column.arrays["fixed"] = np.array([True, False, True, False])
    write(tmp_path / "b.extxyz", column)
    numbers = crystal()
    numbers.arrays["fixed"] = np.array([1, 0, 1, 0])
    found = [read_labelled(tmp_path / name).frames[0] for name in ("a.traj", "a.extxyz", "b.extxyz")]
    found += [read_labelled([atoms]).frames[0] for atoms in (partly, column, numbers)]
    found += [next(iter(stream_labelled(tmp_path / "a.extxyz", LabelOptions(), Screen())))]
    write_frames(tmp_path / "c.extxyz", found[:1])
    found += read_labelled(tmp_path / "c.extxyz").frames
    for frame in found:
        assert frame.fixed is not None and frame.fixed.tolist() == [True, False, True, False]
    assert read_labelled([crystal()]).frames[0].fixed is None
    numbers.arrays["fixed"] = np.array(list("abab"))
    with pytest.raises(BadInputError, match="column 'fixed' has 'a', which is no number"):
        read_labelled([numbers])


def npz(path: Path, **changes) -> Path:
    images = [crystal(seed) for seed in range(3)]
    content = {
        "numbers": images[0].numbers,
        "positions": np.array([a.positions for a in images]),
        "cell": np.array([a.cell.array for a in images]),
        "pbc": np.array([True, True, True]),
        "energy": np.array([a.calc.results["energy"] for a in images]),
        "forces": np.array([a.calc.results["forces"] for a in images]),
        "stress": np.array([a.calc.results["stress"] for a in images]),
    }
    content.update(changes)
    np.savez(path, **{key: value for key, value in content.items() if value is not None})
    return path


def test_npz(tmp_path: Path) -> None:
    for frame, seed in zip(read_labelled(npz(tmp_path / "a.npz")).frames, range(3), strict=True):
        same(frame, crystal(seed))


def test_npz_of_frames_with_different_sizes_is_padded_with_zeros(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(
        path,
        numbers=[[8, 1, 1], [1, 1, 0]],
        positions=np.arange(18.0).reshape(2, 3, 3),
        energy=[-1.0, -2.0],
        forces=np.ones((2, 3, 3)),
    )
    frames = read_labelled(path).frames
    assert [frame.n_atoms for frame in frames] == [3, 2] and frames[1].forces.shape == (2, 3)
    assert not frames[1].pbc.any()


def test_rmd17_layout_needs_its_unit(tmp_path: Path) -> None:
    path = tmp_path / "rmd17.npz"
    np.savez(
        path,
        nuclear_charges=[8, 1],
        coords=np.zeros((2, 2, 3)) + [[[0.0], [1.0]]],
        energies=[-100.0, -99.0],
        forces=np.ones((2, 2, 3)),
    )
    with pytest.raises(BadInputError, match="energy-unit"):
        read_labelled(path)
    frame = read_labelled(path, units=LabelUnits(energy="kcal/mol")).frames[0]
    assert frame.energy == pytest.approx(-4.336411531)
    assert frame.forces[0, 0] == pytest.approx(0.04336411531)
    with pytest.raises(UsageError, match="no unit of energy"):
        read_labelled(path, units=LabelUnits(energy="furlong"))


def test_pickled_npz_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, numbers=np.array([{"a": 1}], dtype=object), positions=np.zeros((1, 1, 3)))
    with pytest.raises(BadInputError, match="plain numpy archive"):
        read_labelled(path)


def test_labels_under_two_keys_are_named_both(tmp_path: Path) -> None:
    """Half of the frames under REF_energy, half under energy: neither is left out, nor are they mixed without
    being asked."""
    new, old = (
        text(f"{FORCES} {CUBE} {key}=-1.5 config_type=md note=7", ROWS) for key in ("REF_energy", "energy")
    )
    path = write_text(tmp_path / "mixed.xyz", new + old + new + old)
    with pytest.raises(
        BadInputError, match="2 of 4 frames have their energy under 'energy' and not under 'REF_energy'"
    ) as error:
        read_labelled(path)
    assert "frames 1, 3" in str(error.value.where)


def test_keys_of_the_file_are_named_whatever_they_hold(tmp_path: Path) -> None:
    """Entries that are text, and numbers of any size, are listed by how many frames have them."""
    path = write_text(
        tmp_path / "dft.xyz", text(f"{FORCES} dft=-3.0 note=abc", ROWS) + text(f"{FORCES} dft=-3.0", ROWS)
    )
    with pytest.raises(BadInputError, match="has no energy") as error:
        read_labelled(path)
    assert "found: dft, note" in str(error.value.hint)
    read = read_labelled(path, require=("forces",))
    assert "energy: no known key (--energy-key: dft, note)." in read.messages
    assert not any(message.startswith("stress") for message in read.messages)


def test_a_name_that_ase_knows_decides_where_there_is_no_suffix(tmp_path: Path) -> None:
    """OUTCAR, POSCAR and the like; any other name without a suffix is extended XYZ."""
    write(tmp_path / "POSCAR", bulk("Cu", cubic=True), format="vasp")
    assert [len(frame.numbers) for frame in read_raw(tmp_path / "POSCAR").frames] == [4]
    path = write_text(tmp_path / "train", text(f"{FORCES} energy=-1.5", ROWS))
    assert read_labelled(path).frames[0].energy == -1.5


def test_an_unknown_format_says_which_are_known(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="does not recognise") as error:
        read_raw(write_text(tmp_path / "notes.txt", "hello\nworld\n"))
    assert ".extxyz, .traj, .db, .npz" in str(error.value.hint)


def test_order_of_keys(tmp_path: Path) -> None:
    properties = "Properties=species:S:1:pos:R:3:forces:R:3:other:R:3"
    rows = "H 0 0 0 0 0 0.1 0 0 0.5\nH 0 0 0.8 0 0 -0.1 0 0 -0.5\n"
    path = write_text(tmp_path / "a.xyz", text(f"{properties} energy=-1.5 dft=-3.0", rows))
    found = read_labelled(path)
    assert found.frames[0].energy == -1.5 and found.keys_used == LabelKeys("energy", "forces")
    assert any("key 'energy' in 1 of 1" in message for message in found.messages)
    found = read_labelled(path, keys=LabelKeys(energy="dft", forces="other"))
    assert found.frames[0].energy == -3.0 and found.frames[0].forces[0, 2] == 0.5
    with pytest.raises(BadInputError, match=r"no.*|key 'dtf'") as error:
        read_labelled(path, keys=LabelKeys(energy="dtf"))
    assert "dft" in (error.value.hint or "")


def test_ref_keys_come_first_and_ase_can_write_them(tmp_path: Path) -> None:
    atoms = crystal()
    atoms.info["REF_energy"] = atoms.calc.results["energy"]
    atoms.info["REF_stress"] = atoms.get_stress(voigt=False)
    atoms.arrays["REF_forces"] = atoms.calc.results["forces"]
    results, atoms.calc = atoms.calc.results, None
    write(tmp_path / "a.extxyz", atoms)
    found = read_labelled(tmp_path / "a.extxyz")
    atoms.calc = SinglePointCalculator(atoms, **results)
    same(found.frames[0], atoms)
    assert found.keys_used.energy == "REF_energy" and found.keys_used.stress == "REF_stress"


def test_two_different_energies_are_refused_with_five_frames(tmp_path: Path) -> None:
    blocks = "".join(text(f"{FORCES} energy={-i} REF_energy={-i - 1}", ROWS) for i in range(8))
    path = write_text(tmp_path / "a.xyz", blocks)
    with pytest.raises(BadInputError, match="differ in 8 frames") as error:
        read_labelled(path)
    assert error.value.fact.count("frame ") == 5 and "--energy-key" in (error.value.hint or "")
    assert read_labelled(path, keys=LabelKeys(energy="energy")).frames[3].energy == -3.0
    same_twice = "".join(text(f"{FORCES} energy={-i} REF_energy={-i}", ROWS) for i in range(8))
    assert len(read_labelled(write_text(path, same_twice)).frames) == 8


@pytest.mark.parametrize(
    ("comment", "rows", "fact"),
    [
        (f'{CUBE} {FORCES} energy=0 stress="1 2 3 4"', ROWS, r"stress has shape \(4,\)"),
        (f'{CUBE} {FORCES} energy=0 stress="1 9 0 0 1 0 0 0 1"', ROWS, "not symmetric"),
        (
            "Properties=species:S:1:pos:R:3:forces:R:2 energy=0",
            "H 0 0 0 0 0\nH 0 0 1 0 0\n",
            r"shape \(2, 2\), not \(2, 3\)",
        ),
        (f'{FORCES} energy="1 2"', ROWS, r"energy has shape \(2,\)"),
        (f"{FORCES} energy=abc", ROWS, "not numeric"),
        (f"{FORCES} energy=0", "H 0 0 0 0 0 0.1\nXx 0 0 nan 0 0 -0.1\n", "Xx|not finite|Unknown"),
        (f"{FORCES} energy=0", "H 0 0 0 0 0 0.1\nH 0 0 nan 0 0 -0.1\n", "not finite"),
    ],
)
def test_misshapen_labels_name_the_frame(tmp_path: Path, comment: str, rows: str, fact: str) -> None:
    path = write_text(tmp_path / "a.xyz", text(f"{FORCES} energy=0", ROWS) + text(comment, rows))
    with pytest.raises(BadInputError, match=fact) as error:
        read_labelled(path)
    assert "frame 1" in (error.value.where or "")


def test_missing_labels_are_refused_unless_allowed(tmp_path: Path) -> None:
    path = write_text(tmp_path / "a.xyz", text("energy=-1") + text(f"{FORCES} energy=-1", ROWS))
    with pytest.raises(BadInputError, match="1 of 2 frames have no forces") as error:
        read_labelled(path)
    assert "--allow-missing forces" in (error.value.hint or "")
    frames = read_labelled(path, require=("energy",)).frames
    assert frames[0].forces is None and frames[1].forces is not None
    with pytest.raises(BadInputError, match="has no forces"):
        read_labelled(write_text(path, text("energy=-1")))


@pytest.mark.parametrize("name", ["a.extxyz", "a.traj"])
def test_energies_without_smearing_are_told_because_the_forces_belong_to_the_free_energy(
    tmp_path: Path, name: str
) -> None:
    atoms = crystal()
    atoms.calc.results["free_energy"] = atoms.calc.results["energy"] - 4 * 0.003
    write(tmp_path / name, atoms)
    found = read_labelled(tmp_path / name)
    assert [line for line in found.messages if "3.0 meV/atom from the free energy" in line]
    free = read_labelled(tmp_path / name, keys=LabelKeys(energy="free_energy"))
    assert free.frames[0].energy == pytest.approx(atoms.calc.results["free_energy"])
    assert not [line for line in free.messages if "smearing" in line]
    atoms.calc.results["free_energy"] = atoms.calc.results["energy"]
    write(tmp_path / "same.extxyz", atoms)
    assert not [line for line in read_labelled(tmp_path / "same.extxyz").messages if "smearing" in line]


def test_isolated_atoms_are_references(tmp_path: Path) -> None:
    atom = "1\nProperties=species:S:1:pos:R:3 energy={} {}\n{} 0 0 0\n"
    content = atom.format(-13.6, "config_type=IsolatedAtom", "H") + atom.format(-430.0, "", "O")
    path = write_text(tmp_path / "a.xyz", content + text(f"{FORCES} energy=-1", ROWS))
    found = read_labelled(path)
    assert found.isolated == {1: -13.6, 8: -430.0} and len(found.frames) == 1 and found.frames[0].index == 2
    assert any("H, O" in message for message in found.messages)
    with pytest.raises(BadInputError, match="Two isolated atoms"):
        read_labelled(write_text(path, content + atom.format(-12.0, "config_type=isolated_atom", "H")))


def test_files_that_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "empty.xyz").touch()
    (tmp_path / "garbage.xyz").write_bytes(np.random.default_rng(0).bytes(3000))
    (tmp_path / "garbage.traj").write_bytes(np.random.default_rng(0).bytes(3000))
    (tmp_path / "garbage.npz").write_bytes(b"no archive")
    (tmp_path / "folder.xyz").mkdir()
    for name, fact in (
        ("missing.xyz", "No such file"),
        ("empty.xyz", "empty"),
        ("garbage.xyz", "not text|number of"),
        ("garbage.traj", "cannot be read"),
        ("garbage.npz", "numpy"),
        ("folder.xyz", "directory"),
    ):
        with pytest.raises(BadInputError, match=fact):
            read_labelled(tmp_path / name)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_truncated_file_is_refused_or_shortened(tmp_path: Path, suffix: str) -> None:
    whole = "".join(text(f"{FORCES} energy={-i}", ROWS) for i in range(5))
    for cut in (8, 25, 40):
        path = tmp_path / f"cut.xyz{suffix}"
        short = whole[:-cut].encode()
        path.write_bytes(gzip.compress(short) if suffix else short)
        with pytest.raises(BadInputError, match="cut off") as error:
            read_labelled(path)
        assert "--allow-truncated" in (error.value.hint or "")
        found = read_labelled(path, allow_truncated=True)
        assert [frame.energy for frame in found.frames] == [0.0, -1.0, -2.0, -3.0]
        assert any("truncated" in message for message in found.messages)


def test_broken_gzip_stream(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    blocks = (text(f"{FORCES} energy={rng.random()}", ROWS) for _ in range(5000))
    packed = gzip.compress("".join(blocks).encode())
    path = tmp_path / "a.xyz.gz"
    path.write_bytes(packed[: len(packed) // 2])
    with pytest.raises(BadInputError, match="breaks off"):
        read_labelled(path)
    assert 0 < len(read_labelled(path, allow_truncated=True).frames) < 5000


def test_wrong_atom_count_in_the_middle_is_never_skipped(tmp_path: Path) -> None:
    path = write_text(
        tmp_path / "a.xyz", text(f"{FORCES} energy=0", ROWS, count=3) + text(f"{FORCES} energy=0", ROWS)
    )
    with pytest.raises(BadInputError, match="columns|number of atoms"):
        read_labelled(path, allow_truncated=True)


def test_index(tmp_path: Path) -> None:
    path = write_text(tmp_path / "a.xyz", "".join(text(f"{FORCES} energy={-i}", ROWS) for i in range(10)))
    for index, expected in (("::4", [0, 4, 8]), ("-2:", [8, 9]), (3, [3]), ("8:2:-3", [8, 5])):
        assert [frame.index for frame in read_labelled(path, index=index).frames] == expected
    with pytest.raises(BadInputError, match="no frame '20'"):
        read_labelled(path, index="20")
    with pytest.raises(UsageError, match="not a frame index"):
        read_labelled(path, index="a:b")


@pytest.mark.parametrize(
    "column, value, said",
    [
        ("tags:S:1", "slab", "'slab', which is no number"),
        ("tags:R:1", "nan", "not whole"),
        ("tags:I:2", "0 1", "2 numbers"),
    ],
)
def test_tags_are_whole_numbers(tmp_path: Path, column: str, value: str, said: str) -> None:
    (tmp_path / "a.extxyz").write_text(
        f"1\nenergy=1.0 Properties=species:S:1:pos:R:3:{column}\nCu 0 0 0 {value}\n"
    )
    with pytest.raises(BadInputError, match=said) as error:
        read_labelled(tmp_path / "a.extxyz", require=())
    assert error.value.where == "a.extxyz frame 0"
