"""``jmp-calc recipes`` and ``finetune --recipe``: from the files of a data set to a model and its errors."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import pytest
import yaml
from click.testing import Result

from jmp_calc import finetune
from jmp_calc.cli.training.run_config import options_of_run
from jmp_calc.graph.policy import CONDITIONAL_NEIGHBORS, GraphPolicy
from jmp_calc.io.summary import plain
from jmp_calc.model.config import HeadConfig, ModelConfig
from jmp_calc.model.potential import Potential
from jmp_calc.training.config import OptimConfig, TrainConfig
from jmp_calc.training.finetuning.network import network_for, with_layers
from jmp_calc.training.finetuning.options import DataOptions, ModelOptions
from jmp_calc.training.finetuning.prepare import load_start
from jmp_calc.training.finetuning.recipe import Variant
from jmp_calc.training.finetuning.recipe_frames import force_rms, read_recipe_frames
from jmp_calc.training.finetuning.recipes import finetune_recipe
from jmp_calc.training.validation.history import read_history
from jmp_calc.zoo.container import ModelCard, load_model, save_model
from tests.training.helpers import hdf5_layouts, layouts
from tests.training.helpers.tiny import tiny_config

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def rmd17(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1060 frames of a toy in the layout of rMD17 aspirin."""
    folder = tmp_path_factory.mktemp("rmd17")
    layouts.write_rmd17(folder, "aspirin", 1060, layouts.water())
    return folder


@pytest.mark.slow
def test_a_recipe_runs_from_the_published_files(run: Run, tmp_path: Path, rmd17: Path, model: str) -> None:
    """Forces only, stages by epoch, and energies whose constant is fitted afterwards."""
    out = tmp_path / "run"
    done = run(
        "finetune",
        "--recipe",
        "rmd17-aspirin",
        "--data",
        rmd17,
        "--split",
        "jmp-50",
        "-m",
        model,
        "-o",
        out,
        "--epochs",
        5,
        "--batch-size",
        10,
        "--lr",
        "1e-2",
        "--no-ema",
        "--test-frames",
        20,
    )
    assert done.exit_code == 0, done.output
    assert "the first 50 of the training frames" in done.output
    assert "random subset of 20 of 60 frames" in done.output
    assert "none for 1 blocks" in done.output
    assert (
        "stage 1, warm-up: to epoch 5 (step 25)" in done.output
        and "before the cosine: its last learning rate" in done.output
    )
    config = yaml.safe_load((out / "config.yaml").read_text())
    assert config["training"]["loss"]["energy_weight"] == 0.0
    assert config["training"]["optim"]["stages"]["cosine_epochs"] == 128
    assert config["data"]["recipe"]["name"] == "rmd17-aspirin"
    report = yaml.safe_load((out / "report.yaml").read_text())
    before, after = report["test_before"], report["test"]
    assert after["n_structures"] == 20
    assert after["forces_mae_mev_per_a"] < 0.9 * before["forces_mae_mev_per_a"]
    # Forces alone leave the constant open; it is fitted, so the error is that of a poor model, not of a
    # missing offset.
    assert after["energy_mae_mev_per_atom"] < 200
    card = load_model(out / "best.safetensors").card
    assert card.training_data[0]["name"] == "rmd17_aspirin.npz" and card.training_data[0]["frames"] == 50
    rows = read_history(out / "metrics.csv")
    rates = {row.step: row.lr for row in rows[1:]}
    for step, rate in rates.items():
        assert rate == pytest.approx(1e-2 * min(0.1 + 0.9 * (step - 1) / 24, 1.0), rel=0.01)


def test_frames_of_another_split_and_the_published_statistics(rmd17: Path) -> None:
    recipe = finetune_recipe("rmd17-aspirin")
    found = read_recipe_frames(recipe, rmd17, test_frames=7)
    assert (len(found.train), len(found.valid), len(found.test)) == (950, 50, 7)
    assert any("published are 1.2733" in message for message in found.messages)  # the toy is not aspirin
    agreeing = dataclasses.replace(recipe, force_std=force_rms(found.train))
    assert not any("published" in message for message in read_recipe_frames(agreeing, rmd17).messages)
    file = rmd17 / "rmd17" / "npz_data" / "rmd17_aspirin.npz"
    other = read_recipe_frames(recipe, file, split="official-2")
    test = np.loadtxt(rmd17 / "rmd17" / "splits" / "index_test_02.csv", dtype=int).tolist()
    assert [frame.index for frame in other.test] == test
    assert (len(other.train), len(other.valid)) == (480, 50)
    assert not any("published" in message for message in other.messages)


def test_dry_run_says_what_would_happen(run: Run, rmd17: Path, model: str, tmp_path: Path) -> None:
    done = run(
        "finetune",
        "--recipe",
        "gn-oc-rmd17-aspirin",
        "--data",
        rmd17,
        "-m",
        model,
        "--dry-run",
        "--test-frames",
        5,
        "-o",
        tmp_path / "run",
    )
    assert done.exit_code == 0, done.output
    assert "training frames: 950" in done.output and "peak learning rate 0.0001" in done.output
    assert not (tmp_path / "run").exists()


def test_refusals(run: Run, rmd17: Path, model: str, tmp_path: Path) -> None:
    cases = [
        (("--recipe", "rmd17-asprin", "--data", rmd17), "did you mean rmd17-aspirin"),
        (("--recipe", "rmd17-aspirin"), "add --data FOLDER"),
        (("train.extxyz", "--data", rmd17), "--data has no meaning without --recipe"),
        (("train.extxyz", "--recipe", "rmd17-aspirin", "--data", rmd17), "--recipe and TRAIN contradict"),
        (("--recipe", "rmd17-aspirin", "--data", rmd17, "--energy-key", "E"), "--energy-key contradict"),
        (("--recipe", "rmd17-aspirin", "--data", rmd17, "--split", "random"), "no split of rMD17"),
    ]  # fmt: skip
    for words, text in cases:
        done = run("finetune", *words, "-m", model, "-o", tmp_path / "run")
        assert done.exit_code == 2, (words, done.output)
        assert text in done.output, words
    done = run("finetune", "--recipe", "rmd17-uracil", "--data", rmd17, "-m", model, "-o", tmp_path / "run")
    assert done.exit_code == 4
    assert "rMD17 uracil was not found" in done.output


@pytest.mark.parametrize("variant", ["default", "paper", "code"])
def test_the_configuration_of_a_run_keeps_the_variant(tmp_path: Path, variant: Variant) -> None:
    data = DataOptions(tmp_path, recipe=finetune_recipe("qmof-bandgap", variant))
    options = options_of_run(
        click.Context(click.Command("finetune")), {"data": plain(data)}, tmp_path / "config.yaml"
    )
    assert finetune_recipe(options["recipe"], options["variant"]) == data.recipe


def test_list_and_show(run: Run) -> None:
    listed = json.loads(run("recipes", "list", "--json").stdout)
    assert sum(row["kind"] == "fine-tuning" for row in listed) == 41
    assert {"pretrain-jmp-s", "pretrain-jmp-l", "jmp-xs"} <= {row["name"] for row in listed}
    assert len(listed) == len({row["name"] for row in listed}) == 44
    text = run("recipes", "list").output
    assert "rmd17-aspirin" in text and "pretrain-jmp-s" in text
    shown = yaml.safe_load(run("recipes", "show", "rmd17-aspirin", "--variant", "code").output)
    assert shown["settings"]["stages"]["cosine_epochs"] == 32
    assert shown["disagreements"]["stages.final_lr"] == {"default": 0.01, "paper": 0.01, "code": 0.1}
    assert "mixture" in yaml.safe_load(run("recipes", "show", "jmp-xs").output)["settings"]
    shown = yaml.safe_load(run("recipes", "show", "pretrain-jmp-l").output)
    assert shown["published"]["global_batch"] == 768 and shown["settings"]["model"]["architecture"] == "jmp-l"
    assert "energy_loss" in shown["disagreements"]
    wrong = run("recipes", "show", "rmd17-benzen")
    assert wrong.exit_code == 2 and "did you mean rmd17-benzene" in wrong.output


def test_direct_forces_of_a_recipe(run: Run, tmp_path: Path, model: str) -> None:
    """Recipes with direct forces train the force branch; a network without one is refused."""
    hdf5_layouts.write_spice(
        tmp_path / "dipeptides.h5", {f"m{i}": (hdf5_layouts.DIPEPTIDES, 5) for i in range(4)}
    )
    words = (
        "finetune",
        "--recipe",
        "spice-dipeptides",
        "--data",
        tmp_path,
        "--forces",
        "direct",
        "--epochs",
        1,
        "--lr",
        "1e-3",
        "--allow",
        "repeated_frames",
    )
    done = run(*words, "-m", model, "-o", tmp_path / "run")
    assert done.exit_code == 0, done.output
    written = load_model(tmp_path / "run" / "last.safetensors").potential
    assert written.config.heads[0].direct_forces and not written.config.heads[0].bias
    assert "heads.finetuned.energy.0.bias" not in written.state_dict()
    done = run(*words, "-m", "jmp-xs", "-o", tmp_path / "other")
    assert done.exit_code == 5 and "no branch for direct forces" in done.output


@pytest.mark.parametrize("graph", ["official", "smooth"])
def test_official_weights_get_the_cutoff_of_the_recipe(tmp_path: Path, graph: str) -> None:
    """7 Å and 100 neighbours for rMD17, in official graphs and in the smooth ones made from them."""
    config = dataclasses.replace(tiny_config(), policy=GraphPolicy("official"), subtract_lone_atom=False)
    save_model(
        tmp_path / "official.safetensors", Potential(config), ModelCard(name="official", licence="MIT")
    )
    recipe = finetune_recipe("rmd17-aspirin")
    options = ModelOptions(
        str(tmp_path / "official.safetensors"),
        head="scratch",
        graph=graph,
        cutoff=recipe.cutoff,
        max_neighbors=recipe.max_neighbors,
        head_bias=recipe.head_bias,
    )
    network = started_network(options)
    policy = network.policy
    assert (policy.name, policy.cutoff, policy.max_neighbors) == (graph, 7.0, 100)
    assert not with_layers(HeadConfig(name="new"), network, options, None).bias


def started_network(options: ModelOptions) -> ModelConfig:
    """The network that a run with these options would train."""
    return network_for(load_start(options), options, None, direct_forces=False, messages=[])


def test_the_function_takes_a_recipe_too(tmp_path: Path, model: str) -> None:
    hdf5_layouts.write_spice(
        tmp_path / "dipeptides.h5", {f"m{i}": (hdf5_layouts.DIPEPTIDES, 5) for i in range(4)}
    )
    short = TrainConfig(epochs=1, optim=OptimConfig(lr=1e-3))
    result = finetune(
        tmp_path,
        recipe="gn-oc-spice-dipeptides",
        config=short,
        model=model,
        out=tmp_path / "run",
        say=lambda line: None,
    )
    assert result.n_epochs == 1 and result.test is not None and result.test.n_structures == 2
    written = load_model(result.best)
    assert "new weights" in written.card.source and not written.potential.config.heads[0].bias


def test_cap_by_size_of_the_structure_reaches_the_model(tmp_path: Path) -> None:
    """QMOF has it, rMD17 has not; in official graphs and in smooth ones."""
    config = dataclasses.replace(tiny_config(), policy=GraphPolicy("official"), subtract_lone_atom=False)
    save_model(
        tmp_path / "official.safetensors", Potential(config), ModelCard(name="official", licence="MIT")
    )
    for name, capped in (("qmof-bandgap", CONDITIONAL_NEIGHBORS), ("rmd17-aspirin", ())):
        for graph in ("official", "smooth"):
            options = ModelOptions(str(tmp_path / "official.safetensors"), graph=graph).for_recipe(
                finetune_recipe(name)
            )
            assert started_network(options).policy.fewer_neighbors == capped
