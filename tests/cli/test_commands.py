"""relax, md and phonons from the command line: files, summaries, exit codes, refusals (faults 56 to 63)."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import ase.io
import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.build import molecule
from ase.constraints import FixAtoms
from filelock import FileLock

from jmp_calc.io.outdir import LOCK_NAME

SCHEMA = [
    "jmp_calc_version",
    "command",
    "started",
    "status",
    "exit_code",
    "finished",
    "wall_s",
    "inputs",
    "model",
    "settings",
    "environment",
    "results",
    "warnings",
    "outputs",
    "error",
]


def summary(folder: Path, name: str = "summary.yaml") -> dict:
    return yaml.safe_load((folder / name).read_text(encoding="utf-8"))


def test_relax_writes_its_files_and_summary(run, model: str, water: Path, tmp_path: Path) -> None:
    out = tmp_path / "a folder with Ångström"  # fault 58: spaces and other letters
    result = run("relax", water, "-m", model, "-o", out, "--fmax", 50, "--json", "--prefix", "w")
    assert result.exit_code == 0, result.output
    names = {p.name for p in out.iterdir()} - {LOCK_NAME}
    assert names == {"w-opt.extxyz", "w-traj.extxyz", "w-opt.log", "w-summary.yaml"}
    found = summary(out, "w-summary.yaml")
    assert list(found) == SCHEMA
    assert found == json.loads(result.stdout)
    assert found["status"] == "ok"
    assert found["results"]["converged"] is True
    assert found["settings"]["fmax"] == 50
    assert found["model"]["name"] == "tiny"
    assert len(found["inputs"][0]["sha256"]) == 64
    assert all(len(entry["sha256"]) == 64 for entry in found["outputs"])
    assert found["environment"]["device"] == "cpu"


@pytest.mark.capability("C3")
def test_relax_that_does_not_converge_ends_with_3_after_writing(
    run, model: str, water: Path, tmp_path: Path
) -> None:
    words = ("relax", water, "-m", model, "-o", tmp_path / "o", "--steps", 1, "--fmax", "1e-9")
    result = run(*words)
    assert result.exit_code == 3, result.output
    assert "largest force" in result.stderr
    found = summary(tmp_path / "o")
    assert found["status"] == "not-converged"
    assert found["exit_code"] == 3
    assert found["results"]["converged"] is False
    assert len(ase.io.read(tmp_path / "o/traj.extxyz", ":")) == 2
    assert run(*words, "--allow-unconverged", "--overwrite").exit_code == 0


def test_dry_run_writes_nothing(run, model: str, water: Path, salt: Path, tmp_path: Path) -> None:
    for words in (["relax", water], ["md", water, "--steps", 5], ["phonons", salt, "--supercell", "2 2 2"]):
        result = run(*words, "-m", model, "--dry-run", "-o", tmp_path / "none")
        assert result.exit_code == 0, result.output
        assert "nothing is computed" in result.stdout
    assert "force_calculations: 2" in result.stdout  # Na and Cl
    assert not (tmp_path / "none").exists()


def test_struct_option_is_an_alias(run, water: Path) -> None:
    assert run("relax", "--struct", water, "--dry-run").exit_code == 0
    assert run("relax", water, "--struct", water, "--dry-run").exit_code == 2
    assert run("relax", "--dry-run").exit_code == 2


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


def test_fault_58_no_home_directory(model: str, water: Path, tmp_path: Path) -> None:
    done = program("relax", water, "-m", model, "-o", tmp_path / "o", "--fmax", 50, HOME="/nonexistent")
    assert done.wait(300) == 0, done.stderr.read() if done.stderr else ""


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


def test_md_continues_exactly_from_its_restart(run, model: str, water: Path, tmp_path: Path) -> None:
    words = [
        "md",
        water,
        "-m",
        model,
        "--ensemble",
        "nve",
        "--temp",
        50,
        "--timestep",
        0.2,
        "--stats-every",
        1,
        "--traj-every",
        2,
        "--no-guard",
    ]
    assert run(*words, "--steps", 6, "-o", tmp_path / "whole").exit_code == 0
    assert run(*words, "--steps", 3, "-o", tmp_path / "parts", "--restart", "auto").exit_code == 0  # none yet
    result = run(*words, "--steps", 6, "-o", tmp_path / "parts")
    assert result.exit_code == 2
    assert "--restart auto continues it" in result.stderr
    result = run(*words, "--steps", 6, "-o", tmp_path / "parts", "--resume")
    assert result.exit_code == 0, result.output
    assert "energy drift" in result.stderr
    for name in ("stats.dat", "traj.extxyz", "final.extxyz"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()
    head = (tmp_path / "whole/stats.dat").read_text().splitlines()[0]
    assert head.split() == ["#", "step", "time_fs", "epot_eV", "ekin_eV", "etot_eV", "temperature_K"]
    assert summary(tmp_path / "whole")["results"]["drift_verdict"] == "too short to tell"


def test_md_guard_ends_with_7(run, model: str, water: Path, tmp_path: Path) -> None:
    result = run(
        "md",
        water,
        "-m",
        model,
        "--ensemble",
        "nve",
        "--temp",
        100,
        "--timestep",
        400,
        "--steps",
        200,
        "-o",
        tmp_path / "o",
    )
    assert result.exit_code == 7, result.output
    assert "Guard:" in result.stderr
    assert np.isfinite(ase.io.read(tmp_path / "o/last-good.extxyz").positions).all()
    assert summary(tmp_path / "o")["exit_code"] == 7


def program(*words: object, **variables: str) -> subprocess.Popen[bytes]:
    path = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **variables}
    command = [sys.executable, "-m", "jmp_calc.cli.main", *map(str, words)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE)


@pytest.mark.parametrize("signum, code", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_fault_62_batch_system_stops_the_job(
    run, model: str, water: Path, tmp_path: Path, signum: int, code: int
) -> None:
    out = tmp_path / "o"
    words = [
        "md",
        water,
        "-m",
        model,
        "--ensemble",
        "nvt",
        "--temp",
        50,
        "--timestep",
        0.1,
        "--stats-every",
        1,
        "--no-guard",
        "-o",
        out,
    ]
    job = program(*words, "--steps", 10**6)
    for _ in range(2000):
        if (out / "stats.dat").exists() and len((out / "stats.dat").read_text().splitlines()) > 3:
            break
        assert job.poll() is None, job.stderr.read() if job.stderr else ""
        time.sleep(0.1)
    job.send_signal(signum)
    _, stderr = job.communicate(timeout=300)
    assert job.returncode == code, stderr
    assert b"restart written" in stderr
    assert summary(out)["status"] == "interrupted"
    rows = [line.split()[0] for line in (out / "stats.dat").read_text().splitlines()[1:]]
    result = run(*words, "--steps", int(rows[-1]) + 2, "--restart", "auto")
    assert result.exit_code == 0, result.output
    steps = np.loadtxt(out / "stats.dat")[:, 0]
    assert steps.tolist() == list(range(int(rows[-1]) + 3))


def test_phonons_write_phonopys_files_and_name_imaginary_modes(
    run, model: str, salt: Path, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    words = [
        "phonons",
        salt,
        "-m",
        model,
        "--supercell",
        "1 1 1",
        "--mesh",
        "2 2 2",
        "--band-points",
        5,
        "-o",
        tmp_path / "o",
    ]
    born = tmp_path / "BORN"
    born.write_text("c\n 2 0 0 0 2 0 0 0 2\n 1 0 0 0 1 0 0 0 1\n -1 0 0 0 -1 0 0 0 -1\n")
    more = ["--pdos", "--thermal-displacements", "--group-velocities", "--frequency-unit", "cm-1"]
    result = run(*words, *more, "--born", born, "--tmax", 310)
    assert result.exit_code == 0, result.output
    assert "LO-TO" not in result.stderr
    for name in (
        "band.yaml",
        "mesh.yaml",
        "total_dos.dat",
        "thermal_properties.yaml",
        "phonopy_params.yaml",
        "phonopy_disp.yaml",
        "band.svg",
        "dos.png",
        "projected_dos.dat",
        "thermal_displacements.yaml",
        "thermal_displacements.cif",
        "b_factors.dat",
        "group_velocities.dat",
        "displacements.svg",
    ):
        assert (tmp_path / "o" / name).stat().st_size > 0, name
    found = summary(tmp_path / "o")["results"]
    assert found["n_displacements"] == 2
    assert str(born) in found["non_analytical_term"]
    assert len(found["thermal_motion"]["b_factors_a2"]) == 2
    assert str(born) in [one["path"] for one in summary(tmp_path / "o")["inputs"]]
    strict = run(*words, "--strict", "--no-plot", "--overwrite")
    assert strict.exit_code == (3 if summary(tmp_path / "o")["results"]["imaginary_modes"] else 0)
    assert "note: the non-analytical term is absent" in strict.stderr
    assert not (tmp_path / "o" / "projected_dos.dat").exists()  # of the earlier run


def test_phonons_of_a_molecule_name_the_alternative(run, model: str, water: Path, tmp_path: Path) -> None:
    result = run("phonons", water, "-m", model, "-o", tmp_path / "o")
    assert result.exit_code == 4
    assert "no lattice" in result.stderr
    assert "jmp-calc vib" in result.stderr
