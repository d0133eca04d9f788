"""``jmp-calc finetune`` and ``evaluate``: several files, heads old and new, headings, old settings."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import click
import pytest
import yaml
from ase.io import read, write
from click.testing import Result

from jmp_calc.cli.arguments import InSection
from jmp_calc.cli.main import cli
from jmp_calc.zoo.container import load_model
from tests.training.helpers.tiny import emt_file, tiny_model

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two labelled files and a model with two heads beside it."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "data").mkdir()
    for name, seed in (("a", 0), ("b", 1)):
        emt_file(folder / "data" / f"{name}.extxyz", 6, seed=seed)
    tiny_model(folder / "tiny.safetensors", "old", "other")
    return folder


@pytest.mark.parametrize("given", [".", "[ab].extxyz"])
def test_training_data_may_be_a_folder_or_a_pattern(
    run: Run, tmp_path: Path, files: Path, given: str
) -> None:
    words = ("-m", files / "tiny.safetensors", "-o", tmp_path / "run", "--dry-run", "--json")
    done = run("finetune", files / "data" / given, *words)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)["found"]
    assert found["training"]["frames"] + found["validation"]["frames"] == 12


def test_a_run_on_several_files_can_be_repeated_from_its_settings(
    run: Run, tmp_path: Path, files: Path
) -> None:
    paths, out = [files / "data" / "a.extxyz", files / "data" / "b.extxyz"], tmp_path / "run"
    words = ("--epochs", 1, "--batch-size", 4, "--lr", "1e-3")
    new = ("--head", "other", "--head-name", "mine")
    done = run("finetune", *paths, "-m", files / "tiny.safetensors", "-o", out, *words, *new)
    assert done.exit_code == 0, done.output
    assert load_model(out / "best.safetensors").potential.config.default_head == "mine"
    summary = yaml.safe_load((out / "summary.yaml").read_text())
    assert [Path(item["path"]).name for item in summary["inputs"]] == ["a.extxyz", "b.extxyz"]
    assert summary["results"]["init_head"] == "other"
    assert summary["settings"]["training"]["optim"]["lr"] == 1e-3
    again = run("finetune", "--config", out / "config.yaml", "-o", tmp_path / "again", "--dry-run", "--json")
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout)["found"]["training"]["frames"] == 11
    checked = run("evaluate", *paths, "-m", out / "best.safetensors", "-o", tmp_path / "errors")
    assert checked.exit_code == 0, checked.output
    assert yaml.safe_load((tmp_path / "errors" / "errors.yaml").read_text())["n_structures"] == 12


TABLE = {"functional": "PBE", "basis": "plane waves, PAW, 520 eV", "dispersion": "D3(BJ)"}


def told_theory(run: Run, files: Path, out: Path, *words: object) -> dict[str, str]:
    """The fields that a dry run shows, without the empty ones."""
    done = run("finetune", *words, "-m", files / "tiny.safetensors", "-o", out, "--dry-run", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)["found"]
    assert found["level_of_theory"] == "PBE-D3(BJ), plane waves, PAW, 520 eV"
    return {name: text for name, text in found["theory"].items() if text}


def test_the_level_of_theory_is_told_in_text_in_a_table_and_by_an_earlier_run(
    run: Run, tmp_path: Path, files: Path
) -> None:
    data, settings = files / "data" / "a.extxyz", tmp_path / "settings.yaml"
    text = ",".join(f"{name}={value}" for name, value in TABLE.items())
    assert told_theory(run, files, tmp_path / "run", data, "--theory", text) == TABLE
    settings.write_text(yaml.safe_dump({"theory": TABLE}))
    assert told_theory(run, files, tmp_path / "run", data, "--config", settings) == TABLE
    start = {"theory": {**TABLE, "spin": "", "hubbard_u": ""}, "level_of_theory": None}
    settings.write_text(yaml.safe_dump({"data": {"train": str(data)}, "start": start}))
    assert told_theory(run, files, tmp_path / "run", "--config", settings) == TABLE


@pytest.mark.parametrize(
    ("theory", "fact"),
    [
        ({"functonal": "PBE"}, "did you mean 'functional'"),
        ({"basis": "def2-SVP"}, "needs its functional"),
        ("PBE", "is not FIELD=TEXT"),
    ],
)
def test_a_level_of_theory_that_cannot_be_meant_is_refused(
    run: Run, tmp_path: Path, files: Path, theory: object, fact: str
) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text(yaml.safe_dump({"theory": theory}))
    done = run("finetune", files / "data", "--config", settings, "-o", tmp_path / "run", "--dry-run")
    assert done.exit_code == 2 and fact in done.stderr, done.output


def test_settings_of_the_first_version_name_the_heads_as_they_did(
    run: Run, tmp_path: Path, files: Path
) -> None:
    settings = {
        "data": {"train": str(files / "data" / "a.extxyz")},
        "start": {"model": str(files / "tiny.safetensors"), "head": "emt", "init_head": "none-such"},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))
    done = run("finetune", "--config", tmp_path / "config.yaml", "-o", tmp_path / "run", "--dry-run")
    assert done.exit_code == 5, done.output
    assert "no head 'none-such' to start from" in done.stderr


def test_evaluations_with_a_prefix_stand_beside_others(run: Run, tmp_path: Path, files: Path) -> None:
    words = ("evaluate", files / "data" / "a.extxyz", "-m", files / "tiny.safetensors", "-o", tmp_path)
    assert run(*words, "--head", "old").exit_code == 0
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    done = run(*words, "--head", "other", "--prefix", "b")
    assert done.exit_code == 0, done.output
    assert all((tmp_path / name).read_bytes() == data for name, data in before.items())
    written = {"b-predictions.extxyz", "b-errors.yaml", "b-parity.svg", "b-summary.yaml"}
    assert {path.name for path in tmp_path.iterdir()} - set(before) == written
    again = run(*words, "--prefix", "b")
    assert again.exit_code == 2 and "exists already" in again.stderr, again.output


@pytest.mark.parametrize(
    ("words", "code", "fact"),
    [
        (("--valid", "x.xyz", "--valid-fraction", 0.2), 2, "--valid and --valid-fraction contradict"),
        (("--head-name", "auto"), 2, "a meaning of its own"),
        (("--resume", "--overwrite"), 2, "--resume and --overwrite contradict"),
        (("--override",), 2, "--override has no meaning without --resume"),
        (("--prefix", "x"), 2, "fixed file names"),
    ],
)
def test_what_contradicts_is_refused_before_the_folder_is_touched(
    run: Run, tmp_path: Path, files: Path, words: tuple[object, ...], code: int, fact: str
) -> None:
    done = run("finetune", files / "data", "-m", files / "tiny.safetensors", "-o", tmp_path / "run", *words)
    assert done.exit_code == code, done.output
    assert fact in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_file_given_twice_would_count_double(run: Run, tmp_path: Path, files: Path) -> None:
    done = run("finetune", files / "data", files / "data" / "a.extxyz", "-o", tmp_path / "run")
    assert done.exit_code == 2
    assert "given twice" in done.stderr


def test_data_that_are_refused_do_not_block_their_own_correction(
    run: Run, tmp_path: Path, files: Path
) -> None:
    images = read(files / "data" / "a.extxyz", ":")
    for atoms in images:
        atoms.calc.results["forces"] *= 0.0
    write(tmp_path / "wrong.extxyz", images, format="extxyz")
    words = ("-m", files / "tiny.safetensors", "-o", tmp_path / "run", "--epochs", 1, "--lr", "1e-3")
    refused = run("finetune", tmp_path / "wrong.extxyz", *words)
    assert refused.exit_code == 4, refused.output
    done = run("finetune", files / "data" / "a.extxyz", *words)
    assert done.exit_code == 0, done.output


def test_help_of_finetune_has_headings_and_names_every_option_once(run: Run) -> None:
    command = cli.get_command(click.Context(cli), "finetune")
    assert command is not None
    text = run("finetune", "--help").output
    headings = [line for line in text.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert [line.partition(" (")[0].rstrip(":") for line in headings] == [
        *("Data", "Labels", "Target", "Training", "Model", "Run", "Published tasks")
    ]
    shown = [option for option in command.params if isinstance(option, click.Option) and not option.hidden]
    assert len(shown) > 60
    for option in shown:
        lines = [line for line in text.splitlines() if line.strip().split(" ")[0].rstrip(",") in option.opts]
        assert len(lines) == 1, option.opts
    assert {option.section for option in shown if isinstance(option, InSection)} <= {
        line.rstrip(":") for line in headings
    }
