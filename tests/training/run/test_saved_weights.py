"""What a fine-tuning saves is never worse than the best that it measured, however short it is."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml

from jmp_calc.training.batches.dataset import FrameGraphs
from jmp_calc.training.batches.loader import Batches
from jmp_calc.training.batches.order import Fixed
from jmp_calc.training.batches.tasks import Task
from jmp_calc.training.config import Metric, OptimConfig, TrainConfig
from jmp_calc.training.data.labels import read_labelled
from jmp_calc.training.distributed.world import World
from jmp_calc.training.finetune import TrainResult, finetune
from jmp_calc.training.validation.history import Row
from jmp_calc.training.validation.validate import measured
from jmp_calc.zoo.container import load_model
from tests.training.helpers.tiny import emt_file, tiny_model

CONFIG = TrainConfig(batch_size=2, validate_every=10, optim=OptimConfig(lr=5e-3))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    emt_file(folder / "train.extxyz", 10)
    emt_file(folder / "valid.extxyz", 4, seed=1)
    tiny_model(folder / "tiny.safetensors", "old")
    return folder


def trained(files: Path, out: Path, config: TrainConfig) -> TrainResult:
    return finetune(
        files / "train.extxyz",
        valid=files / "valid.extxyz",
        model=str(files / "tiny.safetensors"),
        out=out,
        config=config,
        device="cpu",
        say=lambda line: None,
    )


def metric_of(model: Path, valid: Path, config: TrainConfig) -> float:
    """The error that chooses the best model, of a file on the validation frames."""
    potential = load_model(model).potential
    frames = read_labelled(valid).frames
    graphs = FrameGraphs(frames, potential.config.policy, Task(potential.config.default_head))
    batches = Batches(graphs, Fixed(graphs.sizes, max_edges=10**6, max_structures=3))
    return measured("raw", potential, batches, config, config.forces, World()).metric


def of_rows(rows: tuple[Row, ...], metric: Metric) -> list[float]:
    """All errors of this kind that a run measured, of both sets of weights."""
    names = {"loss": "loss", "forces_mae": "forces_mae_mev_per_a"}
    return [value for row in rows for value in row.values(names[metric]).values()]


@pytest.mark.parametrize(
    ("steps", "changes"),
    [
        (10, {}),
        pytest.param(60, {}, marks=pytest.mark.slow),
        pytest.param(120, {"validate_every": 30, "batch_size": 1}, marks=pytest.mark.slow),
        pytest.param(3000, {"validate_every": 300}, marks=pytest.mark.slow),
        (10, {"lora_rank": 2}),
        (10, {"freeze": "embedding"}),
        (10, {"metric": "forces_mae", "optim": OptimConfig(lr=5e-3, ema_warmup=False)}),
    ],
)
def test_the_saved_file_is_as_good_as_the_best_that_was_measured(
    files: Path, tmp_path: Path, steps: int, changes: dict[str, Any]
) -> None:
    config = dataclasses.replace(CONFIG, max_steps=steps, **changes)
    result = trained(files, tmp_path / "run", config)
    found = of_rows(result.history, config.metric)
    saved = metric_of(result.best, files / "valid.extxyz", config)
    assert saved <= min(found) * (1 + 1e-4)
    last = metric_of(result.last, files / "valid.extxyz", config)
    assert last <= min(of_rows(result.history[-1:], config.metric)) * (1 + 1e-4)
    assert saved < found[0]  # the run did learn


def test_a_run_that_is_too_short_for_its_average_saves_the_weights_as_they_are(
    files: Path, tmp_path: Path
) -> None:
    """Ten steps of a decay of 0.999 without warm-up: 99 % of the average are the start weights."""
    optim = OptimConfig(lr=5e-3, ema_decay=0.999, ema_warmup=False)
    result = trained(files, tmp_path / "run", dataclasses.replace(CONFIG, max_steps=10, optim=optim))
    last = result.history[-1]
    assert last.weights == "raw" and last.best and last.values("loss")["averaged"] > 1.05 * last.valid_loss
    notes = yaml.safe_load((tmp_path / "run" / "report.yaml").read_text())["saved_weights"]
    for name in ("best", "last"):
        assert "as they are (not averaged), better on validation" in notes[name]
        assert "after 10 steps" in notes[name]


def test_noisy_steps_are_averaged_away(files: Path, tmp_path: Path) -> None:
    """At a large learning rate that stays, the average is better, and is saved."""
    optim = OptimConfig(lr=2e-2, final_lr=1.0, warmup_steps=0)
    result = trained(files, tmp_path / "run", dataclasses.replace(CONFIG, max_steps=60, optim=optim))
    best = [row for row in result.history if row.best][-1]
    assert best.weights == "averaged" and best.step > 0
    assert best.values("loss")["averaged"] < best.values("loss")["raw"]
    notes = yaml.safe_load((tmp_path / "run" / "report.yaml").read_text())["saved_weights"]
    assert f"averaged over steps (EMA, decay 0.99) after {best.step} steps" in notes["best"]


def test_without_averaging_there_is_one_set_of_weights(files: Path, tmp_path: Path) -> None:
    optim = OptimConfig(lr=5e-3, ema_decay=None)
    result = trained(files, tmp_path / "run", dataclasses.replace(CONFIG, max_steps=10, optim=optim))
    assert all(row.weights == "raw" and row.other_loss is None for row in result.history)
    assert result.valid_last_raw is None
