"""relax of many structures and screen from the command line: files, exit codes, what is said."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import ase.io
import pytest
import yaml
from ase.build import bulk, molecule

from jmp_calc.io.outdir import LOCK_NAME


@pytest.fixture
def molecules(tmp_path: Path) -> Path:
    """Three molecules in a file."""
    path = tmp_path / "molecules.extxyz"
    ase.io.write(path, [molecule(name) for name in ("H2O", "CH4", "NH3")])
    return path


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_relax_of_several_frames_has_a_row_for_each(run, model: str, molecules: Path, tmp_path: Path) -> None:
    words = ["relax", f"{molecules}@:", "-m", model, "--steps", 2, "--no-guard", "-o", tmp_path / "o"]
    plan = run(*words, "--dry-run")
    assert plan.exit_code == 0 and "structures: 3 from" in plan.stdout, plan.output
    assert not (tmp_path / "o").exists()
    done = run(*words)
    found = yaml.safe_load((tmp_path / "o/summary.yaml").read_text(encoding="utf-8"))
    assert done.exit_code == (0 if found["results"]["ok"] == 3 else 3), done.output
    names = {path.name for path in (tmp_path / "o").iterdir()} - {LOCK_NAME}
    assert names == {"relax.csv", "relax.jsonl", "relaxed.extxyz", "summary.yaml"}
    assert [row["formula"] for row in rows(tmp_path / "o/relax.csv")] == ["H2O", "CH4", "H3N"]
    assert len(ase.io.read(tmp_path / "o/relaxed.extxyz", ":")) == 3
    assert run(*words).exit_code == 2
    again = run(*words, "--resume", "--allow-unconverged")
    assert again.exit_code == 0, again.output


def test_options_of_several_structures_are_refused_for_one(run, model: str, molecules: Path) -> None:
    one = run("relax", molecules, "-m", model, "--resume", "--dry-run")
    assert one.exit_code == 2 and "several structures" in one.stderr
    many = run("relax", f"{molecules}@:", "-m", model, "--write", "cif", "--dry-run")
    assert many.exit_code == 2 and "one structure" in many.stderr


def test_screen_has_a_row_for_each_and_names_what_failed(
    run, model: str, molecules: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "cifs"
    folder.mkdir()
    ase.io.write(folder / "a.cif", bulk("NaCl", "rocksalt", a=5.6))
    (folder / "b.cif").write_text("data_nothing\n")
    words = ["screen", molecules, folder, "-m", model, "--task", "singlepoint", "-o", tmp_path / "o"]
    plan = run(*words, "--dry-run")
    assert plan.exit_code == 0 and "structures: 4" in plan.stdout and "b.cif" in plan.stdout, plan.output
    assert not (tmp_path / "o").exists()
    done = run(*words)
    assert done.exit_code == 3 and "b.cif" in done.stderr, done.output
    found = rows(tmp_path / "o/screen.csv")
    assert [row["status"] for row in found] == ["ok", "ok", "ok", "ok", "failed"]
    summary = yaml.safe_load((tmp_path / "o/summary.yaml").read_text(encoding="utf-8"))
    assert summary["status"] == "not-converged" and summary["results"]["n_computed"] == 4
    endings = {Path(entry["path"]).suffix for entry in summary["outputs"]}
    assert endings >= {".csv", ".db", ".extxyz", ".jsonl"}
    assert run(*words).exit_code == 2
    again = run(*words, "--resume", "--retry", "--no-plot")
    assert again.exit_code == 3 and rows(tmp_path / "o/screen.csv") == found


def test_files_of_a_campaign_have_its_prefix_and_are_gone_on_with(
    run, model: str, molecules: Path, tmp_path: Path
) -> None:
    words = ["screen", molecules, "-m", model, "--task", "singlepoint", "-o", tmp_path / "o"]
    assert run(*words).exit_code == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "o").iterdir() if path.name != LOCK_NAME}
    done = run(*words, "--prefix", "b")
    assert done.exit_code == 0 and f"wrote {tmp_path / 'o' / 'b-screen.csv'}" in done.stderr, done.output
    assert all((tmp_path / "o" / name).read_bytes() == data for name, data in before.items())
    names = {path.name for path in (tmp_path / "o").iterdir()} - {LOCK_NAME}
    assert names == {*before, *(f"b-{name}" for name in before)}
    run(*words, "--prefix", "b", "--resume")
    summary = yaml.safe_load((tmp_path / "o/b-summary.yaml").read_text(encoding="utf-8"))
    assert summary["results"]["n_computed"] == 0
    assert all(Path(entry["path"]).name.startswith("b-") for entry in summary["outputs"])


def test_settings_of_a_task_are_checked_before_anything_is_read(run, model: str, molecules: Path) -> None:
    wrong = run("screen", molecules, "-m", model, "--set", "fmx=0.1")
    assert wrong.exit_code == 2 and "did you mean fmax?" in wrong.stderr
    assert run("screen", molecules, "-m", model, "--set", "fmax").exit_code == 2
    assert run("screen", molecules, "-m", model, "--set", "fmax=-1").exit_code == 2
    assert run("screen", molecules, "-m", model, "--retry").exit_code == 2
    plan = run("screen", molecules, "-m", model, "--set", "fmax=1e-4", "--set", "cell=none", "--dry-run")
    assert plan.exit_code == 0 and "fmax 0.0001" in plan.stdout


def test_the_seed_of_the_command_is_that_of_the_task(
    run, model: str, molecules: Path, tmp_path: Path
) -> None:
    words = ["screen", f"{molecules}@0", "-m", model, "--task", "md", "--set", "steps=4", "--no-plot"]
    words += ["--set", "temperature_k=300", "--set", "ensemble=nvt"]
    temperatures = []
    for seed in (1, 2):
        assert run(*words, "--seed", seed, "-o", tmp_path / str(seed)).exit_code == 0
        temperatures.append(rows(tmp_path / str(seed) / "screen.csv")[0]["temperature_k_mean"])
    assert temperatures[0] != temperatures[1]
    again = run(*words, "--seed", 2, "-o", tmp_path / "1", "--resume")
    assert again.exit_code == 2 and "seed was 1, now it is 2" in again.stderr
    two = run(*words, "--seed", 2, "--set", "seed=3", "-o", tmp_path / "3")
    assert two.exit_code == 2 and "contradict" in two.stderr


@pytest.mark.parametrize(
    ("task", "dtype"), [("relax", "float32"), ("eos", "float64"), ("phonons", "float64")]
)
def test_tasks_of_small_differences_are_computed_in_float64(
    run, model: str, salt: Path, tmp_path: Path, task: str, dtype: str
) -> None:
    words = ["screen", salt, "-m", model, "--task", task, "-o", tmp_path / "o", "--dry-run", "--json"]
    assert json.loads(run(*words).stdout)["model"]["dtype"] == dtype
    assert json.loads(run(*words, "--dtype", "float32").stdout)["model"]["dtype"] == "float32"
