"""Edge dropout in the batches of an epoch: a draw per step and frame, the same after a restart, none in
evaluation."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from jmp_calc.errors import UsageError
from jmp_calc.graph.dropout import EdgeScales
from jmp_calc.machine.signals import Interrupted
from jmp_calc.training.batches.dataset import FrameGraphs, TargetBatch
from jmp_calc.training.batches.tasks import Task
from jmp_calc.training.loop import fit
from jmp_calc.training.run.job import Job
from tests.training.helpers.resumed import resumed_fit
from tests.training.helpers.tiny import POLICY, tiny_potential
from tests.training.test_loop import CONFIG, FRAMES, crash_at, job, weights


def data(**options: Any) -> FrameGraphs:
    return FrameGraphs(FRAMES[:-2], POLICY, Task("old"), **options)


def topology(target: TargetBatch) -> list[Tensor]:
    batch = target.batch
    return [
        batch.main.source,
        batch.main.shift,
        batch.a2a.source,
        batch.a2a.shift,
        batch.qint.source,
        batch.triangle,
    ]


def same(one: TargetBatch, other: TargetBatch) -> bool:
    return all(
        a.shape == b.shape and torch.equal(a, b) for a, b in zip(topology(one), topology(other), strict=True)
    )


def test_draws_depend_on_seed_step_and_frame_alone() -> None:
    graphs = data(edge_dropout=0.2, dropout_seed=3)
    first = graphs.collate([4, 1], draw=(0, 0))
    assert same(first, data(edge_dropout=0.2, dropout_seed=3).collate([4, 1], draw=(0, 0)))
    assert same(graphs.collate([1], draw=(0, 0)), graphs.collate([1], draw=(0, 0)))
    assert not same(first, graphs.collate([4, 1], draw=(0, 1)))
    assert not same(first, data(edge_dropout=0.2, dropout_seed=4).collate([4, 1], draw=(0, 0)))
    assert first.batch.a2a.count < graphs.collate([4, 1]).batch.a2a.count
    assert first.batch.scales == EdgeScales(output_sums=1.25)


def test_evaluation_sees_all_edges_with_and_without_draws_before() -> None:
    graphs, plain = data(edge_dropout=0.2), data()
    graphs.collate([0, 1], draw=(0, 0))
    for target, expected in (
        (graphs.collate([0, 1]), plain.collate([0, 1])),
        (plain.collate([0, 1], draw=(0, 5)),) * 2,
    ):
        assert same(target, expected) and target.batch.scales == EdgeScales()
    potential = tiny_potential().eval()
    energies = [potential(g.collate([0, 1]).batch, heads="old").energy for g in (graphs, plain)]
    assert torch.equal(*energies)


def test_compensation_of_the_paper_can_be_chosen() -> None:
    graphs = data(edge_dropout=0.2, dropout_compensation="edge_embeddings")
    assert graphs.collate([0], draw=(0, 0)).batch.scales == EdgeScales(edge_embeddings=1.25)


@pytest.mark.parametrize("probability", [1.0, -0.1, float("nan")])
def test_impossible_probabilities_are_refused(probability: float) -> None:
    with pytest.raises(UsageError, match="between 0 and 1"):
        data(edge_dropout=probability)


def regularised(folder: Path) -> Job:
    work = job(folder)
    work.train.data = data(edge_dropout=0.2)
    return work


@pytest.mark.slow
def test_resumed_run_sees_the_graphs_of_the_uninterrupted_one(tmp_path: Path) -> None:
    whole, plain = regularised(tmp_path / "whole"), job(tmp_path / "plain")
    rows, expected = fit(whole, CONFIG).history.rows, fit(plain, CONFIG).history.rows
    assert rows[0].valid_loss == expected[0].valid_loss and rows[1].train_loss != expected[1].train_loss
    first = regularised(tmp_path / "parts")
    with pytest.raises(Interrupted):
        fit(crash_at(first, 5, lambda: os.kill(os.getpid(), signal.SIGTERM)), CONFIG)
    resumed = regularised(tmp_path / "parts")
    resumed_fit(resumed, CONFIG)
    assert all(torch.equal(value, weights(resumed)[name]) for name, value in weights(whole).items())
