"""``jmp-calc label``: what it prints and writes, and what it says of options that do not go together."""

from __future__ import annotations

import json
from pathlib import Path

import ase.io
import pytest
import yaml
from ase.build import bulk, molecule

from tests.cli.conftest import Run

EMT = ("--calculator", "ase.calculators.emt:EMT")


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    """Copper, water (which EMT has parameters for, but not hydrogen's in silicon) and silicon."""
    path = tmp_path / "pool.extxyz"
    ase.io.write(path, [bulk("Cu"), bulk("Si"), molecule("N2")])
    return path


def test_a_run_says_what_it_did(run: Run, pool: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    found = run("label", pool, *EMT, "-o", out)
    assert found.exit_code == 0, found.stderr
    assert "2 frames labelled with emt (ase 3" in found.stderr
    assert "isolated atoms: Cu, N (2 of them added)" in found.stderr
    assert "left out: 2, the teacher failed" in found.stderr, "the crystal and the free atom of silicon"
    summary = yaml.safe_load((out / "summary.yaml").read_text())
    assert summary["status"] == "ok" and summary["results"]["n_frames"] == 2
    assert summary["results"]["frames_with_element"] == {"Cu": 2, "N": 2}
    assert summary["inputs"][0]["path"] == str(pool)
    assert {Path(item["path"]).name for item in summary["outputs"]} == {
        "labelled.extxyz", "left_out.csv", "teacher.yaml",
    }  # fmt: skip
    again = run("label", pool, *EMT, "-o", out)
    assert again.exit_code == 2 and "--resume goes on with it" in again.stderr
    resumed = run("label", pool, *EMT, "-o", out, "--resume", "--json", "-q")
    assert resumed.exit_code == 0 and json.loads(resumed.stdout)["results"]["n_computed"] == 0


def test_a_dry_run_loads_the_teacher_and_writes_nothing(run: Run, pool: Path, tmp_path: Path) -> None:
    found = run("label", pool, *EMT, "-o", tmp_path / "out", "--dry-run")
    assert found.exit_code == 0 and not (tmp_path / "out").exists()
    assert "frames: 3" in found.stdout and "method: emt" in found.stdout
    assert "isolated atoms added: 3" in found.stdout


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--kwargs", "{"), 2, "--kwargs is no JSON"),
        (("--kwargs", "[1]"), 2, "no JSON object"),
        (("--retry",), 2, "give --resume too"),
        (("--processes", "1000"), 2, "cannot share"),
        (("--timeout", "-1"), 2, "timeout must be a positive number of s"),
        (("--method", "PBE", "--weights", "nowhere"), 2, "no weights at this path"),
    ],
)
def test_options_that_cannot_be_are_said(
    run: Run, pool: Path, words: tuple[str, ...], code: int, said: str
) -> None:
    found = run("label", pool, *EMT, "-o", pool.parent / "out", *words)
    assert found.exit_code == code and said in found.stderr and "Traceback" not in found.stderr


def test_the_head_of_a_model_that_labels_is_the_one_that_is_named(run: Run, tmp_path: Path) -> None:
    ase.io.write(tmp_path / "water.extxyz", molecule("H2O"))
    words = (
        "label",
        tmp_path / "water.extxyz",
        "--calculator",
        "jmp-xs",
        "--dry-run",
        "-o",
        tmp_path / "out",
    )
    found = run(*words, "--head", "gfn2")
    assert found.exit_code == 0 and "method: jmp-xs gfn2" in found.stdout, found.output
    assert "did you mean 'gfn2'" in run(*words, "--head", "gfn3").stderr


def test_a_file_that_is_cut_short_is_known_before_anything_is_asked(run: Run, pool: Path) -> None:
    pool.write_text("".join(pool.read_text().splitlines(keepends=True)[:-1]))
    found = run("label", pool, *EMT, "-o", pool.parent / "out")
    assert found.exit_code == 4 and not (pool.parent / "out" / "parts").exists()


def test_a_missing_package_is_named_with_the_line_that_installs_it(
    run: Run, pool: Path, tmp_path: Path
) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho \"ModuleNotFoundError: No module named 'numpy'\" >&2\nexit 1\n")
    python.chmod(0o755)
    found = run("label", pool, "--calculator", "tblite", "--python", python, "-o", tmp_path / "out")
    assert found.exit_code == 5
    assert "The package numpy is not installed." in found.stderr
    assert f"{python} -m pip install numpy ase tblite==" in found.stderr
