"""Faults 42 to 44: files that cannot be read, truncated files, frames that are not there."""

from __future__ import annotations

import gzip
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.constraints import FixAtoms

from jmp_calc.errors import BadInputError, JMPWarning, UsageError
from jmp_calc.io.structures import iter_frames, parse_structure, read_frames, read_structure


@pytest.fixture
def trajectory(tmp_path: Path) -> Path:
    path = tmp_path / "run.extxyz"
    frames = [molecule("H2O") for _ in range(5)]
    for k, atoms in enumerate(frames):
        atoms.positions[0, 2] += 0.01 * k
    ase.io.write(path, frames)
    return path


def refused(run, file: object, *words: object) -> str:
    result = run("relax", file, "--dry-run", *words)
    assert result.exit_code == 4, result.output
    assert result.stderr.startswith("error: ")
    assert "Traceback" not in result.output
    return str(result.stderr)


def test_fault_42_files_that_cannot_be_read(run, tmp_path: Path, water: Path) -> None:
    assert "No such file" in refused(run, tmp_path / "watr.xyz")
    assert "water.xyz" in refused(run, tmp_path / "wate.xyz")  # the neighbour is offered
    assert "directory" in refused(run, tmp_path)
    empty = tmp_path / "empty.xyz"
    empty.touch()
    assert "empty" in refused(run, empty)
    for name in ("g.xyz", "g.cif", "g.dat", "g.xyz.gz", "POSCAR", "g.traj", "g.extxyz"):
        garbage = tmp_path / name
        garbage.write_bytes(np.random.default_rng(0).bytes(3000))
        assert str(garbage) in refused(run, garbage)


@pytest.mark.skipif("os.geteuid() == 0", reason="root may read everything")
def test_fault_42_unreadable(run, water: Path) -> None:
    water.chmod(0)
    assert "permission" in refused(run, water).lower()


def test_fault_43_truncated_last_frame(run, trajectory: Path) -> None:
    text = trajectory.read_text()
    lines = text.splitlines(keepends=True)
    for cut in ("".join(lines[:-1]), text[:-30], "".join(lines[:-3]), "".join(lines[:-4])):
        trajectory.write_text(cut)
        for spec in (trajectory, f"{trajectory}@:", f"{trajectory}@-1"):
            with pytest.raises(
                BadInputError, match=r"last frame .* is cut off: .*frame 4.*--allow-truncated"
            ):
                read_frames(spec)
        with pytest.warns(JMPWarning, match="truncated last frame 4 was left out"):
            assert len(read_frames(trajectory, allow_truncated=True)) == 4
        assert "frame 4" in refused(run, trajectory)
        assert run("relax", trajectory, "--dry-run", "--allow-truncated").exit_code == 0


def test_fault_43_wrong_atom_count_in_the_middle(trajectory: Path) -> None:
    lines = trajectory.read_text().splitlines(keepends=True)
    trajectory.write_text("".join(lines[:6] + lines[7:]))  # frame 1 lost an atom
    for allow in (False, True):
        with pytest.raises(BadInputError, match="number of atoms of frame 2|frame 1"):
            read_frames(trajectory, allow_truncated=allow)


def test_fault_43_only_frame_truncated(run, water: Path) -> None:
    water.write_text("".join(water.read_text().splitlines(keepends=True)[:-1]))
    assert "frame 0" in refused(run, water, "--allow-truncated")


def test_fault_44_index_out_of_range(run, trajectory: Path) -> None:
    assert "The file has 5 frame(s)" in refused(run, f"{trajectory}@5")
    assert "The file has 5 frame(s)" in refused(run, f"{trajectory}@-6")
    assert read_structure(f"{trajectory}@-5").positions[0, 2] == pytest.approx(
        read_frames(trajectory)[0].positions[0, 2]
    )
    with pytest.raises(BadInputError, match="out of range"):
        read_frames(trajectory, index="7:9")
    assert run("relax", f"{trajectory}@x", "--dry-run").exit_code == 2
    with pytest.raises(UsageError, match="not a frame index"):
        read_frames(trajectory, index="x")
    with pytest.raises(UsageError, match="range"):
        read_structure(f"{trajectory}@:")


@pytest.mark.capability("C1")
def test_fault_44_long_files_are_streamed(trajectory: Path) -> None:
    frames = iter_frames(f"{trajectory}@:")
    first = next(frames)
    with open(trajectory, "a") as stream:
        stream.write("this is not reached\n")
    assert first.positions[0, 2] == pytest.approx(molecule("H2O").positions[0, 2])
    frames.close()


def test_one_index_is_given_not_two(run, trajectory: Path) -> None:
    for index in (":", 0, slice(None)):
        with pytest.raises(UsageError, match="an index of its own beside") as error:
            read_frames(f"{trajectory}@0", index=index)
        assert error.value.hint == "give one of them"
    result = run("select", f"{trajectory}@0", f"{trajectory}@-1", "--index", ":", "-n", 1, "--dry-run")
    assert result.exit_code == 2 and "give one of them" in result.stderr


def test_index_selects_frames(trajectory: Path) -> None:
    z = [atoms.positions[0, 2] for atoms in read_frames(trajectory)]
    assert np.diff(z) == pytest.approx(0.01)
    assert read_structure(trajectory).positions[0, 2] == pytest.approx(z[-1])
    assert read_structure(f"{trajectory}@1").positions[0, 2] == pytest.approx(z[1])
    assert [a.positions[0, 2] for a in read_frames(f"{trajectory}@1::2")] == pytest.approx(z[1::2])


def test_an_at_sign_in_a_file_name(tmp_path: Path) -> None:
    path = tmp_path / "a@0.xyz"
    ase.io.write(tmp_path / "plain.xyz", molecule("H2O"))
    (tmp_path / "plain.xyz").rename(path)
    assert parse_structure(path).index is None
    assert len(read_structure(path)) == 3
    assert len(read_structure(f"{path}@0")) == 3


@pytest.mark.parametrize("name", ["a.extxyz", "a.cif", "a.traj", "POSCAR", "a.json"])
@pytest.mark.parametrize("zipped", [False, True])
def test_formats_plain_and_gzipped(tmp_path: Path, name: str, zipped: bool) -> None:
    atoms = bulk("NaCl", "rocksalt", a=5.6)
    path = tmp_path / name
    ase.io.write(path, atoms)
    if zipped:
        packed = tmp_path / f"{name}.gz"
        packed.write_bytes(gzip.compress(path.read_bytes()))
        path = packed
    found = read_structure(path)
    assert found.get_volume() == pytest.approx(atoms.get_volume(), rel=1e-6)
    assert sorted(found.numbers) == sorted(atoms.numbers)


def test_damaged_gzip(tmp_path: Path, trajectory: Path) -> None:
    path = tmp_path / "cut.extxyz.gz"
    path.write_bytes(gzip.compress(trajectory.read_bytes())[:-20])
    with pytest.raises(BadInputError, match="damaged"):
        read_frames(path)


def test_constraints_and_masses_are_kept(tmp_path: Path) -> None:
    atoms = Atoms("H2", [[0, 0, 0], [0, 0, 0.74]])
    atoms.set_constraint(FixAtoms([1]))
    atoms.set_masses([2.0, 3.0])
    ase.io.write(tmp_path / "a.traj", atoms)
    found = read_structure(tmp_path / "a.traj")
    assert found.constraints[0].index.tolist() == [1]
    assert found.get_masses().tolist() == [2.0, 3.0]


def test_formats_by_name_and_the_frame_that_was_taken(
    run, trajectory: Path, tmp_path: Path, model: str
) -> None:
    out = tmp_path / "out"
    words = ("--steps", "1", "--allow-unconverged", "-m", model, "-o", out)
    refused = run("relax", trajectory, "--write", "CIF", *words)
    assert refused.exit_code == 2 and "needs a cell" in refused.stderr
    ase.io.write(trajectory, [bulk("NaCl", "rocksalt", a=5.6)] * 5)
    result = run("relax", trajectory, "--write", "POSCAR", "--write", "CIF", *words)
    assert result.exit_code == 0, result.output
    assert "frame 4 of 5" in result.stderr
    relaxed = ase.io.read(out / "opt.extxyz")
    assert sorted(ase.io.read(out / "opt.cif").numbers) == sorted(relaxed.numbers)
    assert run("relax", trajectory, "--write", "docx", "--dry-run").exit_code == 2
    result = run("singlepoint", trajectory, "--write", "xyz", "-m", model, "-o", tmp_path / "sp")
    assert result.exit_code == 0, result.output
    assert len(ase.io.read(tmp_path / "sp" / "results.xyz", ":")) == 5
