"""Adaptive cutoffs in the network: those that chose the edges, with derivatives to second order."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from jmp_calc.graph.adaptive import BACKGROUND_POWER, SHARES, STEP_START, adaptive_cutoffs
from jmp_calc.graph.policy import FewerNeighbors, GraphPolicy
from jmp_calc.model.envelopes import refined_cutoffs, smooth_step
from tests.physics.models import ADAPTIVE, FIXED, scratch
from tests.physics.structures import DISORDERED

FEWER = replace(ADAPTIVE, fewer_neighbors=(FewerNeighbors(4, 7),))


def excess(radius: Tensor, length: Tensor, target: Tensor, wanted: float, largest: float) -> Tensor:
    """F (N,) whose root is the cutoff (docs/smooth.md)."""
    steps = smooth_step((1.0 - length / radius[target]) / (1.0 - STEP_START))
    background = wanted * ((radius / largest) ** BACKGROUND_POWER - 1.0)
    return torch.zeros_like(radius).index_add(0, target, steps) + background


def refined(length: Tensor, target: Tensor, n_atoms: int, policy: GraphPolicy) -> Tensor:
    """Cutoffs (N, 3) of one structure from its edges."""
    roots = adaptive_cutoffs(target.numpy(), length.detach().numpy(), n_atoms, policy)
    structure = torch.zeros(n_atoms, dtype=torch.long)
    return torch.stack(
        refined_cutoffs(torch.from_numpy(roots), length, target, structure, policy, n_atoms), dim=1
    )


@pytest.fixture(params=[ADAPTIVE, FEWER], ids=["one n", "n by size"])
def policy(request: pytest.FixtureRequest) -> GraphPolicy:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(params=["ethanol", "triclinic", "slab"])
def edges(request: pytest.FixtureRequest, policy: GraphPolicy) -> tuple[Tensor, Tensor, int]:
    """Lengths and targets of the a2a edges, and the number of atoms."""
    graph = scratch(policy).graph(DISORDERED[request.param]())
    batch = scratch(policy).batch([DISORDERED[request.param]()])
    vectors = (
        batch.positions[batch.a2a.source]
        + batch.a2a.shift @ batch.cell[0]
        - batch.positions[batch.a2a.target]
    )
    return vectors.norm(dim=1), batch.a2a.target, graph.n_atoms


def test_cutoffs_and_gradients_are_those_of_the_implicit_function(
    edges: tuple[Tensor, Tensor, int], policy: GraphPolicy
) -> None:
    length, target, n_atoms = edges
    length.requires_grad_(True)
    found = refined(length, target, n_atoms, policy)
    weights = torch.randn(n_atoms, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    (gradient,) = torch.autograd.grad((weights * found).sum(), length)
    expected = torch.zeros_like(length)
    for k, share in enumerate(SHARES):
        radius = found[:, k].detach().requires_grad_(True)
        wanted = policy.neighbors_of(n_atoms) * share
        value = excess(radius, length, target, wanted, policy.cutoff)
        assert float(value.detach().abs().max()) < 1e-12 * wanted
        by_length, slope = torch.autograd.grad(value.sum(), [length, radius])
        expected -= (weights[:, k] / slope)[target] * by_length
    torch.testing.assert_close(gradient, expected, rtol=1e-10, atol=1e-12)


def test_second_derivatives_are_those_of_gradients_at_new_roots(
    edges: tuple[Tensor, Tensor, int], policy: GraphPolicy
) -> None:
    length, target, n_atoms = edges

    def gradient(length: Tensor) -> Tensor:
        length = length.detach().requires_grad_(True)
        total = refined(length, target, n_atoms, policy).square().sum()
        (found,) = torch.autograd.grad(total, length, create_graph=True)
        return found

    along = torch.randn(len(length), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    at = length.detach().requires_grad_(True)
    (first,) = torch.autograd.grad(refined(at, target, n_atoms, policy).square().sum(), at, create_graph=True)
    (second,) = torch.autograd.grad((first * along).sum(), at)
    step = 1e-5
    numeric = (gradient(length + step * along) - gradient(length - step * along)).detach() / (2 * step)
    torch.testing.assert_close(second, numeric, rtol=1e-5, atol=1e-6 * float(numeric.abs().max()))


def test_atoms_without_neighbours_have_the_largest_cutoff(policy: GraphPolicy) -> None:
    target, length = torch.tensor([0, 1]), torch.tensor([1.0, 1.0], dtype=torch.float64)
    roots = torch.from_numpy(adaptive_cutoffs(target.numpy(), length.numpy(), 2, policy))
    structure = torch.zeros(2, dtype=torch.long)
    found = torch.stack(refined_cutoffs(roots, length, target, structure, policy, 4), dim=1)
    assert np.array_equal(found[2:].numpy(), np.full((2, 3), policy.cutoff))
    assert float(found[:2].max()) < policy.cutoff


class Count(TorchDispatchMode):
    """Counts operations."""

    calls = 0

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):  # type: ignore[no-untyped-def]
        self.calls += 1
        return function(*arguments, **(keywords or {}))


def test_adaptive_cutoffs_cost_few_operations() -> None:
    """Each one is a kernel on a GPU; a bisection in torch took more than the rest of a small network."""
    calls = []
    for policy in (FIXED, ADAPTIVE):
        model = scratch(policy)
        with Count() as count:
            model.forces(DISORDERED["ethanol"]())
        calls.append(count.calls)
    assert calls[1] < calls[0] + 450
