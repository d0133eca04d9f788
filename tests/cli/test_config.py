"""Fault 55: configuration files. The command line wins, mistakes are named with key and line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest


@pytest.fixture
def config(tmp_path: Path):
    def write(text: str) -> Path:
        path = tmp_path / "c.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def settings(run, water: Path, *words: object) -> dict:
    result = run("relax", water, "--dry-run", "--json", *words)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_values_come_from_the_file_and_the_command_line_wins(run, water: Path, config) -> None:
    path = config("fmax: 1e-3\nsteps: 7\nopt-cell: none\nfix_symmetry: false\n")
    found = settings(run, water, "--config", path)
    assert found["fmax"] == 1e-3
    assert found["steps"] == 7
    assert settings(run, water, "--steps", 9, "--config", path)["steps"] == 9


def test_structure_and_lists_may_be_in_the_file(run, model: str, salt: Path, config) -> None:
    path = config(f"struct: {salt}\nsupercell: [2, 2, 2]\nno_such: 1\n")
    assert run("phonons", "--config", path, "--dry-run").exit_code == 2
    path = config(f"struct: {salt}\nmodel: {model}\nsupercell: [2, 2, 2]\n")
    result = run("phonons", "--config", path, "--dry-run", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["supercell_atoms"] == 16


@pytest.mark.parametrize(
    "text, message",
    [
        ("fmx: 1\n", "did you mean 'fmax'?"),
        ("steps: abc\n", "Wrong type"),
        ("steps: 10.5\n", "Wrong type"),
        ("steps: true\n", "Wrong type"),
        ("fix_symmetry: 3\n", "Wrong type"),
        ("optimizer: Newton\n", "Wrong type"),
        ("fmax: 1\n\tsteps: 3\n", "line 2"),
        ("steps: [1, 2\nfmax: 3\n", "line "),
        ("- steps\n", "key: value"),
        ("fmax: 0.1\nfmax: 0.2\n", "'fmax' stands there twice"),
        ("fmax: null\n", "no value"),
        ("fmax:\n", "no value"),
        ("fmax: ~\nsteps: 3\n", "key 'fmax'"),
        ("out: 2020-01-01\n", "would be a date"),
        ("out: 2020-01-01T10:00:00Z\n", "would be a date"),
        ("steps: 010\n", "010 is no number"),
        ("steps: 0x10\n", "0x10 is no number"),
        ("steps: 0b11\n", "0b11 is no number"),
        ("steps: 1_000\n", "1_000 is no number"),
        ("steps: 1:30\n", "1:30 is no number"),
        ("fmax: 1:30.5\n", "1:30.5 is no number"),
        ("fmax: [0.1, null]\n", "Wrong type"),
        ("fmax: {a: 1}\n", "Wrong type"),
        ("out: [a, [b]]\n", "Wrong type"),
        ("out: no\n", "Wrong type"),
        ('out: "a\\0b"\n', "Wrong type"),
        ("steps: " + "9" * 6000 + "\n", "no number"),
        ("[" * 5000 + "]" * 5000, "levels of brackets"),
        ("a: &x [1, 2]\nb: *x\n", "aliases"),
        ("steps: !!python/object:os.system 3\n", "tags"),
        ("fmax: \x07\n", "YAML error"),
        ("# " + "x" * 70_000, "more than 65536 bytes"),
    ],
)
def test_mistakes_are_named(run, water: Path, config, text: str, message: str) -> None:
    path = config(text)
    result = run("relax", water, "--dry-run", "--config", path)
    assert result.exit_code == 2
    assert message in result.stderr
    assert str(path) in result.stderr


def test_missing_or_binary_file(run, water: Path, tmp_path: Path) -> None:
    assert run("relax", water, "--config", tmp_path / "none.yaml").exit_code == 2
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00\x01")
    assert run("relax", water, "--config", tmp_path / "b.yaml").exit_code == 2


def test_empty_file_changes_nothing(run, water: Path, config) -> None:
    assert settings(run, water, "--config", config(""))["steps"] == 1000
