"""Training on a scalar per structure, end to end, and what is decided from the training frames."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from ase import Atoms
from ase.build import bulk
from ase.io import read, write

from jmp_calc import JMPCalculator, evaluate, finetune, predict
from jmp_calc.errors import BadInputError, ModelError, UsageError
from jmp_calc.model.config import HeadConfig
from jmp_calc.model.potential import Potential, Prediction
from jmp_calc.training import DataOptions
from jmp_calc.training.batches.dataset import FrameGraphs
from jmp_calc.training.batches.tasks import Task
from jmp_calc.training.config import LossConfig, OptimConfig, TrainConfig
from jmp_calc.training.data.frame import Frame
from jmp_calc.training.data.labels import read_labelled
from jmp_calc.training.finetuning.options import ModelOptions
from jmp_calc.training.finetuning.recipes import finetune_recipe, recipe_names
from jmp_calc.training.loss import loss_terms
from jmp_calc.training.targets.fit import with_target
from jmp_calc.training.targets.options import TargetTask
from jmp_calc.training.targets.scalars import fit_scalar
from jmp_calc.training.validation.history import read_history
from jmp_calc.training.validation.metrics import Collector
from jmp_calc.zoo.container import ModelCard, load_model, save_model
from tests.training.helpers.stopped import stopped_at
from tests.training.helpers.tiny import POLICY, emt_frames, tiny_config, tiny_model

CONFIG = TrainConfig(epochs=12, batch_size=4, optim=OptimConfig(lr=1e-2, ema_decay=0.9, warmup_steps=5))
SCALARS = [name for name in recipe_names() if not finetune_recipe(name).with_forces]


def crystals(count: int, seed: int = 0) -> list[Atoms]:
    """Strained, shaken Cu and Cu-Al cells; ``size`` is the volume per atom (Å³) plus 4 times the share of
    Al."""
    rng, images = np.random.default_rng(seed), []
    for i in range(count):
        atoms = bulk("Cu", "fcc", a=3.7, cubic=True)
        atoms.symbols[: i % 3] = "Al"
        atoms.set_cell(atoms.cell @ (np.eye(3) + rng.normal(scale=0.03, size=(3, 3))), scale_atoms=True)
        atoms.positions += rng.normal(scale=0.05, size=(4, 3))
        atoms.info = {"size": atoms.get_volume() / 4 + float(np.mean(atoms.numbers == 13)) * 4, "other": 1.0}
        images.append(atoms)
    return images


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 frames in train.extxyz (and 2 without the target), 12 in test.extxyz, a model."""
    folder = tmp_path_factory.mktemp("scalar")
    unlabelled = crystals(2, seed=9)
    del unlabelled[0].info["size"]
    unlabelled[1].info["size"] = np.nan
    write(folder / "train.extxyz", [*crystals(40), *unlabelled], format="extxyz")
    write(folder / "test.extxyz", crystals(12, seed=1), format="extxyz")
    tiny_model(folder / "tiny.safetensors")
    return folder


def test_it_learns_and_the_file_gives_the_same_predictions(tmp_path: Path, files: Path) -> None:
    said: list[str] = []
    result = finetune(
        files / "train.extxyz",
        target="size",
        test=files / "test.extxyz",
        out=tmp_path / "run",
        model=f"scratch:{files / 'tiny.safetensors'}",
        config=CONFIG,
        say=said.append,
        data=DataOptions(valid_every=8),
    )
    assert any("2 of 42 frames have no finite 'size' and are left out" in line for line in said)
    assert any("pooling mean" in line for line in said)
    assert result.test is not None and result.test.scalar_mae is not None
    assert result.test.scalar_mae < 0.5 * result.constant_mae["test"]
    assert result.test.scalar_r2 is not None and result.test.scalar_r2 > 0.5
    assert result.test.energy_mae_mev is None and result.test.forces_mae_mev_per_a is None
    # The report, the table, the predictions and the model agree.
    out = tmp_path / "run"
    report = yaml.safe_load((out / "report.yaml").read_text())
    assert report["test"]["scalar_mae"] == pytest.approx(result.test.scalar_mae, rel=1e-4)
    assert report["target"]["pooling"] == "mean" and report["next"].startswith("jmp_calc.predict(")
    rows = read_history(out / "metrics.csv")
    assert min(row.valid_scalar_mae for row in rows) == pytest.approx(result.valid.scalar_mae)
    assert [row.best for row in rows].count(True) >= 2 and all(row.train_energy_loss == 0.0 for row in rows)
    assert (out / "parity.svg").stat().st_size > 0
    images = read(out / "predictions-test.extxyz", ":")
    written = np.array([atoms.info["jmp_size"] for atoms in images])
    assert [atoms.info["size"] for atoms in images] == pytest.approx(
        [a.info["size"] for a in crystals(12, seed=1)]
    )
    assert predict(images, model=result.best) == pytest.approx(written, abs=1e-4)
    assert predict(images[3], model=result.best, dtype="float64") == pytest.approx(written[3:4], abs=1e-4)
    found = evaluate(files / "test.extxyz", model=result.best)
    assert found.errors.scalar_mae == pytest.approx(result.test.scalar_mae, rel=1e-4)
    assert {path.name for path in found.write(tmp_path / "errors")} == {
        "predictions.extxyz",
        "errors.yaml",
        "parity.svg",
    }
    with pytest.raises(ModelError, match="not an energy") as caught:
        JMPCalculator(str(result.best))
    assert "jmp_calc.predict" in str(caught.value)


@pytest.mark.slow
def test_a_resumed_run_ends_with_the_same_weights(tmp_path: Path, files: Path) -> None:
    def train(out: Path, resume: bool = False) -> Path:
        config = dataclasses.replace(CONFIG, epochs=3)
        return finetune(
            files / "train.extxyz",
            target="size",
            out=out,
            model=str(files / "tiny.safetensors"),
            config=config,
            resume=resume,
            say=lambda line: None,
        ).last

    whole = train(tmp_path / "whole")
    with stopped_at(14):  # in the middle of the second epoch
        train(tmp_path / "parts")
    assert not (tmp_path / "parts" / "last.safetensors").exists()
    parts = train(tmp_path / "parts", resume=True)
    first, second = (load_model(path).potential.state_dict() for path in (whole, parts))
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_a_scalar_head_beside_energies(tmp_path: Path, files: Path) -> None:
    """A kept head with energies still gives them; the scalar is asked for by name."""
    result = finetune(
        files / "train.extxyz",
        target="size",
        head_name="size",
        out=tmp_path / "run",
        say=lambda line: None,
        model=str(files / "tiny.safetensors"),
        config=dataclasses.replace(CONFIG, epochs=1),
        start=ModelOptions(keep_heads=True),
    )
    atoms = crystals(1)[0]
    atoms.calc = JMPCalculator(str(result.best), head="old")
    assert np.isfinite(atoms.get_forces()).all()
    assert np.isfinite(predict([atoms], model=result.best, head="size")).all()
    with pytest.raises(ModelError, match="not a scalar"):
        predict([atoms], model=result.best, head="old")


def test_a_target_that_cannot_be_learned_from_is_refused(tmp_path: Path, files: Path) -> None:
    model = str(files / "tiny.safetensors")
    with pytest.raises(BadInputError, match="No frame of train.extxyz has the target 'gap'") as caught:
        finetune(files / "train.extxyz", target="gap", model=model, out=tmp_path / "a", say=lambda line: None)
    assert all(key in str(caught.value) for key in ("keys of the file", "size", "other"))
    with pytest.raises(BadInputError, match="values of other are 1"):
        finetune(
            files / "train.extxyz", target="other", model=model, out=tmp_path / "b", say=lambda line: None
        )
    with pytest.raises(UsageError, match="starts from new weights"):
        finetune(
            files / "train.extxyz",
            target="size",
            model=model,
            out=tmp_path / "c",
            say=lambda line: None,
            start=ModelOptions(head="old"),
        )
    with pytest.raises(UsageError, match="cannot be combined"):
        LossConfig(scalar_weight=1.0)
    images = crystals(2)
    images[1].info["size"] = np.array([1.0, 2.0])
    write(tmp_path / "vector.extxyz", images, format="extxyz")
    with pytest.raises(BadInputError, match="shape \\(2,\\), not one number") as caught:
        read_labelled(tmp_path / "vector.extxyz", target="size")
    assert "frame 1" in str(caught.value)


# ---- statistics of the training frames
# ----------------------------------------------------------------------------


def molecules(count: int, value: str) -> list[Frame]:
    """Chains of one to nine Cu and Al atoms with an extensive or an intensive target."""
    rng, frames = np.random.default_rng(3), []
    for i in range(count):
        numbers = rng.choice([13, 29], size=rng.integers(1, 10))
        sums = 3.0 * (numbers == 13).sum() - 1.5 * (numbers == 29).sum() + rng.normal(scale=0.1)
        frames.append(
            Frame(
                numbers,
                np.arange(len(numbers))[:, None] * np.array([2.6, 0.2, 0.0]),
                np.zeros((3, 3)),
                np.zeros(3, bool),
                None,
                None,
                None,
                "g",
                "s",
                i,
                targets={"y": sums if value == "extensive" else rng.normal(5.0, 2.0)},
            )
        )
    return frames


def test_pooling_and_references_follow_the_data() -> None:
    summed = fit_scalar(molecules(60, "extensive"), TargetTask("y"))
    assert summed.task.pooling == "sum" and summed.task.referenced
    assert summed.references == pytest.approx({13: 3.0, 29: -1.5}, abs=0.1)
    assert summed.scale == pytest.approx(0.1, rel=0.3) and abs(summed.shift) < 0.1
    frames = molecules(60, "intensive")
    values = np.array([frame.targets["y"] for frame in frames])
    mean = fit_scalar(frames, TargetTask("y"))
    assert mean.task.pooling == "mean" and not mean.references
    assert (mean.shift, mean.scale, mean.mean) == pytest.approx((values.mean(), values.std(), values.mean()))
    assert mean.constant(frames) == pytest.approx(np.abs(values - values.mean()).mean())
    # With as many elements as frames a sum explains everything and means nothing.
    assert fit_scalar(molecules(3, "extensive"), TargetTask("y")).task.pooling == "mean"


def test_explicit_choices_win() -> None:
    frames = molecules(60, "extensive")
    fitted = fit_scalar(frames, TargetTask("y", pooling="max", referenced=False, normalise=False))
    assert (fitted.task.pooling, fitted.references, fitted.shift, fitted.scale) == ("max", {}, 0.0, 1.0)


def test_the_target_is_the_only_label() -> None:
    frames = [dataclasses.replace(frame, targets={"y": 1.0, "z": 2.0}) for frame in emt_frames(2)]
    kept = with_target([*frames, *emt_frames(1)], "y")
    assert len(kept) == 2
    assert all(
        f.energy is None and f.forces is None and f.stress is None and f.targets == {"y": 1.0} for f in kept
    )


def test_loss_counts_in_standard_deviations_and_only_labelled_structures() -> None:
    frames = [
        dataclasses.replace(frame, targets=values)
        for frame, values in zip(emt_frames(3), ({"y": 1.0}, {}, {"y": 5.0}))
    ]
    batch = FrameGraphs(frames, POLICY, Task("h", target="y")).collate(range(3))
    value = torch.tensor([2.0, torch.nan, 2.0], dtype=torch.float64, requires_grad=True)
    config = dataclasses.replace(TrainConfig().for_target().loss, scalar_unit=2.0)
    got = loss_terms(Prediction(value, torch.zeros(12), None, None), batch, config)
    assert float(got.total.detach()) == pytest.approx((0.5 + 1.5) / 2)
    assert float(got.energy) == float(got.forces) == 0.0
    squared = loss_terms(
        Prediction(value, torch.zeros(12), None, None), batch, dataclasses.replace(config, scalar="l2")
    )
    assert float(squared.total.detach()) == pytest.approx((0.25 + 2.25) / 2)
    collector = Collector()
    collector.add(Prediction(value, torch.zeros(12), None, None), batch)
    errors = collector.finish().errors()
    assert (errors.scalar_mae, errors.scalar_rmse) == pytest.approx((2.0, np.sqrt(5.0)))
    assert errors.scalar_r2 == pytest.approx(1 - 5.0 / 4.0)
    assert errors.energy_mae_mev is None


# ---- the head
# -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind, reduction", [("scalar", "sum"), ("scalar", "mean"), ("scalar", "max"), ("spatial_extent", "sum")]
)
def test_units_and_sums_over_elements_of_a_head(tmp_path: Path, kind: str, reduction: str) -> None:
    """Scale, shift and values per element; lone atoms, which energies are counted from, play no part."""
    plain = HeadConfig("y", kind=kind, reduction=reduction, hidden=8, num_layers=3)  # type: ignore[arg-type]
    full = dataclasses.replace(plain, energy_scale=3.0, energy_shift=-2.0, references={13: 1.0, 29: 10.0})
    images = crystals(3)
    found = []
    for head in (plain, full):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            potential = Potential(dataclasses.replace(tiny_config(), heads=(head,), default_head="y"))
        save_model(tmp_path / "y.safetensors", potential, ModelCard(name="y", licence="MIT"))
        found.append(predict(images, model=tmp_path / "y.safetensors", dtype="float64"))
    sums = np.array([np.where(atoms.numbers == 13, 1.0, 10.0).sum() for atoms in images])
    assert found[1] == pytest.approx(3.0 * found[0] - 2.0 + sums)
    assert np.ptp(found[0]) > 0


@pytest.mark.parametrize("name", SCALARS)
def test_every_scalar_recipe_gives_a_head_and_settings(name: str) -> None:
    recipe = finetune_recipe(name)
    task, config = recipe.target_task, recipe.train_config(6, 1.0)
    assert task is not None and task.pooling == recipe.pooling and task.referenced == recipe.linear_reference
    assert task.kind == recipe.head
    assert (
        config.loss.scalar == "l1" and config.loss.scalar_weight == 1.0 and config.loss.energy_weight == 0.0
    )
    assert (config.forces, config.metric, config.optim.clip_value) == ("none", "scalar_mae", 1.0)
    assert config == config.for_target()
