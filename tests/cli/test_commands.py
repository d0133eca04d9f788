"""relax, md and phonons from the command line: files, summaries, exit codes, signals."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import ase.io
import numpy as np
import pytest

from jmp_calc.io.outdir import LOCK_NAME
from tests.cli.summaries import summary
from tests.programs import JMP_CALC, environment, started
from tests.programs import run as run_program

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


def test_fault_58_no_home_directory(model: str, water: Path, tmp_path: Path) -> None:
    words = ("relax", water, "-m", model, "-o", tmp_path / "o", "--fmax", 50)
    done = run_program([*JMP_CALC, *words], env=environment(HOME="/nonexistent"))
    assert done.returncode == 0, done.stderr


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
    with started([*JMP_CALC, *words, "--steps", 10**6]) as job:
        for _ in range(2000):
            if (out / "stats.dat").exists() and len((out / "stats.dat").read_text().splitlines()) > 3:
                break
            assert job.poll() is None, job.stderr.read() if job.stderr else ""
            time.sleep(0.1)
        job.send_signal(signum)
        _, stderr = job.communicate(timeout=300)
    assert job.returncode == code, stderr
    assert "restart written" in stderr
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
