"""PCGrad by hand, its tasks apart, and the threshold loss."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from jmp_calc.training.batches.dataset import FrameGraphs
from jmp_calc.training.batches.loader import Batches
from jmp_calc.training.batches.order import Fixed
from jmp_calc.training.batches.tasks import Task
from jmp_calc.training.config import OptimConfig, TrainConfig
from jmp_calc.training.loss import loss_terms
from jmp_calc.training.optim.gradients import (
    ProjectedGradients,
    StepShare,
    SummedGradients,
    project_conflicts,
    step_shares,
)
from tests.training.helpers.tiny import POLICY, emt_frames, tiny_potential
from tests.training.test_loss import PLAIN, frame, prediction

CONFIG = TrainConfig(optim=OptimConfig(pcgrad=True))


def step() -> StepShare:
    """Four frames, two under each head."""
    tasks = Task("old"), Task("new", references={29: 1.0})
    graphs = FrameGraphs(emt_frames(4), POLICY, tasks, task_of=np.array([0, 0, 1, 1]))
    (shares,) = Batches(graphs, Fixed(graphs.sizes, max_edges=10**6)).steps(0)
    return step_shares(shares, CONFIG, "conservative")[0]


def flat(potential: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.grad.reshape(-1) for p in potential.parameters() if p.grad is not None])


def test_conflicting_gradients_lose_what_they_do_against_each_other() -> None:
    a, b = torch.tensor([1.0, 0.0]), torch.tensor([-1.0, 1.0])
    # a . b = -1: a becomes a + b/2 = (1/2, 1/2), b becomes b + a = (0, 1).
    assert project_conflicts([a, b], [0, 1]).tolist() == pytest.approx([0.5, 1.5])


def test_gradients_that_agree_are_added() -> None:
    a, b = torch.tensor([1.0, 0.5]), torch.tensor([0.0, 2.0])
    assert project_conflicts([a, b], [1, 0]).tolist() == [1.0, 2.5]


def test_projected_gradients_are_no_longer_against_any_task_of_two() -> None:
    torch.manual_seed(0)
    for _ in range(20):
        a, b = torch.randn(2, 5)
        total = project_conflicts([a, b], [0, 1])
        assert torch.dot(total, a) > -1e-5 and torch.dot(total, b) > -1e-5


def test_of_a_single_task_nothing_is_projected() -> None:
    share = step()
    alone = dataclasses.replace(
        share,
        parts=tuple(
            dataclasses.replace(part, target=dataclasses.replace(part.target, task=np.zeros(4, dtype=int)))
            for part in share.parts
        ),
    )
    summed, projected = (tiny_potential("old", "new", dtype=torch.float64) for _ in range(2))
    terms, same = SummedGradients(CONFIG)(summed, alone), ProjectedGradients(CONFIG)(projected, alone)
    assert torch.allclose(terms, same, rtol=1e-6)
    ours = torch.cat(
        [(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in summed.parameters()]
    )
    assert torch.allclose(flat(projected), ours, rtol=1e-5, atol=1e-9)


def test_tasks_are_projected_apart_and_their_losses_add_up() -> None:
    potential, share = tiny_potential("old", "new", dtype=torch.float64), step()
    by_task = []
    for task in (0, 1):
        only = dataclasses.replace(
            share,
            parts=tuple(
                dataclasses.replace(part, target=part.target.only(task), energy=0.5, forces=0.5, stress=0.5)
                for part in share.parts
            ),
        )
        for parameter in potential.parameters():
            parameter.grad = torch.zeros_like(parameter)
        SummedGradients(CONFIG)(potential, only)
        by_task.append(flat(potential))
    torch.manual_seed(0)
    terms = ProjectedGradients(CONFIG)(potential, share)
    torch.manual_seed(0)
    expected = project_conflicts(by_task, torch.randperm(2).tolist())
    assert torch.allclose(flat(potential), expected, rtol=1e-5, atol=1e-9)
    assert torch.allclose(terms, SummedGradients(CONFIG)(potential, share), rtol=1e-6)


def test_projected_gradients_leave_heads_without_data_alone() -> None:
    """A gradient of zero would let the optimizer move them by their momentum."""
    potential, share = tiny_potential("old", "new", dtype=torch.float64), step()
    parts = []
    for part in share.parts:
        target = dataclasses.replace(part.target, heads=("old",) * len(part.target.heads))
        parts.append(dataclasses.replace(part, target=target))
    ProjectedGradients(CONFIG)(potential, dataclasses.replace(share, parts=tuple(parts)))
    by_name = dict(potential.named_parameters())
    assert all(p.grad is None for name, p in by_name.items() if name.startswith("heads.new."))
    assert any(p.grad is not None and p.grad.any() for n, p in by_name.items() if n.startswith("heads.old."))


def test_foreign_heads_change_nothing_and_get_no_gradient() -> None:
    potential, share = tiny_potential("old", "new", dtype=torch.float64), step()
    only = dataclasses.replace(
        share, parts=tuple(dataclasses.replace(part, target=part.target.only(0)) for part in share.parts)
    )
    before = SummedGradients(CONFIG)(potential, only)
    foreign = [p for name, p in potential.named_parameters() if name.startswith("heads.new.")]
    assert foreign and all(p.grad is None or not p.grad.any() for p in foreign)
    with torch.no_grad():
        for parameter in foreign:
            parameter.add_(1.0)
    assert torch.equal(SummedGradients(CONFIG)(potential, only), before)


def test_errors_below_the_margin_do_not_count() -> None:
    # Energies: 0.02 and 0.2 eV per atom off, margin 0.05; forces of three atoms: 0.3, 0.05 and 1 eV/Å, margin
    # 0.1.
    tasks = Task("h", energy_margin=0.05, forces_margin=0.1)
    graphs = FrameGraphs([frame(1), frame(2)], POLICY, tasks)
    target = graphs.collate([0, 1])
    forces = torch.zeros(3, 3)
    forces[0, 0], forces[1, 1], forces[2, 2] = 0.3, 0.05, 1.0
    terms = loss_terms(prediction(target, [0.02, 0.4], forces), target, PLAIN)
    assert float(terms.energy) == pytest.approx((0.0 + 0.2) / 2, rel=1e-5)
    assert float(terms.forces) == pytest.approx((0.3 + (0.0 + 1.0) / 2) / 2, rel=1e-5)


def test_losses_below_every_margin_have_no_gradient() -> None:
    target = FrameGraphs([frame(2)], POLICY, Task("h", energy_margin=0.05)).collate([0])
    energy = torch.tensor([0.02], dtype=torch.float64, requires_grad=True)
    made = prediction(target, [0.0], torch.zeros(2, 3))
    terms = loss_terms(dataclasses.replace(made, energy=energy), target, PLAIN)
    (gradient,) = torch.autograd.grad(terms.total, energy)
    assert float(terms.energy) == 0.0 and float(gradient) == 0.0
