"""Batches hold frames with their labels, masks and units."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from jmp_calc.errors import UsageError
from jmp_calc.training.batches.dataset import FrameGraphs
from jmp_calc.training.batches.tasks import Task
from tests.training.helpers.md_frames import molecule_md, strained_copper
from tests.training.helpers.tiny import POLICY

METAL = Task(
    "metal", references={29: 2.0}, energy_unit=0.5, forces_unit=3.0, stress_unit=None, forces_margin=0.1
)
ORGANIC = Task("organic", "md", energy_unit=24.9, energy_per_atom=False, energy_margin=0.01)


def data(**options) -> FrameGraphs:
    frames = [*strained_copper(8), *molecule_md(6)]
    frames[1] = replace(frames[1], energy=None)
    frames[2] = replace(frames[2], forces=None)
    return FrameGraphs(frames, POLICY, (METAL, ORGANIC), task_of=np.repeat([0, 1], [8, 6]), **options)


def test_labels_and_masks() -> None:
    graphs = data()
    target = graphs.collate([0, 1, 2, 10])
    frames = [graphs.frames[i] for i in (0, 1, 2, 10)]
    assert target.energy.dtype == torch.float64
    assert target.energy_mask.tolist() == [True, False, True, True]
    assert target.forces_mask.tolist() == [True, True, False, True]
    assert target.stress_mask.tolist() == [True, True, True, False]
    assert target.energy.tolist() == [frames[0].energy, 0.0, frames[2].energy, frames[3].energy]
    assert target.reference_energy.tolist() == [2.0 * (frame.numbers == 29).sum() for frame in frames[:3]] + [
        0.0
    ]
    assert target.task.tolist() == [0, 0, 0, 1] and target.has_stress
    assert target.heads == ("metal", "metal", "metal", "organic") and target.frames == (0, 1, 2, 10)
    assert target.groups == ("strain", "strain", "strain", "md")
    assert target.batch.n_structures == 4
    for k, frame in enumerate(frames):
        own = target.forces[target.batch.structure == k].numpy()
        np.testing.assert_allclose(own, 0.0 if frame.forces is None else frame.forces, atol=1e-6)
        np.testing.assert_allclose(target.batch.positions[target.batch.structure == k], frame.positions)
    np.testing.assert_allclose(target.stress[0], frames[0].stress, atol=1e-8)
    assert not target.stress[3].any()
    assert target.to("cpu").energy.equal(target.energy)


def test_units_and_margins_are_those_of_the_task() -> None:
    graphs = data()
    frames = [graphs.frames[i] for i in (0, 10)]
    target = graphs.collate([0, 10])
    assert target.energy_unit.tolist() == [0.5 * frames[0].n_atoms, 24.9]
    assert target.forces_unit.tolist() == [3.0, 1.0]
    assert float(target.stress_unit[0]) == pytest.approx(3.0 * frames[0].n_atoms / frames[0].volume)
    assert target.energy_margin.tolist() == [0.0, 0.01 * frames[1].n_atoms]
    assert target.forces_margin.tolist() == pytest.approx([0.1, 0.0])


def test_labels_of_one_task_only() -> None:
    target = data().collate([0, 1, 10]).only(1)
    assert target.energy_mask.tolist() == target.forces_mask.tolist() == [False, False, True]
    assert not target.stress_mask.any()


def test_a_task_may_have_its_own_cutoff() -> None:
    frames, near = strained_copper(1), Task("metal", cutoff=2.6)
    assert (
        0
        < FrameGraphs(frames, POLICY, near).graph(0).n_edges
        < FrameGraphs(frames, POLICY, METAL).graph(0).n_edges
    )


def test_cache_does_not_change_anything_and_keeps_its_limit() -> None:
    with_cache, without = data(), data(cache_bytes=0)
    for _ in range(2):
        a, b = with_cache.collate(range(14)), without.collate(range(14))
        assert torch.equal(a.batch.main.source, b.batch.main.source) and torch.equal(a.forces, b.forces)
    assert len(with_cache._cache) == 14 and not without._cache


def test_measured_sizes_can_be_given_back() -> None:
    sizes = data().sizes
    graphs = data(sizes=sizes)
    assert graphs.sizes is sizes and not graphs._cache
    with pytest.raises(UsageError):
        data(sizes=sizes[:3])
    with pytest.raises(UsageError, match="tasks"):
        FrameGraphs(graphs.frames, POLICY, METAL, task_of=np.ones(14, dtype=int))
