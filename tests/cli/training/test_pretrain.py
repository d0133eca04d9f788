"""``jmp-calc pretrain``: from a recipe to a model, with the ablations as settings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from click.testing import Result

from jmp_calc.training.pretraining.recipe import load_recipe
from tests.training.helpers.mixture_data import write_mixture

Run = Callable[..., Result]


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """Four small sets and the recipe that mixes them."""
    folder = tmp_path / "data"
    folder.mkdir()
    return write_mixture(folder)


def test_a_recipe_gives_a_model_that_computes(run: Run, tmp_path: Path, recipe: Path) -> None:
    out = tmp_path / "run"
    words = ("pretrain", recipe, "--data", recipe.parent, "-o", out, "--set", "train.epochs=1")
    dry = run(*words, "--dry-run")
    assert dry.exit_code == 0 and "copper-shifted" in dry.output and not out.exists(), dry.output
    done = run(*words)
    assert done.exit_code == 0, done.output
    assert 'next: atoms.calc = JMPCalculator("' in done.output
    assert yaml.safe_load((out / "recipe.yaml").read_text())["training"]["epochs"] == 1
    assert set(yaml.safe_load((out / "report.yaml").read_text())["valid"]) >= {"copper", "molecules"}
    single = run(
        "singlepoint",
        recipe.parent / "copper.xyz",
        "-m",
        out / "tiny.safetensors",
        "--index",
        "0",
        "-o",
        tmp_path / "single",
    )
    assert single.exit_code == 0, single.output
    again = run(*words)
    assert again.exit_code == 2 and "exists already" in again.output
    on = run("pretrain", recipe, "--data", recipe.parent, "-o", out, "--resume", "--set", "train.epochs=2")
    assert on.exit_code == 2 and "epochs: 1 -> 2" in on.output
    on = run(
        "pretrain",
        recipe,
        "--data",
        recipe.parent,
        "-o",
        out,
        "--resume",
        "--override",
        "--set",
        "train.epochs=2",
    )
    assert on.exit_code == 0, on.output


@pytest.mark.parametrize(
    "settings",
    [
        {"mixture.temperature": "inf", "train.optim.pcgrad": True, "train.loss.energy": "l1"},
        pytest.param(
            {
                "mixture.temperature": 1.0,
                "train.loss.structure_wise": False,
                "train.optim.weight_decay": 0.1,
                "train.edge_dropout": 0.1,
            },
            marks=pytest.mark.slow,
        ),
        {
            "model.dropout": 0.1,
            "train.optim.ema_decay": 0.5,
            "sets.copper.energy_margin": 0.02,
            "mixture.normalisation": "jmp",
        },
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_ablations_are_settings(run: Run, tmp_path: Path, recipe: Path, settings: dict[str, object]) -> None:
    words = [word for key, value in settings.items() for word in ("--set", f"{key}={str(value).lower()}")]
    done = run(
        "pretrain", recipe, "--data", recipe.parent, "-o", tmp_path / "run", "--set", "train.epochs=1", *words
    )
    assert done.exit_code == 0, done.output
    used = yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())["recipe"]
    for key, value in settings.items():
        found = used
        for part in key.split("."):
            found = found[part]
        assert found == value or str(found) == value, key


def test_averaging_can_be_switched_off(recipe: Path) -> None:
    content = recipe.read_text().replace("ema_decay = 0.9", 'ema_decay = "none"')
    recipe.with_name("without.toml").write_text(content)
    assert load_recipe(recipe.with_name("without.toml")).train.optim.ema_decay is None
    assert load_recipe(recipe, ["train.optim.ema_decay=none"]).train.optim.ema_decay is None


@pytest.mark.parametrize(
    "words, text",
    [
        (("--seed", "7"), "No such option"),
        (("-m", "jmp-s"), "No such option"),
        (("--head", "metal"), "No such option"),
        (
            ("--set", "mixture.validation_max=0", "--set", "mixture.validation_fraction=0"),
            "No set has validation frames",
        ),
        (("--set", "train.epoch=1"), "did you mean 'epochs'"),
        (("--set", "epochs=1"), "is not a setting"),
        (("--set", "train.epochs"), "is not a setting"),
        (("--override",), "without --resume"),
        (("--resume", "--overwrite"), "contradict"),
        (("--pack", "x.npz"), "contradict"),
        (("--resume",), "no run to resume"),
    ],
)
def test_mistakes_are_named(
    run: Run, tmp_path: Path, recipe: Path, words: tuple[str, ...], text: str
) -> None:
    done = run("pretrain", recipe, "--data", recipe.parent, "-o", tmp_path / "run", *words)
    assert done.exit_code == 2 and text in done.output, done.output


def test_without_data_or_with_an_unknown_recipe(run: Run, tmp_path: Path, recipe: Path) -> None:
    done = run("pretrain", recipe, "-o", tmp_path / "run")
    assert done.exit_code == 2 and "--data FOLDER" in done.output, done.output
    done = run("pretrain", "jmp-xxs", "-o", tmp_path / "other")
    assert done.exit_code == 2 and "jmp-xs" in done.output, done.output
