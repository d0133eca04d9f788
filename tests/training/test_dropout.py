"""Dropout in a run: in training only, resumable, and independent draws in the processes that share a step."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from jmp_calc.graph.batch import Batch, collate
from jmp_calc.graph.build import build_graph
from jmp_calc.machine.signals import Interrupted
from jmp_calc.model.config import to_dict
from jmp_calc.model.potential import Potential
from jmp_calc.training.distributed.cpu_pool import GradientPool
from jmp_calc.training.loop import fit
from jmp_calc.training.run.job import Job
from tests.training.helpers.resumed import resumed_fit
from tests.training.helpers.tiny import POLICY, emt_frames, tiny_potential
from tests.training.test_loop import CONFIG, crash_at, job, weights


def with_dropout(potential: Potential, share: float = 0.3) -> Potential:
    backbone = replace(potential.config.backbone, dropout=share)
    return potential.with_config(replace(potential.config, backbone=backbone))


def regularised(folder: Path) -> Job:
    """The job of the tests of the loop with dropout; its potential comes in evaluation mode, as from a
    file."""
    work = job(folder)
    potential = with_dropout(work.potential).eval()
    return replace(work, potential=potential, model_config=to_dict(potential.config))


def test_training_draws_and_validation_does_not(tmp_path: Path) -> None:
    plain, work = job(tmp_path / "plain"), regularised(tmp_path / "dropout")
    expected, rows = fit(plain, CONFIG).history.rows, fit(work, CONFIG).history.rows
    assert rows[0].valid_loss == expected[0].valid_loss
    assert rows[1].train_loss != expected[1].train_loss
    again = regularised(tmp_path / "again")
    assert [row.train_loss for row in fit(again, CONFIG).history.rows] == [row.train_loss for row in rows]


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_resumed_run_has_the_masks_of_the_uninterrupted_one(tmp_path: Path, processes: int) -> None:
    config = replace(CONFIG, epochs=2, processes=processes)
    whole = regularised(tmp_path / "whole")
    fit(whole, config)
    with pytest.raises(Interrupted):
        fit(
            crash_at(regularised(tmp_path / "parts"), 4, lambda: os.kill(os.getpid(), signal.SIGTERM)), config
        )
    resumed = regularised(tmp_path / "parts")
    resumed_fit(resumed, config)
    assert all(torch.equal(value, weights(resumed)[name]) for name, value in weights(whole).items())


class Energy:
    """The energies of a batch as loss terms."""

    def __call__(self, potential: Potential, share: Batch) -> torch.Tensor:
        energy = potential(share, heads="old", forces="none").energy
        energy.sum().backward()
        return energy.detach()


@pytest.mark.slow
def test_processes_draw_different_numbers_that_the_owner_decides() -> None:
    frame = emt_frames(1)[0]
    batch = collate([build_graph(frame.positions, frame.numbers, frame.cell, frame.pbc, POLICY)])
    potential = with_dropout(tiny_potential()).train()
    found = []
    with GradientPool(potential, Energy(), 2) as pool:
        for seed in (0, 1, 0):
            torch.manual_seed(seed)
            found.append([float(pool.gradients([batch, batch])), float(pool.gradients([batch, batch]))])
    assert found[0] == found[2]
    assert len({*found[0], *found[1]}) == 4
    torch.manual_seed(0)
    torch.randint(2**62, ())  # the seed of the helper, drawn first
    own = float(potential(batch, heads="old", forces="none").energy.detach())
    assert found[0][0] != pytest.approx(2 * own, rel=1e-6)  # the helper's masks are others
