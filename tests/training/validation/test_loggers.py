"""TensorBoard and Weights & Biases get the rows of metrics.csv, also over a restart; the packages are
optional."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path

import pytest

from jmp_calc import finetune
from jmp_calc.errors import UsageError
from jmp_calc.training.config import OptimConfig, TrainConfig
from jmp_calc.training.validation.history import History, Row, read_history
from jmp_calc.training.validation.loggers import LOGGERS, require_installed
from tests.extras import reason
from tests.training.helpers.tiny import emt_file, tiny_model

CONFIG = TrainConfig(epochs=2, batch_size=4, optim=OptimConfig(lr=5e-3, ema_decay=0.9, warmup_steps=2))


class Collected:
    """A logger that keeps the rows."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def add(self, row: Row) -> None:
        self.rows.append(row)

    def close(self) -> None:
        pass


def test_a_logger_gets_every_new_row(tmp_path: Path) -> None:
    row = Row(0, 0, 1.0, 0.0, *[0.5] * 6, 0, 1.0, None, 2.0, *[None] * 5, best=True)
    later, first, second = dataclasses.replace(row, epoch=1, step=5), Collected(), Collected()
    history = History(tmp_path, loggers=[first])
    history.add(row)
    history.add(later)
    assert first.rows == [row, later]
    resumed = History(tmp_path, resume_step=0, loggers=[second])
    resumed.add(later)
    assert second.rows == [later]
    assert read_history(tmp_path / "metrics.csv") == [row, later]


@pytest.mark.parametrize("name", LOGGERS)
def test_a_missing_package_is_told_before_the_data_are_read(tmp_path: Path, name: str) -> None:
    if importlib.util.find_spec(name) is not None:
        pytest.skip(f"{name} is installed")
    with pytest.raises(UsageError, match="not installed") as refused:
        finetune(tmp_path / "none.extxyz", out=tmp_path / "run", loggers=[name])  # type: ignore[list-item]
    assert f"jmp-calc[{name}]" in str(refused.value)
    assert not (tmp_path / "run").exists()


def test_an_unknown_logger_is_refused() -> None:
    with pytest.raises(UsageError, match="no logger 'comet'"):
        require_installed(["comet"])  # type: ignore[list-item]


def test_tensorboard_shows_the_rows_once_after_a_restart(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason=reason("tensorboard"))
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    data, model = emt_file(tmp_path / "train.extxyz", 12), tiny_model(tmp_path / "tiny.safetensors", "old")
    out = tmp_path / "run"
    for epochs in (2, 3):
        finetune(
            data,
            model=str(model),
            out=out,
            config=dataclasses.replace(CONFIG, epochs=epochs),
            resume=epochs > 2,
            override=epochs > 2,
            loggers=["tensorboard"],
            say=lambda line: None,
        )
    events = EventAccumulator(str(out / "tensorboard"))
    events.Reload()
    rows = read_history(out / "metrics.csv")
    shown = events.Scalars("valid_loss")
    assert [event.step for event in shown] == [row.step for row in rows]
    assert [event.value for event in shown] == pytest.approx([row.valid_loss for row in rows])


def test_wandb_offline_continues_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason=reason("wandb"))
    monkeypatch.setenv("WANDB_MODE", "offline")
    data, model = emt_file(tmp_path / "train.extxyz", 12), tiny_model(tmp_path / "tiny.safetensors", "old")
    out = tmp_path / "run"
    for epochs in (1, 2):
        finetune(
            data,
            model=str(model),
            out=out,
            config=dataclasses.replace(CONFIG, epochs=epochs),
            resume=epochs > 1,
            override=epochs > 1,
            loggers=["wandb"],
            say=lambda line: None,
        )
    identity = (out / "wandb-id.txt").read_text()
    runs = [path.name for path in (out / "wandb").glob("offline-run-*")]
    assert len(runs) == 2
    assert all(name.endswith(identity) for name in runs)
