"""What a resumed run may change, and what it is told where it may not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from jmp_calc.errors import UsageError
from jmp_calc.training.config import OptimConfig, StageConfig, TrainConfig, config_to_dict
from jmp_calc.training.run.checkpoint import Checkpoint, Progress
from jmp_calc.training.run.resume import refuse_changes

COSINE = TrainConfig(epochs=3, optim=OptimConfig(lr=1e-3))
STAGES = TrainConfig(epochs=3, optim=OptimConfig(lr=1e-3, stages=StageConfig()))


def saved(config: TrainConfig) -> Checkpoint:
    return Checkpoint(Progress(), {}, {}, {}, {}, {}, config_to_dict(config), {}, {"frames": 5})


def refused(before: TrainConfig, now: TrainConfig, folder: Path, frames: int = 5) -> UsageError | None:
    try:
        refuse_changes(saved(before), config_to_dict(now), {"frames": frames}, folder / "state.pt")
    except UsageError as error:
        return error
    return None


def test_changed_settings_or_data_are_refused_with_the_difference(tmp_path: Path) -> None:
    assert refused(COSINE, COSINE, tmp_path) is None
    error = refused(COSINE, replace(COSINE, optim=OptimConfig(lr=2e-3)), tmp_path)
    assert error is not None and "optim.lr: 0.001 -> 0.002" in error.fact and "--override" in str(error.hint)
    error = refused(COSINE, COSINE, tmp_path, frames=6)
    assert error is not None and "data.frames: 5 -> 6" in error.fact


@pytest.mark.parametrize("config", [COSINE, STAGES])
def test_patience_and_processes_are_free(config: TrainConfig, tmp_path: Path) -> None:
    assert refused(config, replace(config, patience=7, processes=2, save_every_s=1.0), tmp_path) is None


@pytest.mark.parametrize("longer", [{"epochs": 4}, {"max_steps": 9}, {"max_time": 60.0}])
def test_the_length_is_free_only_where_the_learning_rates_do_not_follow_it(
    longer: dict[str, int], tmp_path: Path
) -> None:
    assert refused(STAGES, replace(STAGES, **longer), tmp_path) is None
    error = refused(COSINE, replace(COSINE, **longer), tmp_path)
    assert error is not None and "--override goes on along those of the new length" in str(error.hint)
    by_time = replace(STAGES, optim=replace(STAGES.optim, stages=StageConfig(limit="time")), max_time=30.0)
    assert (refused(by_time, replace(by_time, **longer), tmp_path) is None) == ("max_time" not in longer)
