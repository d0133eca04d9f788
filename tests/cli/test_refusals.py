"""relax, md and phonons refuse values, options, structures and places for the output that cannot be meant
(faults 56 to 63).
"""

from __future__ import annotations

import errno
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.constraints import FixAtoms
from filelock import FileLock

from jmp_calc.io.outdir import LOCK_NAME
from tests.cli.summaries import summary


def test_fault_57_existing_output_is_not_overwritten(run, model: str, water: Path, tmp_path: Path) -> None:
    words = ("relax", water, "-m", model, "-o", tmp_path / "o", "--fmax", 50, "-q")
    assert run(*words).exit_code == 0
    before = (tmp_path / "o/opt.extxyz").read_bytes()
    result = run(*words)
    assert result.exit_code == 2
    assert "exists already" in result.stderr
    assert "--overwrite" in result.stderr
    assert (tmp_path / "o/opt.extxyz").read_bytes() == before
    assert run(*words, "--overwrite").exit_code == 0
    assert run(*words, "--prefix", "b").exit_code == 0  # other names, same folder


def test_fault_57_partial_output_of_a_crash_is_recognised(
    run, model: str, water: Path, tmp_path: Path
) -> None:
    out = tmp_path / "o"
    out.mkdir()
    (out / "summary.yaml").write_text("command: relax\nstatus: running\nstarted: '2026-01-01T00:00:00'\n")
    (out / "traj.extxyz").write_text("3\n")
    result = run("relax", water, "-m", model, "-o", out)
    assert result.exit_code == 2
    assert "partial output of a 'relax' run that did not finish" in result.stderr


def test_a_run_that_failed_before_any_output_does_not_block_the_next(
    run, model: str, water: Path, tmp_path: Path
) -> None:
    assert run("relax", water, "-m", tmp_path / "no.safetensors", "-o", tmp_path / "o").exit_code == 5
    assert summary(tmp_path / "o")["status"] == "failed"
    assert run("relax", water, "-m", model, "-o", tmp_path / "o", "--fmax", 50).exit_code == 0


def test_fault_58_output_that_cannot_be_written(run, model: str, water: Path, tmp_path: Path) -> None:
    result = run("relax", water, "-m", model, "-o", water)
    assert result.exit_code == 2
    assert "is a file" in result.stderr
    result = run("relax", water, "-m", model, "-o", water / "sub")
    assert result.exit_code == 2
    result = run("relax", water, "-m", model, "-o", "/proc/nowhere")
    assert result.exit_code == 2
    assert "Cannot write" in result.stderr
    assert "/proc/nowhere" in result.stderr
    assert run("relax", water, "--prefix", "a/b").exit_code == 2


def test_fault_58_disk_full_while_running(
    run, model: str, water: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "stats.dat")

    monkeypatch.setattr("jmp_calc.workflows.stats.StatsTable.append", full)
    result = run("md", water, "-m", model, "-o", tmp_path / "o", "--steps", 2)
    assert result.exit_code == 1
    assert "error: No space is left on the disk." in result.stderr
    assert "internal" not in result.stderr


@pytest.mark.parametrize(
    "words, message",
    [
        (["relax", "--steps", "0"], "steps"),
        (["relax", "--steps", "-3"], "steps"),
        (["relax", "--fmax", "-1"], "fmax"),
        (["relax", "--pressure", "1"], "pressure"),
        (["md", "--steps", "0"], "steps"),
        (["md", "--temp", "-300"], "temperature"),
        (["md", "--temp", "0"], "temperature"),
        (["md", "--timestep", "0"], "timestep"),
        (["md", "--timestep", "-0.5"], "timestep"),
        (["md", "--ensemble", "nvt", "--pressure", "1"], "pressure"),
        (["md", "--ensemble", "nve", "--friction", "1"], "friction"),
        (["md", "--ensemble", "nvx"], "Unknown ensemble"),
        (["phonons", "--supercell", "2 2"], "supercell needs 3 or 9"),
        (["phonons", "--supercell", "2 2 -1"], "supercell"),
        (["phonons", "--mesh", "0 0 0"], "mesh"),
        (["phonons", "--displacement", "0"], "displacement"),
        (["phonons", "--supercell", "100 100 100"], "The supercell would have 2e+06 atoms"),
        (["phonons", "--min-length", "1e9"], "The supercell would have"),
    ],
)
def test_fault_59_values_that_cannot_be_meant(run, salt: Path, words: list[str], message: str) -> None:
    result = run(words[0], salt, *words[1:], "--dry-run")
    assert result.exit_code == 2, result.output
    assert message in result.stderr


UNSOUND = {
    "no atoms": (Atoms(), "zero atoms"),
    "zero cell": (Atoms("H", pbc=True), "cell vector a is zero"),
    "flat cell": (Atoms("H", cell=[[4, 0, 0], [0, 4, 0], [4, 4, 0]], pbc=True), "zero volume"),
    "NaN in the cell": (
        Atoms("H", cell=[[np.nan, 0, 0], [0, 5, 0], [0, 0, 5]], pbc=True),
        "vector a is not finite",
    ),
    "NaN position": (
        Atoms("HH", [[0, 0, 0], [0, np.nan, 1]], cell=[5, 5, 5], pbc=True),
        "atom 1 is not finite",
    ),
    "one place": (
        Atoms("HH", [[0, 0, 0], [0, 0, 0]], cell=[5, 5, 5], pbc=True),
        "Distance 0 between 0 and 1",
    ),
    "ghost": (Atoms("HX", [[0, 0, 0], [0, 0, 1]], cell=[5, 5, 5], pbc=True), "Atom 1 is a ghost"),
    "constraint": (Atoms("H", cell=[5, 5, 5], pbc=True, constraint=FixAtoms([3])), "names atom 3"),
}


@pytest.mark.parametrize("dry", [False, True])
@pytest.mark.parametrize("fault", UNSOUND)
@pytest.mark.parametrize("command", ["relax", "md", "phonons"])
def test_unsound_structures_end_with_4_before_anything_is_computed(
    run, model: str, tmp_path: Path, command: str, fault: str, dry: bool
) -> None:
    atoms, message = UNSOUND[fault]
    ase.io.write(tmp_path / "bad.traj", atoms)
    words = [
        command,
        tmp_path / "bad.traj",
        "-m",
        model,
        "-o",
        tmp_path / "o",
        *(["--dry-run"] if dry else []),
    ]
    result = run(*words)
    assert result.exit_code == 4, result.output
    assert message in result.stderr
    assert "bad.traj" in result.stderr
    assert not (tmp_path / "o").exists()


def test_a_charge_that_the_model_cannot_have_is_no_matter_of_the_guard(
    run, model: str, tmp_path: Path
) -> None:
    atoms = molecule("H2O")
    atoms.info["charge"] = 1
    ase.io.write(tmp_path / "ion.extxyz", atoms)
    for command in ("relax", "md"):
        result = run(command, tmp_path / "ion.extxyz", "-m", model, "-o", tmp_path / command)
        assert result.exit_code == 4, result.output
        assert "key 'charge' is 1" in result.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["relax", "--opt-cell", "volume", "--opt-cell-fully"],
        ["relax", "--opt-cell-lengths", "--opt-cell-fully"],
        ["md", "--restart", "some.npz", "--resume"],
    ],
)
def test_fault_56_conflicting_options(run, salt: Path, words: list[str]) -> None:
    result = run(words[0], salt, *words[1:], "--dry-run")
    assert result.exit_code == 2, result.output
    assert "onflict" in result.stderr or "contradict" in result.stderr


def test_fault_60_a_flag_takes_no_false(run, salt: Path) -> None:
    result = run("relax", salt, "--fix-symmetry", "False", "--dry-run")
    assert result.exit_code == 2
    assert "False" in result.stderr


def test_fault_63_two_jobs_in_one_folder(run, model: str, water: Path, tmp_path: Path) -> None:
    (tmp_path / "o").mkdir()
    with FileLock(tmp_path / "o" / LOCK_NAME):
        result = run("relax", water, "-m", model, "-o", tmp_path / "o")
    assert result.exit_code == 2
    assert "Another jmp-calc job" in result.stderr
