"""Training on a vector per structure, end to end; how the prediction rotates, moves and mirrors; loss and
errors."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from ase.io import read, write
from scipy.spatial.transform import Rotation

from jmp_calc import JMPCalculator, evaluate, finetune, predict_classes, predict_vectors
from jmp_calc.errors import BadInputError, ModelError, UsageError
from jmp_calc.model.config import HeadConfig
from jmp_calc.model.potential import Potential
from jmp_calc.training import DataOptions
from jmp_calc.training.config import OptimConfig, TrainConfig
from jmp_calc.training.data.frame import Frame
from jmp_calc.training.data.labels import read_labelled
from jmp_calc.training.loss import error_length
from jmp_calc.training.targets.options import TargetTask
from jmp_calc.training.targets.vectors import fit_vector
from jmp_calc.training.validation.history import read_history
from jmp_calc.training.validation.metrics import vector_errors
from jmp_calc.zoo.container import ModelCard, save_model
from tests.training.helpers.tiny import tiny_config, tiny_model

CONFIG = TrainConfig(epochs=10, batch_size=4, optim=OptimConfig(lr=1e-2, ema_decay=0.9, warmup_steps=5))
CHARGES = {"H": 0.4, "O": -0.8}


def waters(count: int, seed: int = 0) -> list[Atoms]:
    """Shaken water molecules, each turned anew, with the dipole of point charges (e Å)."""
    rng, images = np.random.default_rng(seed), []
    for i in range(count):
        atoms = molecule("H2O")
        atoms.positions = Rotation.random(random_state=1000 * seed + i).apply(atoms.positions)
        atoms.positions += rng.normal(scale=0.03, size=(3, 3))
        charges = np.array([CHARGES[symbol] for symbol in atoms.symbols])
        atoms.info["moment"] = charges @ atoms.positions
        images.append(atoms)
    return images


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """32 molecules in train.extxyz, 8 in test.extxyz, a model without a force branch."""
    folder = tmp_path_factory.mktemp("vectors")
    write(folder / "train.extxyz", waters(32), format="extxyz")
    write(folder / "test.extxyz", waters(8, seed=1), format="extxyz")
    tiny_model(folder / "tiny.safetensors")
    return folder


def task(**options: object) -> DataOptions:
    return DataOptions(target=TargetTask("moment", "vector", unit="e Å"), valid_every=8, **options)  # type: ignore[arg-type]


def test_it_learns_dipoles_and_the_file_gives_the_same_predictions(tmp_path: Path, files: Path) -> None:
    out = tmp_path / "run"
    result = finetune(
        files / "train.extxyz",
        test=files / "test.extxyz",
        out=out,
        data=task(),
        config=CONFIG,
        model=f"scratch:{files / 'tiny.safetensors'}",
        say=lambda line: None,
    )
    assert result.test is not None and result.test.vector_mae is not None
    assert result.test.vector_mae < 0.5 * result.constant_mae["test"]
    assert result.test.scalar_mae is None and result.test.accuracy is None
    rows = read_history(out / "metrics.csv")
    assert min(row.valid_vector_mae or 9.0 for row in rows) == pytest.approx(result.valid.vector_mae)
    assert (out / "parity.svg").stat().st_size > 0
    images = read(out / "predictions-test.extxyz", ":")
    written = np.array([atoms.info["jmp_moment"] for atoms in images])
    found = predict_vectors(images, model=result.best)
    assert found.shape == (8, 3) and found == pytest.approx(written, abs=1e-4)
    assert np.array([atoms.info["moment"] for atoms in images]) == pytest.approx(
        np.array([atoms.info["moment"] for atoms in waters(8, seed=1)]), abs=1e-6
    )
    again = evaluate(files / "test.extxyz", model=result.best)
    assert again.errors.vector_mae == pytest.approx(result.test.vector_mae, rel=1e-4)
    assert again.errors.vector_length_mae == pytest.approx(result.test.vector_length_mae, rel=1e-3)
    with pytest.raises(ModelError, match="gives a vector, not an energy") as caught:
        JMPCalculator(str(result.best))
    assert "jmp_calc.predict_vectors" in str(caught.value)
    with pytest.raises(ModelError, match="gives a vector, not a class"):
        predict_classes(images, model=result.best)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_the_vector_follows_the_structure(tmp_path: Path, reduction: str) -> None:
    """It turns and mirrors with the structure, is the same anywhere, and (as a sum) twice as long for two far
    copies."""
    backbone = dataclasses.replace(tiny_config().backbone, force_branch=True)
    head = HeadConfig("y", kind="vector", reduction=reduction, hidden=8, num_layers=3, force_scale=2.0)  # type: ignore[arg-type]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        potential = Potential(
            dataclasses.replace(tiny_config(), backbone=backbone, heads=(head,), default_head="y")
        )
    save_model(tmp_path / "y.safetensors", potential, ModelCard(name="y", licence="MIT"))
    atoms = molecule("CH3CH2OH")
    turn = Rotation.random(random_state=3)
    turned, mirrored, moved, twice = (atoms.copy() for _ in range(4))
    turned.positions = turn.apply(atoms.positions)
    mirrored.positions = -atoms.positions
    moved.positions += [3.0, -40.0, 0.5]
    far = atoms.copy()
    far.positions += 50.0
    twice += far
    found = predict_vectors(
        [atoms, turned, mirrored, moved, twice], model=tmp_path / "y.safetensors", dtype="float64"
    )
    assert np.linalg.norm(found[0]) > 1e-3
    assert found[1] == pytest.approx(turn.apply(found[0]), rel=1e-8)
    assert found[2] == pytest.approx(-found[0], rel=1e-8)
    assert found[3] == pytest.approx(found[0], rel=1e-8)
    assert found[4] == pytest.approx((2.0 if reduction == "sum" else 1.0) * found[0], rel=1e-8)


def test_vectors_that_cannot_be_learned_are_refused(tmp_path: Path, files: Path) -> None:
    tiny = str(files / "tiny.safetensors")
    with pytest.raises(ModelError, match="no branch for direct forces") as caught:
        finetune(files / "train.extxyz", data=task(), model=tiny, out=tmp_path / "a", say=lambda line: None)
    assert "--from-scratch" in str(caught.value)
    with pytest.raises(BadInputError, match="shape \\(3,\\), not one number") as caught:
        read_labelled(files / "train.extxyz", target="moment")
    assert "--target-kind vector" in str(caught.value)
    images = waters(2)
    images[1].info["moment"] = 1.0
    write(tmp_path / "bad.extxyz", images, format="extxyz")
    with pytest.raises(BadInputError, match="not three components") as caught:
        read_labelled(tmp_path / "bad.extxyz", target="moment", target_kind="vector")
    assert "frame 1" in str(caught.value)
    zero = [dataclasses.replace(frame, vectors={"moment": np.zeros(3)}) for frame in labelled(files)]
    with pytest.raises(BadInputError, match="All 32 vectors of moment are zero"):
        fit_vector(zero, TargetTask("moment", "vector"))
    with pytest.raises(UsageError, match="maximum over atoms"):
        fit_vector(labelled(files), TargetTask("moment", "vector", pooling="max"))


def labelled(files: Path) -> tuple[Frame, ...]:
    return read_labelled(files / "train.extxyz", target="moment", target_kind="vector").frames


def test_scale_loss_and_errors_in_closed_form(files: Path) -> None:
    values = np.array([atoms.info["moment"] for atoms in waters(32)])
    fitted = fit_vector(labelled(files), TargetTask("moment", "vector"))
    assert fitted.scale == pytest.approx(np.sqrt(np.mean(values**2)), rel=1e-6)
    assert fitted.constant(labelled(files)) == pytest.approx(np.abs(values).mean(), rel=1e-6)
    config = fitted.configured(TrainConfig().for_target())
    assert (config.loss.scalar, config.loss.scalar_unit, config.metric) == (
        "norm",
        fitted.scale,
        "vector_mae",
    )
    assert error_length(torch.tensor([[3.0, 0.0, 4.0], [0.0, 0.0, 0.0]])).tolist() == pytest.approx(
        [5.0, 0.0], abs=2e-6
    )
    predicted, true = np.array([[3.0, 0.0, 4.0], [1.0, 1.0, 1.0]]), np.array([[0.0, 0.0, 1.0], [np.nan] * 3])
    assert vector_errors(predicted, true) == pytest.approx((6.0 / 3.0, 4.0))
