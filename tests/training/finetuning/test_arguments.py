"""Settings that may be said in two ways: one by one, and in a dataclass."""

from __future__ import annotations

from pathlib import Path

import pytest

from jmp_calc.errors import UsageError
from jmp_calc.training import (
    DataOptions,
    LabelKeys,
    LossConfig,
    ModelOptions,
    OptimConfig,
    TargetTask,
    TrainConfig,
)
from jmp_calc.training.combined import combined
from jmp_calc.training.config import StageConfig
from jmp_calc.training.finetuning.arguments import Given
from jmp_calc.training.finetuning.options import refuse_energies
from jmp_calc.training.finetuning.recipes import finetune_recipe


def test_what_is_said_once_counts_and_what_is_said_twice_must_agree() -> None:
    found = combined(ModelOptions(keep_heads=True), {"head_name": "mine", "head": None}, "start")
    assert found == ModelOptions(keep_heads=True, head_name="mine")
    assert combined(ModelOptions(head="pbe"), {"head": "pbe"}, "start").head == "pbe"
    assert (
        combined(ModelOptions(head="pbe"), {"head": "auto"}, "start").head == "pbe"
    )  # the default says nothing
    with pytest.raises(UsageError, match="head is said twice: 'emt', and 'pbe' in start"):
        combined(ModelOptions(head="pbe"), {"head": "emt"}, "start")


@pytest.mark.parametrize("path", ["train.extxyz", Path("train.extxyz")])
def test_paths_agree_however_they_are_written(path: object) -> None:
    combined(DataOptions("train.extxyz"), {"train": path}, "data")
    with pytest.raises(UsageError, match="train is said twice"):
        combined(DataOptions("other.extxyz"), {"train": path}, "data")


def test_settings_of_the_training_are_taken_into_their_places() -> None:
    given = Given({"epochs": 3, "batch_size": None}, optim={"lr": 0.1}, loss={"energy_weight": 5.0})
    found = given.beside(TrainConfig(batch_size=2))
    assert found == TrainConfig(
        epochs=3, batch_size=2, optim=OptimConfig(lr=0.1), loss=LossConfig(energy_weight=5.0)
    )
    with pytest.raises(UsageError, match=r"lr is said twice: 0\.1, and 0\.2 in config\.optim"):
        given.beside(TrainConfig(optim=OptimConfig(lr=0.2)))
    settings = given.beside(None)
    assert callable(settings)
    assert settings(TrainConfig(epochs=100)).epochs == 3  # of a recipe, which is no word of the user


def test_a_time_limit_shortens_the_stages_of_a_recipe() -> None:
    recipe = TrainConfig(optim=OptimConfig(stages=StageConfig()))
    stages = Given({"max_time": 60.0}).on(recipe).optim.stages
    assert stages is not None
    assert stages.limit == "time"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"valid": "v.xyz", "valid_fraction": 0.2}, "--valid and --valid-fraction"),
        ({"valid": "v.xyz", "valid_every": 4}, "--valid and --valid-every"),
        ({"valid_every": 4, "valid_fraction": 0.2}, "--valid-every and --valid-fraction"),
        ({"replay_share": 0.3}, "--replay-share has no meaning without --replay"),
    ],
)
def test_choices_about_data_that_contradict_each_other(settings: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        DataOptions("t.xyz", **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (DataOptions("t.xyz", split="jmp"), "--split has no meaning without --recipe"),
        (DataOptions("t", recipe=finetune_recipe("qm9-mu"), index="::2"), "--recipe and --index"),
        (
            DataOptions("t", recipe=finetune_recipe("qm9-mu"), keys=LabelKeys(energy="E")),
            "--recipe and --energy-key",
        ),
        (
            DataOptions("t.xyz", target=TargetTask("gap"), keys=LabelKeys(forces="F")),
            "--forces-key has no meaning",
        ),
        (DataOptions("t.xyz", target=TargetTask("gap"), references="isolated"), "--E0s has no meaning"),
        (DataOptions("t.xyz", target=TargetTask("gap", "class"), energy_unit="Ha"), "trains on a class"),
    ],
)
def test_choices_without_meaning_are_refused(data: DataOptions, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        data.check()


def test_details_of_a_target_that_it_cannot_have_are_refused() -> None:
    with pytest.raises(UsageError, match="--class-weights"):
        TargetTask("gap", "scalar", class_weights="balanced")
    with pytest.raises(UsageError, match="--target-unit"):
        TargetTask("phase", "class", unit="eV")
    with pytest.raises(UsageError, match="--stress-weight has no meaning"):
        refuse_energies(TrainConfig(loss=LossConfig(stress_weight=3.0)))
    refuse_energies(TrainConfig().for_target())


@pytest.mark.parametrize("name", ["auto", "scratch", "a b", ""])
def test_a_new_head_needs_a_name_of_its_own(name: str) -> None:
    with pytest.raises(UsageError, match="name"):
        ModelOptions(head_name=name)
