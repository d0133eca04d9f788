"""Training on classes, end to end; cross-entropy, accuracies and confusion tables in closed form."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from ase import Atoms
from ase.build import bulk
from ase.io import read, write

from jmp_calc import JMPCalculator, evaluate, finetune, predict, predict_classes
from jmp_calc.errors import BadInputError, ModelError, UsageError
from jmp_calc.model.config import HeadConfig
from jmp_calc.model.potential import Potential
from jmp_calc.training import DataOptions
from jmp_calc.training.config import LossConfig, OptimConfig, TrainConfig
from jmp_calc.training.data.frame import Frame
from jmp_calc.training.data.labels import read_labelled
from jmp_calc.training.data.target_labels import class_label, kind_of_labels
from jmp_calc.training.loss import cross_entropy
from jmp_calc.training.targets.classes import fit_classes, with_numbers
from jmp_calc.training.targets.options import TargetTask
from jmp_calc.training.validation.confusion import confusion_text
from jmp_calc.training.validation.history import read_history
from jmp_calc.training.validation.metrics import accuracies, chosen_class
from jmp_calc.zoo.container import ModelCard, load_model, save_model
from tests.training.helpers.stopped import stopped_at
from tests.training.helpers.tiny import emt_frames, tiny_config, tiny_model

CONFIG = TrainConfig(epochs=8, batch_size=4, optim=OptimConfig(lr=1e-2, ema_decay=0.9, warmup_steps=5))


def crystals(count: int, seed: int = 0) -> list[Atoms]:
    """Shaken Cu cells, dense or stretched by 10 %: ``phase`` is alpha or beta, ``number`` 7 or 30, ``dense``
    true or false."""
    rng, images = np.random.default_rng(seed), []
    for i in range(count):
        dense = i % 3 > 0
        atoms = bulk("Cu", "fcc", a=3.5 if dense else 3.85, cubic=True)
        atoms.positions += rng.normal(scale=0.05, size=(4, 3))
        atoms.info = {
            "phase": "beta" if dense else "alpha",
            "number": 30 if dense else 7,
            "dense": dense,
            "x": 0.1 * i,
        }
        images.append(atoms)
    return images


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """36 frames in train.extxyz (and one without labels), 12 in test.extxyz, a model."""
    folder = tmp_path_factory.mktemp("classes")
    unlabelled = crystals(1, seed=9)
    unlabelled[0].info = {}
    write(folder / "train.extxyz", [*crystals(36), *unlabelled], format="extxyz")
    write(folder / "test.extxyz", crystals(12, seed=1), format="extxyz")
    tiny_model(folder / "tiny.safetensors")
    return folder


def test_it_tells_two_kinds_of_structures_apart_and_the_file_gives_the_same(
    tmp_path: Path, files: Path
) -> None:
    said: list[str] = []
    out = tmp_path / "run"
    result = finetune(
        files / "train.extxyz",
        target="phase",
        test=files / "test.extxyz",
        out=out,
        model=f"scratch:{files / 'tiny.safetensors'}",
        config=CONFIG,
        say=said.append,
        data=DataOptions(valid_every=5),
    )
    assert any("the labels are text or booleans, so these are classes" in line for line in said)
    assert any("1 of 37 frames have no 'phase' and are left out" in line for line in said)
    assert result.test is not None and result.test.balanced_accuracy == 1.0
    assert result.test.scalar_mae is None and result.test.energy_mae_mev is None
    assert result.constant_accuracy["test"] == pytest.approx(8 / 12)
    # The report, the table, the predictions and the model agree.
    report = yaml.safe_load((out / "report.yaml").read_text())
    assert report["confusion"]["test"] == {"alpha": {"alpha": 4, "beta": 0}, "beta": {"alpha": 0, "beta": 8}}
    assert report["next"].startswith("jmp_calc.predict_classes(")
    rows = read_history(out / "metrics.csv")
    assert max(row.valid_balanced_accuracy or 0.0 for row in rows) == result.valid.balanced_accuracy
    assert (out / "confusion.svg").stat().st_size > 0 and not (out / "parity.svg").exists()
    images = read(out / "predictions-test.extxyz", ":")
    assert [atoms.info["phase"] for atoms in images] == [
        atoms.info["phase"] for atoms in crystals(12, seed=1)
    ]
    found = predict_classes(images, model=result.best)
    assert found.classes == ("alpha", "beta")
    assert list(found.names) == [atoms.info["jmp_phase"] for atoms in images]
    assert found.probabilities.sum(axis=1) == pytest.approx(np.ones(12))
    assert predict_classes(images[0], model=result.best, dtype="float64").probabilities == pytest.approx(
        found.probabilities[:1], abs=1e-4
    )
    again = evaluate(files / "test.extxyz", model=result.best)
    assert again.errors == result.test and again.confusion.tolist() == [[4, 0], [0, 8]]
    names = {path.name for path in again.write(tmp_path / "errors")}
    assert names == {"predictions.extxyz", "errors.yaml", "confusion.svg"}
    with pytest.raises(ModelError, match="gives a class, not an energy") as caught:
        JMPCalculator(str(result.best))
    assert "jmp_calc.predict_classes" in str(caught.value)
    with pytest.raises(ModelError, match="gives a class, not a scalar"):
        predict(images, model=result.best)


def test_whole_numbers_are_classes_only_if_asked_for(tmp_path: Path, files: Path) -> None:
    config = dataclasses.replace(CONFIG, epochs=1)
    said: list[str] = []
    for kind, weights, head in ((None, "equal", "scalar"), ("class", "balanced", "multiclass")):
        result = finetune(
            files / "train.extxyz",
            out=tmp_path / head,
            model=str(files / "tiny.safetensors"),
            config=config,
            say=said.append,
            data=DataOptions(target=TargetTask("number", kind, class_weights=weights)),  # type: ignore[arg-type]
        )
        potential = load_model(result.best).potential
        assert potential.config.heads[0].kind == head
    assert any("if they are classes: --target-kind class" in line for line in said)
    assert potential.config.heads[0].classes == ("7", "30")
    weights = yaml.safe_load((tmp_path / "multiclass" / "config.yaml").read_text())["training"]["loss"][
        "class_weights"
    ]
    counts = np.array([weights[0] ** -1, weights[1] ** -1])
    assert counts.sum() == pytest.approx(2.0) and weights[0] > weights[1]


@pytest.mark.slow
def test_a_resumed_run_ends_with_the_same_weights(tmp_path: Path, files: Path) -> None:
    def train(out: Path, resume: bool = False) -> Path:
        return finetune(
            files / "train.extxyz",
            target="dense",
            out=out,
            model=str(files / "tiny.safetensors"),
            config=dataclasses.replace(CONFIG, epochs=2),
            resume=resume,
            say=lambda line: None,
        ).last

    whole = train(tmp_path / "whole")
    with stopped_at(12):  # in the middle of the second epoch
        train(tmp_path / "parts")
    parts = train(tmp_path / "parts", resume=True)
    first, second = (load_model(path).potential for path in (whole, parts))
    assert first.config.heads[0].classes == ("F", "T")
    assert all(torch.equal(value, second.state_dict()[name]) for name, value in first.state_dict().items())


def test_classes_that_cannot_be_learned_are_refused(tmp_path: Path, files: Path) -> None:
    def refused(images: list[Atoms], **options: object) -> str:
        write(tmp_path / "bad.extxyz", images, format="extxyz")
        data = DataOptions(target=TargetTask("phase", kind="class"), **options)  # type: ignore[arg-type]
        with pytest.raises((BadInputError, UsageError)) as caught:
            finetune(
                tmp_path / "bad.extxyz",
                valid=files / "test.extxyz",
                data=data,
                config=CONFIG,
                overwrite=True,
                model=str(files / "tiny.safetensors"),
                out=tmp_path / "run",
                say=lambda line: None,
            )
        return str(caught.value)

    one, unknown, numbers, missing = (crystals(9) for _ in range(4))
    for atoms in one:
        atoms.info["phase"] = "alpha"
    for i, atoms in enumerate(unknown):
        atoms.info["phase"] = "alpha" if i % 2 else "gamma"
    for atoms in numbers:
        atoms.info["phase"] = atoms.info["x"]
    for atoms in missing:
        del atoms.info["phase"]
    assert "All 9 training frames have the class 'alpha' of phase" in refused(one)
    text = refused(unknown)
    assert "not among the training frames: beta" in text and "test.extxyz frame 1" in text
    assert "'0.1' is no class" in refused(numbers) and "bad.extxyz frame 1" in refused(numbers)
    assert "No frame of bad.extxyz has the target 'phase'" in refused(missing)
    many = crystals(9)
    for i, atoms in enumerate(many):
        atoms.info["phase"] = f"p{i}"
    assert "phase has 9 classes in 9 training frames" in refused(many)
    with pytest.raises(BadInputError, match="not numeric") as caught:
        read_labelled(files / "train.extxyz", target="phase", target_kind="scalar")
    assert "--target-kind class" in str(caught.value)


# ---- labels
# -------------------------------------------------------------------------------------------------------


def test_names_of_classes() -> None:
    given = [True, np.bool_(False), "T", "False", 3, 3.0, "3", " metal ", np.array([2]), "", math.nan, "nan"]
    assert [class_label(label, "y", "here") for label in given] == [
        "T",
        "F",
        "T",
        "F",
        "3",
        "3",
        "3",
        "metal",
        "2",
        None,
        None,
        None,
    ]
    for bad, fact in ((0.5, "not whole"), ("0.5", "not whole"), (np.zeros(3), "shape \\(3,\\)")):
        with pytest.raises(BadInputError, match=fact):
            class_label(bad, "y", "here")


def test_only_text_and_booleans_are_taken_for_classes() -> None:
    assert kind_of_labels(["a", "b"], "y")[0] == kind_of_labels([True, False], "y")[0] == "class"
    assert kind_of_labels(["T", "F"], "y")[0] == "class"
    assert kind_of_labels(["0", "1"] * 20, "y")[0] == kind_of_labels([0.5, 1.5], "y")[0] == "scalar"
    assert kind_of_labels(["0.5", "n/a"], "y")[0] == "scalar", "a number that was not written is no class"
    assert "--target-kind class" in kind_of_labels([0, 1] * 20, "y")[1]
    assert "--target-kind class" not in kind_of_labels([0.5, 1.0] * 20, "y")[1]


def labelled(*names: str) -> list[Frame]:
    return [
        dataclasses.replace(frame, classes={"y": name}) for frame, name in zip(emt_frames(len(names)), names)
    ]


def test_order_counts_and_weights_of_classes() -> None:
    fitted = fit_classes(labelled("10", "9", "b", "9", "a", "9", "a", "9"), TargetTask("y", "class"))
    assert fitted.names == ("9", "10", "a", "b") and fitted.counts == (4, 1, 2, 1) and fitted.weights == ()
    assert fitted.constant(labelled("9", "a", "9", "b")) == 0.5
    balanced = fit_classes(labelled("n", "y", "n", "n"), TargetTask("y", "class", class_weights="balanced"))
    assert balanced.weights == pytest.approx((4 / 6, 4 / 2))
    assert np.dot(balanced.weights, balanced.counts) == pytest.approx(4.0)
    assert [frame.targets["y"] for frame in balanced.encoded(labelled("y", "n"))] == [1.0, 0.0]
    with pytest.raises(BadInputError, match="not among the training frames: m"):
        with_numbers(labelled("m"), "y", ("n", "y"), "")


# ---- loss and errors
# ----------------------------------------------------------------------------------------------


def test_cross_entropy_in_closed_form() -> None:
    logits, true = (
        torch.tensor([[0.0, 0.0], [math.log(3.0), 0.0]]),
        torch.tensor([1.0, 0.0], dtype=torch.float64),
    )
    assert cross_entropy(logits, true, ()).tolist() == pytest.approx([math.log(2.0), math.log(4.0 / 3.0)])
    assert cross_entropy(logits, true, (1.0, 1.5)).tolist() == pytest.approx(
        [1.5 * math.log(2.0), math.log(4.0 / 3.0)]
    )
    single = torch.tensor([0.0, -math.log(3.0)])  # of yes against no
    assert cross_entropy(single, true, ()).tolist() == pytest.approx([math.log(2.0), math.log(4.0 / 3.0)])


def test_accuracies_in_closed_form() -> None:
    true = np.array([0, 0, 0, 0, 1, 1, np.nan])
    chosen = np.array([0, 0, 0, 1, 1, np.nan, 1])
    assert accuracies(chosen, true) == pytest.approx((4 / 6, (3 / 4 + 1 / 2) / 2))
    assert accuracies(chosen[:0], true[:0]) == (None, None)
    assert chosen_class(torch.tensor([[1.0, 2.0, 0.0], [torch.nan, 2.0, 0.0]])).tolist()[0] == 1.0
    assert math.isnan(chosen_class(torch.tensor([[torch.nan, 2.0, 0.0]])).item())
    lines = confusion_text(np.array([[3, 1], [0, 0]]), ("no", "yes")).splitlines()
    assert lines[1].split() == ["no", "3", "1", "75%"] and lines[2].split() == ["yes", "0", "0"]


# ---- the head
# -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reduction", ["sum", "mean", "max"])
def test_two_logits_and_one_give_the_same_probabilities(tmp_path: Path, reduction: str) -> None:
    """A binary head, as official checkpoints have, is one whose logit of no is zero."""
    images, found = crystals(3), []
    for kind, classes in (("binary", 1), ("multiclass", 2)):
        head = HeadConfig(
            "y",
            kind=kind,
            reduction=reduction,
            hidden=8,
            num_layers=3,  # type: ignore[arg-type]
            num_classes=classes,
        )
        with torch.random.fork_rng():
            torch.manual_seed(0)
            potential = Potential(dataclasses.replace(tiny_config(), heads=(head,), default_head="y"))
        state = {name: value.clone() for name, value in potential.state_dict().items()}
        if kind == "binary":
            kept = state
        else:
            last = next(
                name for name, value in state.items() if name.startswith("heads.y") and value.shape == (2, 8)
            )
            for name, value in kept.items():
                state[name] = torch.cat([torch.zeros_like(value), value]) if name == last else value
            state[last.replace("weight", "bias")] = torch.zeros(2)
        potential.load_state_dict(state)
        save_model(tmp_path / "y.safetensors", potential, ModelCard(name="y", licence="MIT"))
        found.append(predict_classes(images, model=tmp_path / "y.safetensors", dtype="float64"))
    assert found[0].classes == found[1].classes == ("0", "1")
    assert found[0].probabilities == pytest.approx(found[1].probabilities)
    assert np.ptp(found[0].probabilities[:, 1]) > 0


def test_settings_of_classes_are_checked(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="must be positive"):
        LossConfig(class_weights=(1.0, -1.0))
    fitted = fit_classes(labelled("n", "y", "n", "n"), TargetTask("y", "class"))
    config = TrainConfig().for_target()
    with pytest.raises(UsageError, match="3 class weights and 2 classes"):
        fitted.configured(
            dataclasses.replace(config, loss=dataclasses.replace(config.loss, class_weights=(1.0,) * 3))
        )
    with pytest.raises(UsageError, match="huber is a loss of numbers"):
        fitted.configured(dataclasses.replace(config, loss=dataclasses.replace(config.loss, scalar="huber")))
    head = HeadConfig("y", kind="multiclass", hidden=8, num_layers=3, num_classes=2, classes=("a", "b", "c"))
    potential = Potential(dataclasses.replace(tiny_config(), heads=(head,), default_head="y"))
    with pytest.raises(ModelError, match="2 classes and 3 names of classes"):
        save_model(tmp_path / "y.safetensors", potential, ModelCard(name="y", licence="MIT"))
