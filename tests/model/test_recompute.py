"""MemoryPlan plans change what is kept, and nothing else."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from jmp_calc.graph.batch import Batch
from jmp_calc.model.cost import GraphCounts, kept_values
from jmp_calc.model.layers import Scaled
from jmp_calc.model.potential import Potential
from jmp_calc.model.recompute import MemoryPlan, Recompute
from tests.physics.models import Model, published, scratch
from tests.physics.structures import DISORDERED

PLANS = get_args(Recompute)
LEAN = [plan for plan in PLANS if plan != "nothing"]


@pytest.fixture(params=[scratch, published], ids=["scratch", "published layout"], scope="module")
def model(request: pytest.FixtureRequest) -> Model:
    return request.param()  # type: ignore[no-any-return]


def batch(model: Model) -> Batch:
    return model.batch([DISORDERED[name]() for name in ("ethanol", "triclinic", "slab")])


@pytest.mark.parametrize("recompute", LEAN)
def test_results_do_not_depend_on_the_plan(model: Model, recompute: Recompute) -> None:
    plain, lean = (
        model.potential(batch(model), heads=model.head, stress=True, recompute=r)
        for r in ("nothing", recompute)
    )
    assert torch.equal(plain.energy, lean.energy)
    torch.testing.assert_close(lean.forces, plain.forces, rtol=0, atol=1e-12)
    torch.testing.assert_close(lean.stress, plain.stress, rtol=0, atol=1e-12, equal_nan=True)


@pytest.mark.parametrize("recompute", LEAN)
def test_weight_gradients_do_not_depend_on_the_plan(model: Model, recompute: Recompute) -> None:
    plain, lean = (training_gradients(model, r) for r in ("nothing", recompute))
    assert plain.keys() == lean.keys()
    for name, gradient in plain.items():
        torch.testing.assert_close(
            lean[name], gradient, rtol=1e-9, atol=1e-12 * float(gradient.abs().max()), msg=name
        )


def training_gradients(model: Model, recompute: Recompute) -> dict[str, Tensor]:
    weights = {name: p.requires_grad_(True) for name, p in model.potential.named_parameters()}
    prediction = model.potential(batch(model), heads=model.head, create_graph=True, recompute=recompute)
    loss = prediction.forces.square().sum() + prediction.energy.sum()
    found = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
    return {name: gradient for name, gradient in zip(weights, found) if gradient is not None}


def kept_bytes(potential: Potential, batch: Batch, head: str, recompute: Recompute) -> int:
    """Bytes that are kept at the end of the energy."""
    kept: dict[int, int] = {}
    held = []

    def pack(tensor: Tensor) -> Tensor:
        held.append(tensor)
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    class BeforeDerivatives(Exception):
        pass

    def stop(*_: object) -> None:
        raise BeforeDerivatives

    hook = potential.backbone.register_forward_hook(stop)
    with (
        pytest.raises(BeforeDerivatives),
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
    ):
        potential(batch, heads=head, recompute=recompute)
    hook.remove()
    return sum(kept.values())


def test_leaner_plans_keep_less() -> None:
    model = scratch()
    model.potential.requires_grad_(False)
    structures = batch(model)
    kept = [kept_bytes(model.potential, structures, model.head, plan) for plan in PLANS]
    assert kept[2] < kept[1] < kept[0]
    counts = GraphCounts.of_batch(structures)
    counted = [kept_values(model.potential.config.backbone, counts, plan) for plan in PLANS]
    assert counted[2] < counted[1] < counted[0]


def test_a_part_gives_gradients_of_inputs_in_containers_and_of_its_weights_twice() -> None:
    """Against the same computation without recomputation: y = tanh(W x) f, its gradient, and a loss on the
    gradient."""
    torch.manual_seed(0)
    layer = nn.Linear(3, 3, bias=False, dtype=torch.float64)
    x = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    found = []
    for plan in ("nothing", "interactions"):
        memory = MemoryPlan(plan)  # type: ignore[arg-type]

        def part(given: Scaled, unused: Tensor) -> Scaled:
            return Scaled(torch.tanh(layer(given.value)) * given.factor, 2.0)

        y = memory.interaction(part, Scaled(x, 3.0), x, weights=layer)
        assert y.factor == 2.0
        (first,) = torch.autograd.grad(y.tensor().sum(), x, create_graph=True)
        found.append(torch.autograd.grad(first.square().sum(), [x, layer.weight]))
    for plain, recomputed in zip(*found):
        torch.testing.assert_close(recomputed, plain, rtol=1e-12, atol=0)
