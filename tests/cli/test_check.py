"""check and check-data from the command line: reports, summaries, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import ase.io
import pytest
from ase.build import molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from tests.cli.summaries import summary

EMT_NAME = "ase.calculators.emt:EMT"


def test_any_calculator_is_checked(run, tmp_path: Path) -> None:
    words = ("--calculator", EMT_NAME, "--only", "rotation", "--only", "batch", "-o", tmp_path / "o")
    done = run("check", *words, "--json")
    assert done.exit_code == 0, done.output
    results = json.loads(done.stdout)["results"]
    assert results["passed"] and results["counts"] == {"pass": 1, "not applicable": 1}
    assert results["checks"][0]["measured"] < results["checks"][0]["limit"]
    assert (tmp_path / "o" / "check.html").is_file()
    assert summary(tmp_path / "o")["model"] == {"name": "EMT"}
    assert "rotation" in done.stderr and "wrote" in done.stderr


def test_a_model_that_fails_ends_with_5_after_writing(run, model: str, tmp_path: Path) -> None:
    """Single precision held to the limits of double precision."""
    words = ("--dtype", "float32", "--precision", "float64", "--only", "rotation", "-o", tmp_path / "o")
    done = run("check", model, *words)
    assert done.exit_code == 5, done.output
    assert "1 of 1 checks failed: rotation" in done.stderr
    assert (tmp_path / "o" / "check.html").is_file() and summary(tmp_path / "o")["exit_code"] == 5


def test_a_dry_run_names_the_checks(run, model: str, tmp_path: Path) -> None:
    done = run("check", model, "--dry-run", "-o", tmp_path / "o")
    assert done.exit_code == 0, done.output
    assert "forces, stress, hessian" in done.stdout and "compile" not in done.stdout
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("jmp-xs", "--calculator", EMT_NAME), "Several things"),
        (("jmp-xs", "-m", "jmp-xs"), "Several things"),
        (("--kwargs", '{"a": 1}'), "without --calculator"),
        (("--calculator", "ase.calculators.emt:Nothing"), "has no factory"),
        (
            ("--calculator", EMT_NAME, "--dispersion", "d3bj"),
            "--dispersion says how a model",
        ),
        (("--calculator", EMT_NAME, "--head", "pbe"), "--head says how a model"),
        (("--calculator", "ase.build:molecule", "--kwargs", '{"name": "H2O"}'), "no ASE calculator"),
        (("--only", "speed"), "speed"),
        (("jmp-xs", "--dispersion", "False"), "False"),
        (("jmp-xs", "--dispersion-functional", "pbe", "--head", "pbe"), "without --dispersion"),
    ],
)
def test_what_cannot_be_meant_is_refused(run, words: tuple, reason: str, tmp_path: Path) -> None:
    refused = run("check", *words, "-o", tmp_path / "o", "--dry-run")
    assert refused.exit_code == 2 and reason in refused.stderr, refused.output


def labelled(path: Path, *, sign: float = 1.0, count: int = 30) -> Path:
    """A trajectory of ethanol with energies and forces of effective medium theory."""
    frames = []
    for number in range(count):
        atoms = molecule("CH3CH2OH")
        atoms.rattle(0.03, seed=number // 2)
        atoms.positions[0] += 0.01 * (number % 2)
        atoms.calc = EMT()
        energy, forces = atoms.get_potential_energy(), sign * atoms.get_forces()
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
        frames.append(atoms)
    ase.io.write(path, frames)
    return path


def test_labels_are_audited_with_a_report(run, tmp_path: Path) -> None:
    data = labelled(tmp_path / "right.extxyz")
    done = run("check-data", data, "-o", tmp_path / "o")
    assert done.exit_code == 0, done.output
    report = (tmp_path / "o" / "data.html").read_text(encoding="utf-8")
    assert "Findings" in report and "C H O" in report.replace("H C", "C H")
    found = summary(tmp_path / "o")
    assert found["results"]["passed"] and found["results"]["train"]["frames"] == 30


def test_frames_without_any_label_are_no_data(run, tmp_path: Path) -> None:
    bare = tmp_path / "bare.extxyz"
    ase.io.write(bare, [molecule(name) for name in ("H2O", "CH4", "NH3")])
    done = run("check-data", bare, "-o", tmp_path / "o")
    assert done.exit_code == 4, done.output
    assert "3 of 3 frames have no energy" in done.stderr and "no forces" in done.stderr


def test_labels_that_a_training_would_refuse_end_with_4_after_writing(run, tmp_path: Path) -> None:
    data = labelled(tmp_path / "wrong.extxyz", sign=-1.0)
    done = run("check-data", data, "-o", tmp_path / "o")
    assert done.exit_code == 4, done.output
    assert "forces_disagree" in (tmp_path / "o" / "data.html").read_text(encoding="utf-8")
    allowed = run("check-data", data, "--allow", "forces_disagree", "-o", tmp_path / "a")
    assert allowed.exit_code == 0, allowed.output
    copies = run("check-data", data, "--valid", data, "-o", tmp_path / "v")
    assert copies.exit_code in (2, 4)


def test_a_dry_run_of_an_audit_writes_nothing(run, tmp_path: Path) -> None:
    data = labelled(tmp_path / "right.extxyz", count=4)
    done = run("check-data", data, "--dry-run", "-o", tmp_path / "o")
    assert done.exit_code == 0 and "data.html" in done.stdout, done.output
    assert not (tmp_path / "o").exists()
    assert run("check-data", tmp_path / "none.xyz", "-o", tmp_path / "o").exit_code in (2, 4)
