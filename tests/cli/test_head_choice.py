"""Commands without --head: the first structure decides between two defaults, and the user is told once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ase.io
import pytest
import yaml
from ase.build import bulk, molecule

from .conftest import Run


def model_of(out: Path) -> dict[str, Any]:
    return dict(yaml.safe_load((out / "summary.yaml").read_text())["model"])


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    ase.io.write(
        tmp_path / "mixed.extxyz", [molecule("H2O"), molecule("CH4"), bulk("NaCl", "rocksalt", a=5.6)]
    )
    return tmp_path / "mixed.extxyz"


COMMANDS: dict[str, tuple[str, ...]] = {
    "singlepoint": (),
    "relax": ("--steps", "1", "--allow-unconverged"),
    "md": ("--steps", "1", "--ensemble", "nve"),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(("name", "head"), [("water", "organic"), ("salt", "materials")])
def test_the_first_structure_decides_and_the_summary_says_so(
    run: Run, by_kind: Path, water: Path, salt: Path, tmp_path: Path, command: str, name: str, head: str
) -> None:
    struct = water if name == "water" else salt
    done = run(command, struct, "-m", by_kind, *COMMANDS[command], "-o", tmp_path / "o")
    assert done.exit_code == 0, done.output
    assert done.stderr.count(f"Head '{head}'") == 1
    model = model_of(tmp_path / "o")
    assert model["head"] == head
    assert "decided by the first structure" in model["head_choice"]


@pytest.mark.parametrize("command", [*COMMANDS, "phonons"])
def test_a_dry_run_names_the_head(run: Run, by_kind: Path, salt: Path, tmp_path: Path, command: str) -> None:
    done = run(command, salt, "-m", by_kind, "--dry-run", "-o", tmp_path / "o")
    assert done.exit_code == 0, done.output
    assert "materials" in done.stdout


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_a_frame_of_the_other_kind_is_named(
    run: Run, by_kind: Path, mixed: Path, tmp_path: Path, more: tuple[str, ...]
) -> None:
    done = run("singlepoint", mixed, "-m", by_kind, "-o", tmp_path / "o", *more)
    assert done.exit_code == 5, done.output
    assert "Head 'organic', the default for molecules" in done.stderr
    assert "mixed.extxyz, selected frame 2" in done.stderr
    assert "--head NAME" in done.stderr


def test_a_named_head_computes_both_and_says_nothing(
    run: Run, by_kind: Path, mixed: Path, tmp_path: Path
) -> None:
    done = run("singlepoint", mixed, "-m", by_kind, "--head", "materials", "-o", tmp_path / "o")
    assert done.exit_code == 0, done.output
    assert "head='NAME'" not in done.stderr
    assert "head_choice" not in model_of(tmp_path / "o")


def test_a_first_frame_that_is_refused_is_named(run: Run, by_kind: Path, tmp_path: Path) -> None:
    ase.io.write(tmp_path / "iron.extxyz", bulk("Fe"))
    done = run("singlepoint", tmp_path / "iron.extxyz", "-m", by_kind, "-o", tmp_path / "o")
    assert done.exit_code == 5
    assert "not trained on Fe" in done.stderr
    assert "iron.extxyz, selected frame 0" in done.stderr


def test_a_molecule_in_a_box_is_warned_of(run: Run, by_kind: Path, tmp_path: Path) -> None:
    boxed = molecule("H2O")
    boxed.center(vacuum=5.0)
    boxed.pbc = True
    ase.io.write(tmp_path / "boxed.extxyz", boxed)
    done = run("relax", tmp_path / "boxed.extxyz", "-m", by_kind, *COMMANDS["relax"], "-o", tmp_path / "o")
    assert done.exit_code == 0, done.output
    assert "warning: H2O has vacuum" in done.stderr
    assert "--head organic" in done.stderr


def test_a_restart_keeps_the_head(run: Run, by_kind: Path, water: Path, salt: Path, tmp_path: Path) -> None:
    words = ("md", water, "-m", by_kind, "--ensemble", "nve", "-o", tmp_path / "o")
    assert run(*words, "--steps", "2").exit_code == 0
    done = run(*words, "--steps", "4", "--restart", "auto")
    assert done.exit_code == 0, done.output
    assert model_of(tmp_path / "o")["head"] == "organic"
    named = run(*words, "--steps", "6", "--restart", "auto", "--head", "organic")
    assert named.exit_code == 0, named.output
    other = run(*words, "--steps", "8", "--restart", "auto", "--head", "materials")
    assert other.exit_code == 2
    assert "head" in other.stderr


def test_descriptors_are_the_same_for_all_heads(run: Run, by_kind: Path, mixed: Path, tmp_path: Path) -> None:
    done = run("descriptors", mixed, "-m", by_kind, "-o", tmp_path / "o")
    assert done.exit_code == 0, done.output
    assert "head" not in model_of(tmp_path / "o")


def test_elements_any_computes_outside_the_coverage_with_a_warning(
    run: Run, by_kind: Path, tmp_path: Path
) -> None:
    ase.io.write(tmp_path / "iron.extxyz", bulk("Fe"))
    words = ("singlepoint", tmp_path / "iron.extxyz", "-m", by_kind, "-o", tmp_path / "o")
    done = run(*words, "--elements", "any")
    assert done.exit_code == 0, done.output
    assert "warning: Head 'materials' was not trained on Fe" in done.stderr
    assert model_of(tmp_path / "o")["head"] == "materials"


def test_descriptors_of_elements_that_no_head_knows_need_a_word(
    run: Run, by_kind: Path, tmp_path: Path
) -> None:
    ase.io.write(tmp_path / "iron.extxyz", bulk("Fe"))
    words = ("descriptors", tmp_path / "iron.extxyz", "-m", by_kind, "-o", tmp_path / "o")
    refused = run(*words)
    assert refused.exit_code == 5
    assert "No head of tiny was trained on Fe" in refused.stderr
    done = run(*words, "--elements", "any", "--overwrite")
    assert done.exit_code == 0, done.output
    assert "warning: No head of tiny was trained on Fe: their features are arbitrary" in done.stderr


def test_an_old_name_of_a_head_works_with_a_hint(run: Run, by_kind: Path, salt: Path, tmp_path: Path) -> None:
    done = run("singlepoint", salt, "-m", by_kind, "--head", "solids", "-o", tmp_path / "o")
    assert done.exit_code == 0, done.output
    assert done.stderr.count("is called 'materials' now") == 1
    assert model_of(tmp_path / "o")["head"] == "materials"
