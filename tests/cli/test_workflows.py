"""What relax, md and singlepoint say and leave behind: restarts, ends above the start, runs cut short."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.constraints import FixBondLength

from jmp_calc import JMPCalculator
from tests.cli.summaries import summary
from tests.programs import JMP_CALC, started
from tests.programs import run as run_program

MD = ("--timestep", 0.1, "--stats-every", 1, "--traj-every", 1, "--no-guard")


@pytest.fixture
def salt_cell(tmp_path: Path) -> Path:
    path = tmp_path / "salt.extxyz"
    ase.io.write(path, bulk("NaCl", "rocksalt", a=5.6))
    return path


def test_dynamics_say_where_they_go_on_how_fast_and_over_what_they_average(
    run, model: str, salt_cell: Path, tmp_path: Path
) -> None:
    words = ["md", salt_cell, "-m", model, *MD, "-o", tmp_path / "o"]
    first = run(*words, "--steps", 20)
    assert first.exit_code == 0, first.output
    assert "20 steps, 0.002 ps, " in first.stderr and "ns/day" in first.stderr
    assert "mean temperature" in first.stderr and "GPa (from 0.0002 to 0.002 ps)" in first.stderr
    second = run(*words, "--steps", 30, "--restart", "auto")
    assert "goes on at step 20 of 30" in second.stderr
    results = summary(tmp_path / "o")["results"]
    assert results["started_at_step"] == 20 and results["ns_per_day"] > 0
    third = run(*words, "--steps", 30, "--restart", "auto")
    assert third.exit_code == 0 and "already complete: the restart file is at step 30 of 30" in third.stderr
    assert summary(tmp_path / "o")["results"]["ns_per_day"] is None


def test_a_restart_at_another_temperature_names_the_way_and_leaves_the_run_alone(
    run, model: str, salt_cell: Path, tmp_path: Path
) -> None:
    words = ["-m", model, *MD]
    assert run("md", salt_cell, *words, "--steps", 3, "-o", tmp_path / "o").exit_code == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "o").iterdir()}
    for change in (["--temp", 500], ["--timestep", 0.2], ["--head", "any", "--ensemble", "nve"]):
        refused = run(
            "md", salt_cell, *words, "--steps", 6, "-o", tmp_path / "o", "--restart", "auto", *change
        )
        assert refused.exit_code == 2
        assert "final.extxyz" in refused.stderr and "--velocities keep" in refused.stderr
        assert {path.name: path.read_bytes() for path in (tmp_path / "o").iterdir()} == before
    hotter = [tmp_path / "o/final.extxyz", *words, "--velocities", "keep", "--temp", 500, "--steps", 6]
    assert run("md", *hotter, "-o", tmp_path / "hot").exit_code == 0


def test_relaxing_a_crystal_says_its_symmetry_cell_and_pressure(
    run, model: str, salt_cell: Path, tmp_path: Path
) -> None:
    words = ["relax", salt_cell, "-m", model, "--opt-cell", "full", "--steps", 3, "--allow-unconverged"]
    result = run(*words, "--fix-symmetry", "-o", tmp_path / "o")
    assert result.exit_code == 0, result.output
    assert "space group Fm-3m (225), kept" in result.stderr
    assert "volume" in result.stderr and "pressure" in result.stderr and "stress left" in result.stderr
    found = summary(tmp_path / "o")["results"]
    assert found["space_group"] == found["space_group_start"] == "Fm-3m (225)"
    assert found["pressure_gpa"] == pytest.approx(-np.mean(found["stress_gpa"][:3]))


@pytest.mark.parametrize("words", [(), ("--allow-unconverged",)])
def test_a_relaxation_that_ends_above_its_start_has_exit_code_3(
    run, model: str, water: Path, tmp_path: Path, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With forces of the wrong sign."""
    calculate = JMPCalculator.calculate

    def uphill(self: JMPCalculator, *args: object, **kwargs: object) -> None:
        calculate(self, *args, **kwargs)
        if "forces" in self.results:
            self.results["forces"] = -self.results["forces"]

    monkeypatch.setattr(JMPCalculator, "calculate", uphill)
    done = run("relax", water, "-m", model, "--steps", 5, "-o", tmp_path / "o", *words)
    assert done.exit_code == 3, done.stderr
    assert "error: The relaxation went uphill" in done.stderr
    found = summary(tmp_path / "o")
    assert found["status"] == "not-converged" and found["results"]["climbed"]
    kept = ase.io.read(tmp_path / "o/opt.extxyz")
    assert kept.info["step"] == found["results"]["step_kept"] == 0


def test_constraints_that_files_cannot_hold_are_in_the_summary(
    run, model: str, water: Path, tmp_path: Path
) -> None:
    atoms = ase.io.read(water)
    atoms.set_constraint(FixBondLength(0, 1))
    ase.io.write(tmp_path / "fixed.traj", atoms)
    for command in ("relax", "md"):
        words = [tmp_path / "fixed.traj", "-m", model, "--steps", 2, "-o", tmp_path / command]
        more = ["--allow-unconverged"] if command == "relax" else MD
        result = run(command, *words, *more)
        assert result.exit_code == 0, result.output
        assert "cannot hold FixBondLength" in result.stderr
        assert "FixBondLength" in str(summary(tmp_path / command)["warnings"])


@pytest.mark.parametrize("command", ["singlepoint", "descriptors"])
def test_a_failed_run_does_not_block_its_own_correction(
    run, model: str, water: Path, tmp_path: Path, command: str
) -> None:
    sound = ase.io.read(water)
    broken = sound.copy()
    broken.positions[1] = broken.positions[0]
    path = tmp_path / "frames.extxyz"
    words = [command, path, "-m", model, "-o", tmp_path / "o", "--prefix", "a"]
    ase.io.write(path, [sound, broken])
    assert run(*words).exit_code == 4
    ase.io.write(path, [sound, sound])
    done = run(*words)
    assert done.exit_code == 0, done.output
    assert run(*words).exit_code == 2  # results are not replaced
    assert run(*words, "--overwrite").exit_code == 0


def test_a_failed_run_of_another_command_is_not_replaced(
    run, model: str, water: Path, tmp_path: Path
) -> None:
    (tmp_path / "summary.yaml").write_text("command: relax\nstatus: failed\n")
    (tmp_path / "results.extxyz").write_text("3\n")
    assert run("singlepoint", water, "-m", model, "-o", tmp_path).exit_code == 2
    assert (tmp_path / "results.extxyz").read_text() == "3\n"


@pytest.mark.parametrize("command", ["md", "singlepoint"])
def test_a_run_killed_before_it_wrote_anything_starts_again(
    run, model: str, salt_cell: Path, tmp_path: Path, command: str
) -> None:
    """SIGKILL as soon as the summary is there: the model is not loaded yet."""
    words = [command, str(salt_cell), "-m", model, "-o", str(tmp_path / "o"), "-q"]
    words += ["--steps", "2", "--restart", "auto"] if command == "md" else []
    program = (
        "import os, sys; from jmp_calc.cli.options import Common; "
        "Common.network = lambda common: os.kill(os.getpid(), 9)\n"
        "from jmp_calc.cli.main import main; main()"
    )
    killed = run_program([sys.executable, "-c", program, *words])
    assert killed.returncode == -signal.SIGKILL
    assert summary(tmp_path / "o")["status"] == "running"
    assert run(*words).exit_code == 0


@pytest.mark.slow
def test_dynamics_killed_anywhere_go_on_with_the_same_command(
    model: str, water: Path, tmp_path: Path
) -> None:
    """Killed after growing times, until a run ends: no state of the folder refuses the same command."""
    words = [*JMP_CALC, "md", water, "-m", model, *MD, "--steps", 40]
    words += ["--restart-every", 5, "-o", "o", "-q", "--restart", "auto"]
    for _ in range(4):
        with started(words, cwd=tmp_path) as job:
            end = time.monotonic() + 60
            marker = tmp_path / "o/traj.extxyz"
            seen = marker.stat().st_size if marker.exists() else 0
            while job.poll() is None and time.monotonic() < end:
                if marker.exists() and marker.stat().st_size > seen:
                    job.kill()
                    break
                time.sleep(0.002)
            _, said = job.communicate(timeout=120)
        assert job.returncode in (0, -signal.SIGKILL), said
    done = run_program(words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert np.loadtxt(tmp_path / "o/stats.dat")[:, 0].tolist() == list(range(41))
    steps = [frame.info["step"] for frame in ase.io.read(tmp_path / "o/traj.extxyz", ":")]
    assert steps == list(range(41))


def test_fixed_atoms_are_a_sentence(run, model: str, tmp_path: Path) -> None:
    from ase.constraints import FixAtoms

    atoms = Atoms("OH", [[0, 0, 0], [0, 0, 1.0]], constraint=FixAtoms([0, 1]))
    ase.io.write(tmp_path / "fixed.extxyz", atoms)
    result = run("md", tmp_path / "fixed.extxyz", "-m", model, "--steps", 2, "-o", tmp_path / "o")
    assert result.exit_code == 2 and "Every atom is fixed" in result.stderr


def test_a_dry_run_of_dynamics_names_the_files_of_that_run(run, model: str, salt_cell: Path) -> None:
    words = ["md", salt_cell, "-m", model, "--dry-run", "--no-plot", "--traj-format", "extxyz.gz"]
    plain = run(*words)
    assert "writes: stats.dat, traj.extxyz.gz, final.extxyz, restart.npz\n" in plain.output
    full = run(*words, "--analyse", "--thermostat", "bussi", "--schedule", "300 10 steps, relax")
    assert "restart.npz, quenched.extxyz, rdf.dat, msd.dat" in full.output


@pytest.mark.parametrize(
    ("words", "fact"),
    [(("--temp", 300), "starts at 500 K, not at 300 K"), (("--steps", 1000), "lasts 20 steps, not 1000")],
    ids=["temperature", "steps"],
)
def test_what_a_schedule_contradicts_is_told_also_where_it_is_the_default(
    run, model: str, salt_cell: Path, words: tuple[str, int], fact: str
) -> None:
    command = [
        "md",
        salt_cell,
        "-m",
        model,
        "--thermostat",
        "bussi",
        "--schedule",
        "500 20 steps",
        "--dry-run",
    ]
    assert run(*command).exit_code == 0
    refused = run(*command, *words)
    assert refused.exit_code == 2 and fact in refused.stderr
