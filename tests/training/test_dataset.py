"""Batches hold every frame once with its labels and masks, within the budget, in an order that can be resumed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from jmp_calc.errors import UsageError
from jmp_calc.training.dataset import FrameGraphs, Sampler, SamplerState, pack

from .md_frames import molecule_md, strained_copper
from .tiny import POLICY


def data(**options) -> FrameGraphs:
    frames = [*strained_copper(8), *molecule_md(6)]
    frames[1] = replace(frames[1], energy=None)
    frames[2] = replace(frames[2], forces=None)
    heads = ["metal"] * 8 + ["organic"] * 6
    return FrameGraphs(frames, POLICY, heads=heads, reference_energies=np.arange(14.0), **options)


def test_labels_and_masks() -> None:
    graphs = data()
    target = graphs.collate([0, 1, 2, 10])
    frames = [graphs.frames[i] for i in (0, 1, 2, 10)]
    assert target.energy.dtype == torch.float64
    assert target.energy_mask.tolist() == [True, False, True, True]
    assert target.forces_mask.tolist() == [True, True, False, True]
    assert target.stress_mask.tolist() == [True, True, True, False]
    assert target.energy.tolist() == [frames[0].energy, 0.0, frames[2].energy, frames[3].energy]
    assert target.reference_energy.tolist() == [0.0, 1.0, 2.0, 10.0]
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


def test_each_epoch_has_every_frame_once_within_the_budget() -> None:
    graphs = data()
    sampler = Sampler(graphs, max_edges=400, seed=1)
    orders = []
    for epoch in range(3):
        plan = sampler.plan(epoch)
        assert sorted(i for batch in plan for i in batch) == list(range(14))
        for batch in plan:
            cost = graphs.sizes[batch, 0].sum() * graphs.sizes[batch, 2].max()
            assert len(batch) == 1 or cost <= 400
        orders.append(plan)
    assert orders[0] != orders[1] != orders[2]
    assert sampler.steps(3) == sum(map(len, orders))
    assert Sampler(graphs, max_edges=400, seed=1).plan(2) == orders[2]
    assert Sampler(graphs, max_edges=400, seed=2).plan(2) != orders[2]
    assert max(map(len, Sampler(graphs, max_edges=10**6, max_structures=2).plan(0))) == 2


def test_resumed_order_is_the_uninterrupted_one() -> None:
    graphs = data()
    whole, sampler = [], Sampler(graphs, max_edges=400, seed=5)
    states = []
    for _ in range(3):
        for target in sampler.epoch():
            whole.append(target.frames)
            states.append(sampler.state)
    for stop in (0, 2, len(whole) // 3, len(whole) // 2):
        resumed = Sampler(graphs, max_edges=400, seed=5, state=states[stop])
        rest = []
        while len(rest) < len(whole) - stop - 1:
            rest += [target.frames for target in resumed.epoch()]
        assert rest[: len(whole) - stop - 1] == whole[stop + 1 :]


def test_epoch_ends_at_the_next_epoch() -> None:
    sampler = Sampler(data(), max_edges=400)
    list(sampler.epoch())
    assert sampler.state == SamplerState(1, 0)


def test_frame_above_the_budget_is_alone() -> None:
    sizes = np.array([[4, 40, 10], [400, 8000, 20], [4, 40, 10]])
    assert sorted(map(sorted, pack(np.arange(3), sizes, 100))) == [[0, 2], [1]]


def test_padding_is_limited_by_sorting_sparse_from_dense() -> None:
    rng = np.random.default_rng(0)
    degree = rng.choice([4, 60], size=200)
    sizes = np.stack([np.full(200, 10), 10 * degree, degree], axis=1)
    batches = pack(rng.permutation(200), sizes, 2400)
    assert sum(len(set(degree[batch])) > 1 for batch in batches) <= 1
    padded = sum(sizes[b, 0].sum() * sizes[b, 2].max() for b in batches)
    assert sizes[:, 1].sum() / padded > 0.9


def test_cache_does_not_change_anything_and_keeps_its_limit() -> None:
    with_cache, without = data(), data(cache_bytes=0)
    for a, b in zip(with_cache.in_order(400), without.in_order(400), strict=True):
        assert a.frames == b.frames and torch.equal(a.batch.main.source, b.batch.main.source)
    assert len(with_cache._cache) == 14 and not without._cache
    assert sorted(i for target in with_cache.in_order(400) for i in target.frames) == list(range(14))


def test_measured_sizes_can_be_given_back() -> None:
    sizes = data().sizes
    graphs = data(sizes=sizes)
    assert graphs.sizes is sizes and not graphs._cache
    with pytest.raises(UsageError):
        data(sizes=sizes[:3])
    with pytest.raises(UsageError):
        Sampler(graphs, max_edges=0)
    with pytest.raises(UsageError):
        FrameGraphs(graphs.frames, POLICY, heads=["a"])
