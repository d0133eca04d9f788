"""``finetune`` and ``evaluate`` from Python: lists of structures, several files, plain arguments."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from ase.io import read, write

from jmp_calc import evaluate, finetune
from jmp_calc.errors import BadInputError, ModelError, UsageError
from jmp_calc.training import DataOptions, LabelKeys, ModelOptions, TrainConfig
from jmp_calc.training.finetuning.result import TrainResult
from jmp_calc.zoo.container import load_model
from tests.training.helpers.tiny import emt_atoms, emt_file, tiny_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_model(tmp_path_factory.mktemp("model") / "tiny.safetensors", "old", "other"))


def short(out: Path, model: str, **arguments: object) -> TrainResult:
    """A run of three steps."""
    given = {"epochs": 1, "batch_size": 4, "lr": 1e-3, "say": lambda line: None, **arguments}
    return finetune(model=model, out=out, **given)  # type: ignore[arg-type]


def test_structures_in_memory_train_as_the_file_that_holds_them(tmp_path: Path, model: str) -> None:
    data = emt_file(tmp_path / "train.extxyz", 12)
    valid = emt_file(tmp_path / "valid.extxyz", 2, seed=3)
    images, start = read(data, ":"), ModelOptions(head="other", head_name="emt")
    inside = short(tmp_path / "a", model, train=images, valid=read(valid, ":"), head="other", head_name="emt")
    outside = short(tmp_path / "b", model, train=data, valid=valid, start=start)
    for name in ("energy_mae_mev_per_atom", "forces_mae_mev_per_a", "stress_mae_gpa"):
        assert getattr(inside.valid, name) == pytest.approx(getattr(outside.valid, name), rel=1e-3)
    assert inside.init_head == "other"
    assert load_model(inside.best).potential.config.default_head == "emt"
    assert inside.config.epochs == 1
    assert inside.config.optim.lr == 1e-3
    settings = yaml.safe_load((inside.out / "config.yaml").read_text())
    assert settings["data"]["train"] is None  # no file to name
    assert settings["start"]["head"] == "other"
    assert settings["start"]["head_name"] == "emt"
    card = load_model(inside.best).card
    assert card.name == "emt on structures in memory"
    assert card.training_data[0]["frames"] == 12
    assert repr(inside).startswith(f"TrainResult({inside.best}: 3 steps, valid E ")
    assert "\n" not in repr(inside)
    found = evaluate(images, model=inside.best)
    same = evaluate(data, model=inside.best, energy_key="energy").errors
    assert found.errors.forces_mae_mev_per_a == pytest.approx(same.forces_mae_mev_per_a, rel=1e-4)
    assert repr(found).startswith("EvaluationResult(12 frames, head emt: E ")


def test_several_files_and_patterns_are_one_set(tmp_path: Path, model: str) -> None:
    for name, seed in (("a", 0), ("b", 1)):
        emt_file(tmp_path / f"{name}.extxyz", 6, seed=seed)
    result = short(tmp_path / "run", model, train=str(tmp_path / "?.extxyz"))
    settings = yaml.safe_load((result.out / "config.yaml").read_text())
    assert settings["data"]["train"] == [str(tmp_path / "a.extxyz"), str(tmp_path / "b.extxyz")]
    (origin,) = [item for item in load_model(result.best).card.training_data if item["use"] == "fine-tuning"]
    assert [item["name"] for item in origin["files"]] == ["a.extxyz", "b.extxyz"]
    assert origin["frames"] == 11


def test_the_old_head_must_exist_and_the_new_one_is_named_apart(tmp_path: Path, model: str) -> None:
    with pytest.raises(ModelError, match="no head 'emt' to start from.*--head-name names the new head"):
        short(tmp_path / "a", model, train=emt_atoms(6), head="emt")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"config": TrainConfig(epochs=7)}, "epochs is said twice: 1, and 7 in config"),
        ({"energy_key": "E", "data": DataOptions(keys=LabelKeys(energy="F"))}, "energy is said twice"),
        ({"head": "old", "start": ModelOptions(head="other")}, "head is said twice"),
        ({"data": DataOptions("other.xyz")}, "train is said twice"),
        ({"stress_key": "s", "virials_key": "v"}, "--stress-key and --virials-key"),
        ({"resume": True, "overwrite": True}, "--resume and --overwrite"),
        ({"target": "gap", "forces_key": "F"}, "--forces-key has no meaning"),
        ({"model": "scratch:jmp-xs", "head": "pbe"}, "--from-scratch and --head contradict"),
    ],
)
def test_arguments_that_contradict_each_other_are_refused(
    tmp_path: Path, model: str, arguments: dict[str, object], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        short(tmp_path / "run", **{"model": model, "train": emt_atoms(6), **arguments})  # type: ignore[arg-type]


def test_without_data_there_is_nothing_to_do(tmp_path: Path, model: str) -> None:
    with pytest.raises(UsageError, match="No training data"):
        short(tmp_path / "run", model)
    with pytest.raises(BadInputError, match="empty"):
        evaluate([], model=model)


def test_the_start_model_is_not_removed_by_overwriting_its_own_run(tmp_path: Path, model: str) -> None:
    first = short(tmp_path / "run", model, train=emt_atoms(8))
    with pytest.raises(UsageError, match="would remove a file that this run reads"):
        short(tmp_path / "run", str(first.best), train=emt_atoms(8), overwrite=True)
    assert first.best.exists()


def test_evaluate_names_the_file_of_a_frame_that_cannot_be_compared(tmp_path: Path, model: str) -> None:
    for name in ("a", "b"):
        write(tmp_path / f"{name}.extxyz", emt_atoms(2), format="extxyz")
    text = (tmp_path / "b.extxyz").read_text().replace("Al ", "Ni ")
    (tmp_path / "b.extxyz").write_text(text)
    with pytest.raises(ModelError, match=r"was not trained on Ni.*\[b\.extxyz frame 1\]"):
        evaluate([tmp_path / "a.extxyz", tmp_path / "b.extxyz"], model=model)
