"""Options against forgetting: what contradicts what, and that a run with them can be repeated from its
config.yaml."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import ase.io
import numpy as np
import pytest
import yaml
from ase.build import bulk
from ase.calculators.emt import EMT
from click.testing import Result

Run = Callable[..., Result]


def labelled(path: Path, count: int, seed: int) -> Path:
    """Shaken copper cells with EMT labels."""
    rng, images = np.random.default_rng(seed), []
    for _ in range(count):
        atoms = bulk("Cu", a=3.6) * (1, 1, 2)
        atoms.positions += rng.normal(scale=0.1, size=(2, 3))
        atoms.calc = EMT()
        atoms.get_potential_energy(), atoms.get_forces()
        images.append(atoms)
    ase.io.write(path, images, format="extxyz")
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return labelled(tmp_path / "train.extxyz", 10, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--lora-rank", 4, "--freeze", "backbone"), "lora_rank cannot be combined with freeze"),
        (("--lora-rank", 4, "--from-scratch"), "--from-scratch and --lora-rank contradict"),
        (("--retain", "old.xyz", "--from-scratch"), "--from-scratch and --retain contradict"),
        (("--replay", "old.xyz", "--from-scratch"), "--from-scratch and --replay contradict"),
        (("--replay", "old.xyz", "--target", "gap"), "--target and --replay contradict"),
        (("--replay-share", 0.5), "--replay-share has no meaning without --replay"),
        (("--lora-rank", 0), "lora_rank must be positive"),
    ],
)
def test_fault_56_options_that_contradict_each_other(
    run: Run, tmp_path: Path, data: Path, model: str, options: tuple[object, ...], message: str
) -> None:
    done = run("finetune", data, "-m", model, "-o", tmp_path / "run", *options)
    assert done.exit_code == 2, done.output
    assert message in done.stderr
    assert "hint:" in done.stderr


@pytest.mark.parametrize("option", ["--retain", "--replay"])
def test_a_dry_run_has_the_errors_of_the_run_about_old_heads(
    run: Run, tmp_path: Path, data: Path, model: str, option: str
) -> None:
    words = (
        "finetune",
        data,
        "-m",
        model,
        "-o",
        tmp_path / "run",
        option,
        f"{labelled(tmp_path / 'old.xyz', 3, 7)}:nohead",
    )
    for more in ((), ("--dry-run",)):
        done = run(*words, *more)
        assert done.exit_code == 2 and "The old head 'nohead' does not exist." in done.stderr, done.output


def test_a_missing_file_of_earlier_data_is_named(run: Run, tmp_path: Path, data: Path, model: str) -> None:
    done = run(
        "finetune", data, "-m", model, "-o", tmp_path / "run", "--retain", tmp_path / "gone.xyz", "--dry-run"
    )
    assert done.exit_code == 4, done.output
    assert "gone.xyz" in done.stderr


def test_a_run_with_all_of_it_can_be_repeated(run: Run, tmp_path: Path, data: Path, model: str) -> None:
    held, known = labelled(tmp_path / "held.extxyz", 2, 1), labelled(tmp_path / "known.extxyz", 3, 2)
    out = tmp_path / "run"
    done = run(
        "finetune",
        data,
        "-m",
        model,
        "-o",
        out,
        "--epochs",
        1,
        "--batch-size",
        4,
        "--lr",
        1e-3,
        "--lora-rank",
        2,
        "--n-train",
        6,
        "--retain",
        f"{held}:any",
        "--replay",
        known,
        "--replay-share",
        0.4,
    )
    assert done.exit_code == 0, done.output
    assert "retained: held.extxyz:any: E" in done.output
    summary = yaml.safe_load((out / "summary.yaml").read_text())
    assert {str(held), str(known)} <= {item["path"] for item in summary["inputs"]}
    assert summary["results"]["forgetting"][0]["head"] == "any"
    content = yaml.safe_load((out / "config.yaml").read_text())
    assert content["data"]["retain"] == [f"{held}:any"]
    assert content["data"]["replay"] == [str(known)]
    assert content["training"]["lora_rank"] == 2
    again = run("finetune", "--config", out / "config.yaml", "-o", tmp_path / "again", "--dry-run")
    assert again.exit_code == 0, again.output
    for words in (
        "training frames: 6",
        "held.extxyz: 2 frames are retained",
        "known.extxyz: 3 frames are replayed",
    ):
        assert words in again.output
