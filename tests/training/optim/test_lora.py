"""Low-rank updates: the gradient is that of the weights by the chain rule, and the written model is a plain
one."""

from __future__ import annotations

import dataclasses
import os
import signal
from pathlib import Path

import pytest
import torch

from jmp_calc import finetune
from jmp_calc.errors import UsageError
from jmp_calc.graph.batch import Batch
from jmp_calc.machine.signals import Interrupted
from jmp_calc.model.layers import Linear
from jmp_calc.model.potential import Potential
from jmp_calc.model.recompute import Recompute
from jmp_calc.training.batches.dataset import FrameGraphs
from jmp_calc.training.batches.tasks import Task
from jmp_calc.training.config import OptimConfig, TrainConfig
from jmp_calc.training.loop import fit
from jmp_calc.training.optim.lora import LowRank, merged, train_low_rank, without_updates
from jmp_calc.zoo.container import load_model
from tests.training.helpers.resumed import resumed_fit
from tests.training.helpers.tiny import emt_file, emt_frames, tiny_model, tiny_potential
from tests.training.test_loop import crash_at, job, weights

CONFIG = TrainConfig(
    epochs=2, batch_size=4, lora_rank=1, optim=OptimConfig(lr=5e-3, ema_decay=0.9, warmup_steps=2)
)


def structures() -> Batch:
    return FrameGraphs(emt_frames(2), tiny_potential().config.policy, Task("old")).collate(range(2)).batch


def with_updates(rank: int = 2) -> Potential:
    """A float64 network whose updates are not zero."""
    potential = tiny_potential(dtype=torch.float64)
    torch.manual_seed(1)
    train_low_rank(potential, rank)
    with torch.no_grad():
        for name, parameter in potential.named_parameters():
            if name.endswith("update.b"):
                parameter.normal_(std=0.1)
    return potential


def loss_of(potential: Potential, batch: Batch, recompute: Recompute = "nothing") -> torch.Tensor:
    """A function of energies, forces and stresses in float64 (the training loss rounds to float32)."""
    prediction = potential(batch, heads="old", stress=True, create_graph=True, recompute=recompute)
    assert prediction.forces is not None
    assert prediction.stress is not None
    return (
        prediction.energy.square().sum() + prediction.forces.square().sum() + prediction.stress.square().sum()
    )


def test_before_the_first_step_nothing_has_changed() -> None:
    plain, batch = tiny_potential(dtype=torch.float64), structures()
    updated = tiny_potential(dtype=torch.float64)
    train_low_rank(updated, 2)
    assert torch.equal(plain(batch, heads="old").forces, updated(batch, heads="old").forces)


def test_only_updates_and_heads_are_trained_and_they_are_fewer() -> None:
    potential = with_updates(1)
    trained = {name for name, p in potential.named_parameters() if p.requires_grad}
    assert all(name.startswith("heads.") or ".update." in name for name in trained)
    updates = [m for m in potential.modules() if isinstance(m, LowRank)]
    layers = [m for m in potential.modules() if isinstance(m, Linear) and m.update is not None]
    assert len(updates) == len(layers) > 20
    assert all(u.a.numel() + u.b.numel() <= layer.weight.numel() for u, layer in zip(updates, layers))


def test_a_rank_beyond_the_size_of_a_matrix_is_cut() -> None:
    update = LowRank(torch.zeros(4, 12), 100, 6.0)
    assert update.a.shape == (3, 12)
    assert update.b.shape == (4, 3)
    assert update.scale == 2.0


def test_the_merged_network_is_the_same_function_and_a_plain_one() -> None:
    potential, batch = with_updates(), structures()
    plain = merged(potential)
    assert set(plain.state_dict()) == set(tiny_potential().state_dict())
    ours, theirs = potential(batch, heads="old"), plain(batch, heads="old")
    torch.testing.assert_close(ours.energy, theirs.energy, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ours.forces, theirs.forces, rtol=1e-10, atol=1e-12)
    assert merged(plain) is plain


@pytest.mark.parametrize("recompute", ["nothing", "interactions", "blocks"])
def test_gradients_follow_from_those_of_the_weights(recompute: Recompute) -> None:
    """dL/dB = (α/r) G Aᵀ and dL/dA = (α/r) Bᵀ G with G = dL/dW of the merged network, through the derivative
    of forces."""
    potential, batch = with_updates(), structures()
    plain = merged(potential)
    loss_of(plain, batch).backward()
    loss_of(potential, batch, recompute).backward()
    known, checked = dict(plain.named_parameters()), 0
    for name, module in potential.named_modules():
        if isinstance(module, Linear) and isinstance(module.update, LowRank):
            update, full = module.update, known[f"{name}.weight"].grad
            assert module.weight.grad is None
            if full is None:
                continue
            assert update.a.grad is not None
            torch.testing.assert_close(update.b.grad, update.scale * full @ update.a.T, rtol=1e-7, atol=1e-9)
            torch.testing.assert_close(update.a.grad, update.scale * update.b.T @ full, rtol=1e-7, atol=1e-9)
            checked += 1
    assert checked > 20


def test_gradients_are_finite_differences_of_the_loss() -> None:
    potential, batch = with_updates(), structures()
    loss_of(potential, batch).backward()
    updates = [p for name, p in potential.named_parameters() if ".update." in name]
    generator = torch.Generator().manual_seed(0)
    directions = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in updates]
    slope = sum(float((p.grad * d).sum()) for p, d in zip(updates, directions) if p.grad is not None)
    step, values = 1e-5, []
    for sign in (1.0, -2.0):
        with torch.no_grad():
            for p, d in zip(updates, directions):
                p.add_(d, alpha=sign * step)
        values.append(float(loss_of(potential, batch).detach()))
    assert (values[0] - values[1]) / (2 * step) == pytest.approx(slope, rel=1e-6)


def test_freezing_and_low_rank_contradict_each_other() -> None:
    with pytest.raises(UsageError, match="lora_rank cannot be combined with freeze"):
        TrainConfig(lora_rank=4, freeze="backbone")
    with pytest.raises(UsageError, match="lora_alpha"):
        TrainConfig(lora_alpha=4.0)


def test_a_network_without_dense_layers_is_refused() -> None:
    with pytest.raises(UsageError, match="no dense layers"):
        train_low_rank(torch.nn.ModuleDict({"heads": torch.nn.Linear(2, 2)}), 1)


@pytest.mark.slow
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(tmp_path: Path) -> None:
    whole = job(tmp_path / "whole")
    fit(whole, CONFIG)
    first = crash_at(job(tmp_path / "parts"), 4, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Interrupted):
        fit(first, CONFIG)
    second = job(tmp_path / "parts")
    resumed_fit(second, CONFIG)
    assert any(".update." in name for name in weights(whole))
    assert all(torch.equal(value, weights(second)[name]) for name, value in weights(whole).items())


def test_the_written_model_differs_by_averaged_updates_of_that_rank(tmp_path: Path) -> None:
    model, data = tiny_model(tmp_path / "tiny.safetensors"), emt_file(tmp_path / "train.extxyz", 8)
    result = finetune(data, model=str(model), out=tmp_path / "run", config=CONFIG, say=lambda line: None)
    start, last = (load_model(path).potential.state_dict() for path in (model, result.last))
    moved = 0
    for name, old in start.items():
        if name.startswith("heads."):
            continue
        difference = (last[name] - old).double()
        if name.startswith("backbone.") and ".bases." not in name and bool(difference.any()):
            sizes = torch.linalg.svdvals(difference)
            assert sizes[1] < 1e-5 * sizes[0] + 1e-7, name
            moved += 1
        else:
            assert torch.equal(last[name], old), name
    assert moved > 20
    assert result.n_trained < 0.7 * sum(value.numel() for value in start.values())


def test_a_resumed_fine_tuning_rebuilds_its_plain_network(tmp_path: Path) -> None:
    model, data = tiny_model(tmp_path / "tiny.safetensors"), emt_file(tmp_path / "train.extxyz", 8)
    config = dataclasses.replace(CONFIG, max_steps=2)
    finetune(data, model=str(model), out=tmp_path / "run", config=config, say=lambda line: None)
    again = finetune(
        data,
        model=str(model),
        out=tmp_path / "run",
        config=dataclasses.replace(CONFIG, max_steps=3),
        resume=True,
        override=True,
        say=lambda line: None,
    )
    assert again.n_steps == 3
    state = load_model(again.best).potential.state_dict()
    assert set(without_updates(state)) == set(state)
