"""The loop learns, resumes bit for bit, stops cleanly, and refuses to go on with NaN."""

from __future__ import annotations

import csv
import dataclasses
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase.io import read

from jmp_calc.errors import BadInputError, NotConvergedError, UsageError
from jmp_calc.machine.signals import Interrupted
from jmp_calc.model.config import to_dict
from jmp_calc.model.potential import Potential
from jmp_calc.training.batches.dataset import FrameGraphs
from jmp_calc.training.batches.loader import Batches
from jmp_calc.training.batches.order import Fixed, Shuffled
from jmp_calc.training.batches.tasks import Task
from jmp_calc.training.config import LossConfig, OptimConfig, TrainConfig
from jmp_calc.training.data.frame import Frame
from jmp_calc.training.data.references import fit_references
from jmp_calc.training.loop import fit
from jmp_calc.training.run.checkpoint import Progress, load_checkpoint
from jmp_calc.training.run.job import Job
from jmp_calc.training.validation.history import read_history
from jmp_calc.training.validation.validate import validate, without_weight_gradients
from tests.training.helpers.resumed import resumed_fit
from tests.training.helpers.tiny import emt_frames, tiny_potential

CONFIG = TrainConfig(epochs=3, batch_size=4, optim=OptimConfig(lr=5e-3, ema_decay=0.9, warmup_steps=3))
FRAMES = emt_frames(12)


def fresh(frames: tuple[Frame, ...] = FRAMES) -> Potential:
    potential = tiny_potential()
    head = dataclasses.replace(potential.config.heads[0], references=fit_references(frames).values)
    potential = potential.with_config(dataclasses.replace(potential.config, heads=(head,)))
    potential.fit_scale_factors([batches(frames, shuffle=False).data.collate(range(4)).batch])
    return potential


def batches(frames: tuple[Frame, ...], *, shuffle: bool) -> Batches:
    data = FrameGraphs(frames, tiny_potential().config.policy, Task("old"))
    return Batches(data, (Shuffled if shuffle else Fixed)(data.sizes, max_edges=10**6, max_structures=4))


def job(
    folder: Path,
    frames: tuple[Frame, ...] = FRAMES,
    save: Callable[[str, Progress], None] = lambda name, p: None,
) -> Job:
    potential = fresh(frames)
    folder.mkdir(exist_ok=True)
    return Job(
        potential,
        batches(frames[:-2], shuffle=True),
        batches(frames[-2:], shuffle=False),
        folder,
        to_dict(potential.config),
        {"frames": len(frames)},
        save,
    )


def weights(work: Job) -> dict[str, torch.Tensor]:
    return work.potential.state_dict()


def test_loss_decreases(tmp_path: Path) -> None:
    work = job(tmp_path)
    rows = fit(work, dataclasses.replace(CONFIG, epochs=12)).history.rows
    assert rows[-1].train_loss < 0.8 * rows[1].train_loss
    assert rows[-1].valid_loss < 0.9 * rows[0].valid_loss
    assert [row.step for row in rows] == [3 * i for i in range(13)]
    assert read_history(tmp_path / "metrics.csv") == rows


class Stop(Exception):
    """A crash in the middle of a run."""


def crash_at(work: Job, step: int, how: Callable[[], None]) -> Job:
    """The job with ``how`` called before optimizer step ``step``."""
    calls = {"n": 0}
    original = work.train

    class Failing(Batches):
        def steps(self, epoch: int, skip: int = 0, processes: int = 1):  # type: ignore[no-untyped-def]
            for shares in super().steps(epoch, skip, processes):
                if calls["n"] == step:
                    how()
                calls["n"] += 1
                yield shares

    return dataclasses.replace(work, train=Failing(original.data, original.order))


@pytest.mark.parametrize("step", [1, 5])
def test_interrupted_and_resumed_equals_uninterrupted_bit_for_bit(tmp_path: Path, step: int) -> None:
    whole = job(tmp_path / "whole")
    rows = fit(whole, CONFIG).history.rows
    first = crash_at(job(tmp_path / "parts"), step, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Interrupted) as stopped:
        fit(first, CONFIG)
    assert stopped.value.exit_code == 143
    second = job(tmp_path / "parts")
    with torch.no_grad():
        next(second.potential.parameters()).zero_()  # a wrong start must not matter
    resumed = resumed_fit(second, CONFIG).history.rows
    assert all(torch.equal(value, weights(second)[name]) for name, value in weights(whole).items())
    columns = ("epoch", "step", "lr", "train_loss", "gradient_norm", "valid_loss", "best", "n_clipped")
    for a, b in zip(rows, resumed, strict=True):
        assert [getattr(a, c) for c in columns] == [getattr(b, c) for c in columns]


def test_killed_run_resumes_from_its_last_state(tmp_path: Path) -> None:
    whole = job(tmp_path / "whole")
    fit(whole, CONFIG)

    def kill() -> None:
        raise Stop

    with pytest.raises(Stop):  # nothing is saved at this moment, as with SIGKILL
        fit(crash_at(job(tmp_path / "parts"), 7, kill), CONFIG)
    second = job(tmp_path / "parts")
    resumed_fit(second, CONFIG)
    assert all(torch.equal(value, weights(second)[name]) for name, value in weights(whole).items())
    assert [row.step for row in read_history(tmp_path / "parts" / "metrics.csv")] == [0, 3, 6, 9]


def test_a_run_killed_between_a_validation_and_its_state_writes_the_row_once(tmp_path: Path) -> None:
    often = dataclasses.replace(CONFIG, save_every_s=0.0)

    def say(line: str) -> None:
        if line.startswith("epoch 2"):
            raise Stop

    with pytest.raises(Stop):
        fit(dataclasses.replace(job(tmp_path), say=say), often)
    assert [row.step for row in read_history(tmp_path / "metrics.csv")] == [0, 3, 6]
    assert load_checkpoint(tmp_path / "state.pt").progress.step == 6
    resumed_fit(job(tmp_path), often)
    assert [row.step for row in read_history(tmp_path / "metrics.csv")] == [0, 3, 6, 9]


def test_a_validation_between_epochs_is_made_up_for_after_a_kill(tmp_path: Path) -> None:
    often = dataclasses.replace(CONFIG, validate_every=2)
    whole = fit(job(tmp_path / "whole"), often).history.rows
    first = crash_at(job(tmp_path / "parts"), 3, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(
        Interrupted
    ):  # the signal comes in the fourth step, before the validation that is then due
        fit(first, often)
    assert load_checkpoint(tmp_path / "parts" / "state.pt").progress.step == 4
    rows = resumed_fit(job(tmp_path / "parts"), often).history.rows
    assert [(row.step, row.valid_loss) for row in rows] == [(row.step, row.valid_loss) for row in whole]


def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path: Path) -> None:
    with pytest.raises(Interrupted, match="--resume") as stopped:
        fit(crash_at(job(tmp_path), 2, lambda: os.kill(os.getpid(), signal.SIGINT)), CONFIG)
    assert stopped.value.exit_code == 130
    assert (tmp_path / "state.pt").is_file()


def test_a_resumed_run_says_where_it_goes_on_and_whether_it_is_complete(tmp_path: Path) -> None:
    lines: list[str] = []
    with pytest.raises(Interrupted):
        fit(crash_at(job(tmp_path), 4, lambda: os.kill(os.getpid(), signal.SIGTERM)), CONFIG)
    resumed_fit(dataclasses.replace(job(tmp_path), say=lines.append), CONFIG)
    assert lines[0] == "resumed at step 5, epoch 1" and len(lines) > 1
    before, state = read_history(tmp_path / "metrics.csv"), (tmp_path / "state.pt").read_bytes()
    lines.clear()
    resumed_fit(dataclasses.replace(job(tmp_path), say=lines.append), CONFIG)
    assert lines == ["the run is already complete: 9 steps, 3 epochs"]
    assert read_history(tmp_path / "metrics.csv") == before and (tmp_path / "state.pt").read_bytes() == state


def test_the_last_validation_is_made_up_for_after_a_kill(tmp_path: Path) -> None:
    """The state after the last step of all was saved, and its validation did not come to an end."""
    limited = dataclasses.replace(CONFIG, epochs=None, max_steps=4, save_every_s=0.0)
    whole = fit(job(tmp_path / "whole"), limited).history.rows

    def say(line: str) -> None:
        if "step 4: valid" in line:
            raise Stop

    with pytest.raises(Stop):
        fit(dataclasses.replace(job(tmp_path / "parts"), say=say), limited)
    rows = resumed_fit(job(tmp_path / "parts"), limited).history.rows
    assert [(row.step, row.valid_loss) for row in rows] == [(row.step, row.valid_loss) for row in whole]


@pytest.mark.parametrize("damage", [bytes(30), b"\xff\xfe", b"7,7,7\n"])
def test_a_damaged_table_of_errors_is_a_message(tmp_path: Path, damage: bytes) -> None:
    fit(job(tmp_path), CONFIG)
    path = tmp_path / "metrics.csv"
    content = bytearray(path.read_bytes())
    at = content.index(b"\n") + 20
    content[at : at + len(damage)] = damage
    path.write_bytes(content)
    with pytest.raises(BadInputError, match="table of validation errors is damaged") as refused:
        resumed_fit(job(tmp_path), CONFIG)
    assert str(path) in str(refused.value)
    path.unlink()
    assert resumed_fit(job(tmp_path), CONFIG).progress.best_step > 0


def test_changed_settings_are_refused_on_resume_unless_overridden(tmp_path: Path) -> None:
    fit(job(tmp_path), CONFIG)
    longer = dataclasses.replace(CONFIG, epochs=4)
    with pytest.raises(UsageError, match="epochs: 3 -> 4"):
        resumed_fit(job(tmp_path), longer)
    assert resumed_fit(job(tmp_path), longer, override=True).history.rows[-1].epoch == 4


def test_override_brings_its_settings_to_the_optimizer_and_forgets_what_was_best(tmp_path: Path) -> None:
    fit(job(tmp_path), CONFIG)
    before = load_checkpoint(tmp_path / "state.pt").progress.best_loss
    other = dataclasses.replace(
        CONFIG,
        epochs=4,
        loss=LossConfig(energy_weight=2000.0),
        optim=dataclasses.replace(CONFIG.optim, weight_decay=0.5, betas=(0.8, 0.9), eps=1e-6),
    )
    written: list[str] = []
    rows = resumed_fit(
        job(tmp_path, save=lambda name, progress: written.append(name)), other, override=True
    ).history.rows
    state = load_checkpoint(tmp_path / "state.pt")
    for group in state.optimizer["param_groups"]:
        assert (group["weight_decay"], tuple(group["betas"]), group["eps"]) == (0.5, (0.8, 0.9), 1e-6)
    assert "best" in written and rows[-1].best
    assert state.progress.best_loss == rows[-1].valid_loss > before


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"freeze": "embedding"}, "freeze: none -> embedding"),
        ({"lora_rank": 2}, "lora_rank: None -> 2"),
        ({"optim": dataclasses.replace(CONFIG.optim, ema_decay=None)}, "optim.ema_decay: averaged -> none"),
    ],
)
def test_what_the_saved_state_cannot_follow_is_named(
    tmp_path: Path, changes: dict[str, Any], difference: str
) -> None:
    fit(job(tmp_path), dataclasses.replace(CONFIG, max_steps=1))
    with pytest.raises(UsageError, match=difference):
        resumed_fit(job(tmp_path), dataclasses.replace(CONFIG, max_steps=2, **changes), override=True)


def test_nan_stops_the_run_saves_the_batch_and_names_the_frames(tmp_path: Path) -> None:
    broken = list(FRAMES)
    forces = np.full((4, 3), 1e30)
    forces[0, 0] = np.inf
    broken[3] = dataclasses.replace(broken[3], forces=forces)
    work = job(tmp_path)
    work = dataclasses.replace(work, train=batches(tuple(broken[:-2]), shuffle=True))
    with pytest.raises(NotConvergedError, match="not finite") as stopped:
        fit(work, CONFIG)
    assert "emt.extxyz frame 3" in str(stopped.value)
    saved = read(tmp_path / "nan-batch.extxyz", ":")
    assert 3 in [atoms.info["source_index"] for atoms in saved]
    assert all(torch.isfinite(p).all() for p in work.potential.parameters())


def test_time_budget_is_kept_and_annealed(tmp_path: Path) -> None:
    seconds = 6.0
    rows = fit(job(tmp_path), dataclasses.replace(CONFIG, epochs=None, max_time=seconds)).history.rows
    assert rows[-1].elapsed_s < seconds + 2.0
    assert rows[-1].lr < 0.2 * CONFIG.optim.lr  # type: ignore[operator]


def test_a_budget_too_short_for_one_step_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="before the first step"):
        fit(job(tmp_path), dataclasses.replace(CONFIG, epochs=None, max_time=1e-3))


def test_clipped_steps_are_counted(tmp_path: Path) -> None:
    tight = dataclasses.replace(CONFIG, optim=dataclasses.replace(CONFIG.optim, clip_norm=1e-6))
    assert fit(job(tmp_path), tight).history.rows[-1].n_clipped == 9
    with open(tmp_path / "metrics.csv", encoding="utf-8") as file:
        assert [row["n_clipped"] for row in csv.DictReader(file)] == ["0", "3", "6", "9"]


def test_best_and_last_are_written_and_patience_stops(tmp_path: Path) -> None:
    written: list[str] = []
    still = dataclasses.replace(
        CONFIG, epochs=20, patience=2, optim=dataclasses.replace(CONFIG.optim, lr=1e-30)
    )
    rows = fit(job(tmp_path, save=lambda name, progress: written.append(name)), still).history.rows
    assert written == ["best", "last"]
    assert len(rows) == 3


def test_validation_leaves_no_trace(tmp_path: Path) -> None:
    work = job(tmp_path)
    work.potential.train()
    before = {name: value.clone() for name, value in weights(work).items()}
    loss, predictions = validate(work.potential, work.valid, CONFIG.loss, "conservative")
    assert np.isfinite(loss)
    assert predictions.forces.shape == (8, 3)
    assert work.potential.training
    assert all(p.requires_grad and p.grad is None for p in work.potential.parameters())
    assert all(torch.equal(before[name], value) for name, value in weights(work).items())
    with without_weight_gradients(work.potential):
        assert not any(p.requires_grad for p in work.potential.parameters())


def test_validation_does_not_depend_on_the_batches(tmp_path: Path) -> None:
    potential = fresh().double()
    data = FrameGraphs(FRAMES, potential.config.policy, Task("old"))
    one = Batches(data, Fixed(data.sizes, max_edges=1, max_structures=1))
    many = Batches(data, Fixed(data.sizes, max_edges=10**6, max_structures=12))
    a, b = (validate(potential, b, CONFIG.loss, "conservative")[1] for b in (one, many))
    assert np.abs(a.forces - b.forces).max() < 1e-10
    assert np.abs(a.energy - b.energy).max() < 1e-10
    assert np.abs(a.stress - b.stress).max() < 1e-12
    assert np.array_equal(b.forces_true, np.concatenate([f.forces for f in FRAMES]).astype(np.float32))


def test_a_limit_of_steps_ends_the_run_in_the_middle_of_an_epoch(tmp_path: Path) -> None:
    """Four steps of three per epoch; the cosine ends there, and a resumed run does not go on."""
    work = job(tmp_path)
    limited = dataclasses.replace(CONFIG, epochs=None, max_steps=4)
    rows = fit(work, limited).history.rows
    assert [row.step for row in rows] == [0, 3, 4]
    assert rows[-1].lr < 0.2 * CONFIG.optim.lr  # type: ignore[operator]
    assert resumed_fit(work, limited).history.rows[-1].step == 4
    assert resumed_fit(work, dataclasses.replace(limited, epochs=1), override=True).history.rows[-1].step == 4
