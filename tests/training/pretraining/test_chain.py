"""A chain of stages: each goes on where the one before ended, with frames of its own."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import pytest
import torch

from jmp_calc.errors import BadInputError, UsageError
from jmp_calc.training.pretrain import PretrainResult, pretrain
from jmp_calc.training.pretraining.chain import StageOptions, read_stage
from jmp_calc.training.pretraining.options import PretrainOptions
from jmp_calc.training.pretraining.recipe import load_recipe, staged
from jmp_calc.training.run.checkpoint import load_checkpoint
from jmp_calc.training.validation.history import read_history
from jmp_calc.zoo.container import load_model
from tests.training.helpers.mixture_data import write_chain
from tests.training.helpers.stopped import stopped_at

STEPS = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chain")
    write_chain(folder)
    return folder


def run(folder: Path, out: Path, stage: StageOptions, *, resume: bool = False) -> PretrainResult:
    recipe = staged(load_recipe(folder / "links.toml"), stage)
    options = PretrainOptions(data=folder, shards=folder / "shards")
    return pretrain(recipe, out, options, resume=resume, say=lambda text: None)


@pytest.fixture(scope="module")
def first(folder: Path) -> Path:
    """The folder of a first stage; it is only read."""
    run(folder, folder / "first", StageOptions(steps=STEPS))
    return folder / "first"


def stage_file(out: Path) -> Path:
    return out / "links_stage.pt"


def test_a_stage_ends_with_weights_averages_steps_and_errors(first: Path) -> None:
    stage, state = read_stage(stage_file(first)), load_checkpoint(first / "state.pt")
    assert (stage.recipe, stage.stages, stage.steps) == ("links", 1, STEPS)
    assert all(torch.equal(value, stage.weights[name]) for name, value in state.weights.items())
    assert all(torch.equal(value, stage.averages[name]) for name, value in state.ema.items())
    assert stage_file(first).stat().st_size < 10e6
    assert {row["set"] for row in stage.curve} == {"copper", "fresh"}
    assert {row["steps"] for row in stage.curve} == {STEPS}


@pytest.mark.slow
def test_the_rate_of_a_stage_stays_and_that_of_the_last_decays(
    folder: Path, first: Path, tmp_path: Path
) -> None:
    assert read_history(first / "metrics.csv")[-1].lr == pytest.approx(5e-3)
    last = StageOptions(stage_file(first), steps=STEPS, last=True)
    run(folder, tmp_path, last)
    # The rate of the last step, one before the end of the cosine.
    assert read_history(tmp_path / "metrics.csv")[-1].lr < 0.2 * 5e-3


def test_the_next_stage_starts_from_weights_averages_and_references(
    folder: Path, first: Path, tmp_path: Path
) -> None:
    run(folder, tmp_path, StageOptions(stage_file(first), steps=STEPS))
    before, after = read_stage(stage_file(first)), read_stage(stage_file(tmp_path))
    assert (after.stages, after.steps) == (2, 2 * STEPS)
    rows = list(csv.DictReader((tmp_path / "curve.csv").open()))
    assert [(row["stage"], row["steps"]) for row in rows] == [("1", "6")] * 2 + [("2", "12")] * 2
    assert [item.references for item in after.sets] == [item.references for item in before.sets]
    # The first validation is that of the averages, on the same frames: the error of the end of stage 1, but
    # for the repulsion, which ends at distances that are shorter in the new frames.
    start, end = read_history(tmp_path / "metrics.csv")[0], read_history(first / "metrics.csv")[-1]
    assert start.valid_forces_mae_mev_per_a == pytest.approx(
        end.values("forces_mae_mev_per_a")["averaged"], rel=0.02
    )
    pairs = before.model.head("organic").pairs or {}
    assert all((after.model.head("organic").pairs or {})[name] <= length for name, length in pairs.items())
    assert after.model.head("organic").force_scale == before.model.head("organic").force_scale


@pytest.mark.slow
def test_a_stage_that_was_stopped_goes_on_and_ends_as_an_undisturbed_one(
    folder: Path, first: Path, tmp_path: Path
) -> None:
    stage = StageOptions(stage_file(first), steps=STEPS)
    run(folder, tmp_path / "whole", stage)
    with stopped_at(4):
        run(folder, tmp_path / "parts", stage)
    assert read_stage(stage_file(tmp_path / "parts")).steps == STEPS + 4  # it may end here
    (tmp_path / "parts" / "mixture.npz").unlink()  # labels are made again
    run(folder, tmp_path / "parts", stage, resume=True)
    whole, parts = (read_stage(stage_file(tmp_path / name)) for name in ("whole", "parts"))
    assert all(torch.equal(value, parts.weights[name]) for name, value in whole.weights.items())
    assert all(torch.equal(value, parts.averages[name]) for name, value in whole.averages.items())


def test_stages_have_frames_and_seeds_of_their_own(folder: Path, first: Path) -> None:
    recipe = load_recipe(folder / "links.toml")
    seeds = {staged(recipe, StageOptions(start, steps=1)).seed for start in (None, stage_file(first))}
    assert len(seeds) == 2 and recipe.seed not in seeds


def test_molecules_that_validate_are_not_trained_on(first: Path) -> None:
    fresh = next(item for item in read_stage(stage_file(first)).sets if item.name == "fresh")
    assert fresh.dropped["validates"] == 4  # NH3
    assert fresh.n_train == 8 and fresh.n_valid == 12
    assert load_model(first / "links.safetensors").potential.config.head("organic").elements == (1, 6, 8)


def test_stages_that_cannot_be_meant_are_refused(folder: Path, first: Path, tmp_path: Path) -> None:
    recipe = load_recipe(folder / "links.toml")
    with pytest.raises(UsageError, match="needs a length"):
        StageOptions(stage_file(first))
    with pytest.raises(UsageError, match="not positive"):
        StageOptions(minutes=0.0)
    with pytest.raises(UsageError, match="no file of a stage"):
        staged(recipe, StageOptions(tmp_path / "none.pt", steps=1))
    with pytest.raises(BadInputError, match="state of a run"):
        staged(recipe, StageOptions(first / "state.pt", steps=1))
    cut = tmp_path / "cut.pt"
    cut.write_bytes(stage_file(first).read_bytes()[:-1000])
    with pytest.raises(BadInputError, match="damaged"):
        staged(recipe, StageOptions(cut, steps=1))
    other = dataclasses.replace(recipe, mixture=dataclasses.replace(recipe.mixture, name="other"))
    with pytest.raises(UsageError, match="trained by the recipe 'links'"):
        staged(other, StageOptions(stage_file(first), steps=1))
    assert not staged(recipe, StageOptions()).stage
    late = dataclasses.replace(recipe.train, forces="direct", conservative_after=0.7)
    with pytest.raises(UsageError, match="begin with direct forces again"):
        staged(dataclasses.replace(recipe, train=late), StageOptions(steps=1))


def test_a_stage_without_a_folder_for_its_frames_is_refused(folder: Path, tmp_path: Path) -> None:
    recipe = staged(load_recipe(folder / "links.toml"), StageOptions(steps=1))
    with pytest.raises(UsageError, match="made for every stage"):
        pretrain(recipe, tmp_path, PretrainOptions(data=folder), say=lambda text: None)
