"""Output folders: what --overwrite may remove, which folder a restart may go on in, and what --dry-run
checks."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import ase.io
import numpy as np
import pytest
import yaml
from ase.build import molecule


@pytest.mark.parametrize(
    "command, name",
    [
        ("relax", "opt.extxyz"),
        ("md", "final.extxyz"),
        ("singlepoint", "results.extxyz"),
        ("phonons", "unitcell.extxyz"),
        ("descriptors", "descriptors.extxyz"),
        ("evaluate", "predictions.extxyz"),
    ],
)
@pytest.mark.parametrize("linked", [False, True])
def test_overwrite_removes_no_structure_that_the_run_reads(
    run, model: str, salt: Path, tmp_path: Path, command: str, name: str, linked: bool
) -> None:
    out = tmp_path / "o"
    out.mkdir()
    shutil.copy(salt, out / name)
    (out / "summary.yaml").write_text("status: ok\n")
    given = out / name
    if linked:
        given = tmp_path / "link.extxyz"
        given.symlink_to(out / name)
    words = ["--extxyz"] if command == "descriptors" else []
    result = run(command, given, *words, "-m", model, "-o", out, "--overwrite")
    assert result.exit_code == 2, result.output
    assert str(given) in result.stderr
    assert "-o DIR" in result.stderr
    assert (out / name).read_bytes() == salt.read_bytes()
    assert (out / "summary.yaml").read_text() == "status: ok\n"


def test_what_a_failed_run_left_and_the_next_reads_stays(run, model: str, tmp_path: Path) -> None:
    """singlepoint replaces the results of a run that failed, but not while it reads them."""
    out, left = tmp_path / "out", tmp_path / "out" / "results.extxyz"
    out.mkdir()
    (out / "summary.yaml").write_text("command: singlepoint\nstatus: failed\n")
    ase.io.write(left, molecule("H2O"))
    before = left.read_bytes()
    result = run("singlepoint", left, "-m", model, "-o", out)
    assert result.exit_code == 2 and "would remove a file that this run reads" in result.stderr
    assert left.read_bytes() == before


@pytest.mark.parametrize(
    ("command", "name"),
    [("relax", "opt.extxyz"), ("evaluate", "predictions.extxyz"), ("descriptors", "descriptors.npz")],
)
def test_a_wrong_model_or_head_costs_no_earlier_results(
    run, model: str, salt: Path, tmp_path: Path, command: str, name: str
) -> None:
    (tmp_path / name).write_text("earlier")
    for words in (("-m", "nosuch.safetensors"), ("-m", model, "--head", "anny")):
        assert run(command, salt, *words, "-o", tmp_path, "--overwrite").exit_code == 5
        assert (tmp_path / name).read_text() == "earlier"


def test_new_weights_replace_an_earlier_run(run, salt: Path, tmp_path: Path) -> None:
    (tmp_path / "best.safetensors").write_text("earlier")
    result = run("finetune", salt, "-m", "scratch:jmp-xs", "-o", tmp_path, "--overwrite", "--max-steps", 1)
    assert "Unknown model" not in result.stderr


def test_overwrite_removes_no_model_that_the_run_starts_from(
    run, model: str, salt: Path, tmp_path: Path
) -> None:
    best = tmp_path / "run/best.safetensors"
    best.parent.mkdir()
    shutil.copy(model, best)
    result = run("finetune", salt, "-m", best, "-o", best.parent, "--overwrite")
    assert result.exit_code == 2, result.output
    assert str(best) in result.stderr
    assert best.read_bytes() == Path(model).read_bytes()


@pytest.mark.parametrize("option", ["--retain", "--replay"])
def test_overwrite_removes_no_earlier_data_of_a_fine_tuning(
    run, model: str, salt: Path, tmp_path: Path, option: str
) -> None:
    out = tmp_path / "run"
    out.mkdir()
    shutil.copy(salt, out / "predictions-test.extxyz")
    result = run(
        "finetune",
        salt,
        "-m",
        model,
        option,
        f"{out / 'predictions-test.extxyz'}:any",
        "-o",
        out,
        "--overwrite",
    )
    assert result.exit_code == 2, result.output
    assert "predictions-test.extxyz" in result.stderr
    assert (out / "predictions-test.extxyz").read_bytes() == salt.read_bytes()


def test_dry_run_of_a_fine_tuning_refuses_a_folder_with_a_run(
    run, model: str, salt: Path, tmp_path: Path
) -> None:
    (tmp_path / "best.safetensors").write_text("earlier")
    result = run("finetune", salt, "-m", model, "-o", tmp_path, "--dry-run")
    assert result.exit_code == 2, result.output
    assert "best.safetensors" in result.stderr


@pytest.mark.parametrize("command", ["singlepoint", "descriptors"])
def test_a_structure_that_cannot_be_read_removes_no_results(
    run, model: str, tmp_path: Path, command: str
) -> None:
    names = ("results.extxyz", "descriptors.npz")
    for name in names:
        (tmp_path / name).write_text("earlier")
    assert run(command, tmp_path / "typo.xyz", "-m", model, "-o", tmp_path, "--overwrite").exit_code == 4
    assert [(tmp_path / name).read_text() for name in names] == ["earlier"] * 2


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_restart_of_another_folder_leaves_the_rows_of_this_one(
    run, model: str, water: Path, tmp_path: Path
) -> None:
    words = ["md", water, "-m", model, "--timestep", 0.1, "--stats-every", 1, "--no-guard", "-q"]
    a, b = tmp_path / "a", tmp_path / "b"
    assert run(*words, "--steps", 2, "-o", a).exit_code == 0
    assert run(*words, "--steps", 1, "--seed", 5, "-o", b).exit_code == 0
    before = files(b)
    result = run(*words, "--steps", 4, "-o", b, "--restart", a / "restart.npz")
    assert result.exit_code == 2, result.output
    assert "exists already" in result.stderr
    assert files(b) == before
    result = run(*words, "--steps", 4, "-o", a, "--restart", a / "restart.npz", "--overwrite")
    assert (result.exit_code, "contradict" in result.stderr) == (2, True)
    assert run(*words, "--steps", 4, "-o", b, "--restart", a / "restart.npz", "--overwrite").exit_code == 0
    assert np.loadtxt(b / "stats.dat")[:, 0].tolist() == [3, 4]
    assert run(*words, "--steps", 4, "-o", a, "--restart", a / "restart.npz").exit_code == 0
    assert np.loadtxt(a / "stats.dat")[:, 0].tolist() == [0, 1, 2, 3, 4]


def test_a_job_killed_before_its_first_step_goes_on_with_restart_auto(
    run, model: str, water: Path, tmp_path: Path
) -> None:
    words = [
        "md",
        water,
        "-m",
        model,
        "--timestep",
        0.1,
        "--stats-every",
        1,
        "--no-guard",
        "-q",
        "-o",
        tmp_path / "o",
    ]
    started = (
        "import os, sys; from jmp_calc.workflows.md_run import Run; Run.advance = lambda run: os._exit(9)\n"
    )
    program = started + "from jmp_calc.cli.main import cli; cli.main(sys.argv[1:])"
    killed = subprocess.run([sys.executable, "-c", program, *map(str, words), "--steps", "2"], check=False)
    assert killed.returncode == 9
    refused = run(*words, "--steps", 2)
    assert (refused.exit_code, "--restart auto continues it" in refused.stderr) == (2, True)
    assert run(*words, "--steps", 2, "--restart", "auto").exit_code == 0
    assert np.loadtxt(tmp_path / "o/stats.dat")[:, 0].tolist() == [0, 1, 2]


def test_dynamics_that_fail_at_once_leave_nothing_that_blocks_the_next(
    run, model: str, water: Path, tmp_path: Path
) -> None:
    ion = ase.io.read(water)
    ion.info["charge"] = 1
    ase.io.write(tmp_path / "ion.extxyz", ion)
    words = ["-m", model, "--steps", 1, "-o", tmp_path / "o"]
    assert run("md", tmp_path / "ion.extxyz", *words).exit_code == 4
    result = run("md", water, *words)
    assert result.exit_code == 0, result.output


def test_dynamics_without_a_row_end_well(run, model: str, water: Path, tmp_path: Path) -> None:
    words = ["md", water, "-m", model, "--timestep", 0.1, "--no-guard"]
    assert run(*words, "--steps", 1, "-o", tmp_path / "a").exit_code == 0
    result = run(*words, "--steps", 2, "-o", tmp_path / "b", "--restart", tmp_path / "a/restart.npz")
    assert result.exit_code == 0, result.output
    assert "2 steps" in result.stderr
    assert ase.io.read(tmp_path / "b/final.extxyz").info["step"] == 2
    written = yaml.safe_load((tmp_path / "b/summary.yaml").read_text())["outputs"]
    assert {Path(entry["path"]).name for entry in written} == {"final.extxyz", "restart.npz"}


def test_the_commands_of_the_help_follow_each_other(
    run, model: str, salt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    relaxed = "jmp_results/relax/opt.extxyz"
    assert f"jmp-calc md {relaxed}" in run("--help").stdout
    assert f"jmp-calc phonons {relaxed}" in run("phonons", "--help").stdout
    assert run("relax", salt, "-m", model, "--fmax", 50, "-q").exit_code == 0
    assert run("md", relaxed, "-m", model, "--steps", 1, "--no-guard", "-q").exit_code == 0
    assert run("singlepoint", relaxed, "-m", model, "-q").exit_code == 0
    assert (
        run(
            "phonons",
            relaxed,
            "-m",
            model,
            "--supercell",
            "1 1 1",
            "--mesh",
            "1 1 1",
            "--band-points",
            2,
            "--fmax",
            50,
            "--no-plot",
            "-q",
        ).exit_code
        == 0
    )


def test_a_restart_is_offered_only_where_there_is_one(run, model: str, water: Path, tmp_path: Path) -> None:
    (tmp_path / "traj.extxyz").write_text("of a relaxation")
    result = run("md", water, "-m", model, "-o", tmp_path)
    assert result.exit_code == 2
    assert "--restart" not in result.stderr


@pytest.mark.parametrize(
    "command, name",
    [
        ("relax", "opt.log"),
        ("md", "stats.dat"),
        ("phonons", "band.yaml"),
        ("singlepoint", "results.extxyz"),
        ("descriptors", "descriptors.npz"),
    ],
)
def test_dry_run_refuses_what_the_run_would_refuse(
    run, model: str, salt: Path, tmp_path: Path, command: str, name: str
) -> None:
    out = tmp_path / "o"
    out.mkdir()
    (out / name).write_text("earlier")
    words = [*(["--supercell", "2 2 2"] if command == "phonons" else []), "--dry-run", "-m"]
    for wrong, code, message in (
        ([tmp_path / "no.safetensors"], 5, "no.safetensors"),
        ([model, "--head", "xx"], 5, "xx"),
        ([model, "--device", "cuda:77"], 2, "cuda:77"),
        ([model, "-o", out], 2, "exists already"),
        ([model, "-o", salt], 2, "is a file"),
        ([model, "-o", salt / "below"], 2, "is a file"),
    ):
        result = run(command, salt, *words, *wrong)
        assert result.exit_code == code, result.output
        assert message in result.stderr
    result = run(command, salt, *words, model, "-o", out, "--overwrite")
    assert result.exit_code == 0, result.output
    assert files(out) == {name: b"earlier"}
