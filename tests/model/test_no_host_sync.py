"""Nobody waits for the device, and nothing is copied to it, inside an evaluation or a training step.

All tensors are on the device ``meta``, which has no values: whatever asks for one fails, and whatever comes
from the host is recorded.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from jmp_calc.graph.batch import Batch, collate
from jmp_calc.graph.build import build_graph
from jmp_calc.graph.policy import FewerNeighbors, GraphPolicy
from jmp_calc.model.config import HeadConfig, ModelConfig
from jmp_calc.model.potential import Potential
from jmp_calc.model.recompute import Recompute
from jmp_calc.training.batches.dataset import FrameGraphs
from jmp_calc.training.batches.tasks import Task
from jmp_calc.training.config import LossConfig
from jmp_calc.training.data.frame import Frame
from jmp_calc.training.loss import loss_shares, loss_terms
from tests.physics.models import ADAPTIVE, FIXED, SMALL
from tests.physics.structures import DISORDERED

FROM_HOST = {"tensor", "as_tensor", "from_numpy", "new_tensor", "asarray"}
TO_HOST = {"item", "tolist", "cpu", "numpy", "nonzero", "__bool__", "__float__", "__int__", "__index__"}


class Functions(TorchFunctionMode):
    """Records what makes tensors of host values, or host values of tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(function, "__name__", "")
        if name in FROM_HOST | TO_HOST:
            self.seen.append(name)
        return function(*args, **(kwargs or {}))


class Operations(TorchDispatchMode):
    """Records operations on tensors of the host."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = function(*args, **(kwargs or {}))
        if any(
            isinstance(leaf, Tensor) and leaf.device.type != "meta" for leaf in tree_leaves((args, found))
        ):
            self.seen.append(str(function))
        return found


def host_traffic(step: Callable[[], object]) -> list[str]:
    """What a step does with the host, once its constants are made."""
    step()
    with Functions() as functions, Operations() as operations:
        step()
    return functions.seen + operations.seen


@pytest.fixture(autouse=True)
def _autocast_does_not_know_meta(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    monkeypatch.setattr(torch, "get_autocast_dtype", lambda _: torch.bfloat16)
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda _: False)


def network(policy: GraphPolicy, *heads: HeadConfig, **backbone: Any) -> Potential:
    config = ModelConfig(
        dataclasses.replace(SMALL, radial_cutoff=8.0, num_blocks=1, **backbone),
        policy,
        heads or (HeadConfig("e", hidden=8, num_layers=2, direct_forces=bool(backbone.get("force_branch"))),),
        subtract_lone_atom=policy.name == "smooth",
        pair_repulsion=policy.name == "smooth",
    )
    return Potential(config).to("meta")


def batch(policy: GraphPolicy) -> Batch:
    atoms = [DISORDERED[name]() for name in ("ethanol", "triclinic")]
    return collate(
        [build_graph(a.positions, a.numbers, a.cell.array, a.pbc, policy) for a in atoms], device="meta"
    )


NETWORKS: dict[str, tuple[GraphPolicy, dict[str, Any]]] = {
    "smooth": (FIXED, {}),
    "adaptive, n by size": (dataclasses.replace(ADAPTIVE, fewer_neighbors=(FewerNeighbors(5, 8),)), {}),
    "official": (GraphPolicy("official", cutoff=6.0, max_neighbors=12), {"force_branch": True}),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_energies_forces_and_stresses(name: str) -> None:
    policy, backbone = NETWORKS[name]
    potential, structures = network(policy, **backbone), batch(policy)
    assert not host_traffic(lambda: potential(structures, heads="e", stress=True))
    if backbone.get("force_branch"):
        assert not host_traffic(lambda: potential(structures, heads="e", forces="direct"))


def test_inference_without_weight_gradients() -> None:
    potential, structures = network(FIXED, quad_interaction=False).eval(), batch(FIXED)
    potential.requires_grad_(False)
    assert not host_traffic(lambda: potential(structures, heads="e", stress=True))


HEADS = (
    HeadConfig("mean", kind="scalar", reduction="mean", hidden=8, references={1: 1.0}),
    HeadConfig("max", kind="scalar", reduction="max", hidden=8),
    HeadConfig("classes", kind="multiclass", reduction="mean", num_classes=3, hidden=8),
    HeadConfig("extent", kind="spatial_extent", hidden=8),
    HeadConfig("vector", kind="vector", hidden=8),
    HeadConfig("binding", hidden=8, binding={1: -1.0}),
    HeadConfig("bonds", hidden=8, binding={1: -1.0}, binding_gate="bonds", pairs={"H-C": 1.0}),
)


def test_heads() -> None:
    potential = network(FIXED, *HEADS, force_branch=True, quad_interaction=False)
    structures = batch(FIXED)

    def every_head() -> None:
        for head in HEADS:
            potential(structures, heads=head.name, forces="none")

    assert not host_traffic(every_head)


def test_the_recorder_sees_what_it_looks_for() -> None:
    rows = torch.zeros(2, device="meta")
    assert host_traffic(lambda: rows + torch.as_tensor(np.ones(2), device="meta")) != []
    assert host_traffic(lambda: torch.ones(2).to("meta")) != []
    assert host_traffic(lambda: torch.ones(2).tolist()) != []
    with pytest.raises((NotImplementedError, RuntimeError)):
        host_traffic(lambda: torch.bincount(rows.long()))
    with pytest.raises((NotImplementedError, RuntimeError)):
        host_traffic(lambda: rows.sum().item())


def test_several_heads_send_their_numbers_once() -> None:
    """The one copy is asynchronous on a GPU (from page-locked memory)."""
    potential = network(FIXED, *(HeadConfig(name, hidden=8) for name in "ab"))
    structures = batch(FIXED)
    found = host_traffic(lambda: potential(structures, heads=("a", "b")))
    assert found.count("tensor") == 1 and set(found) <= {
        "tensor",
        "aten._to_copy.default",
        "aten.lift_fresh.default",
    }


def labelled() -> list[Frame]:
    frames = []
    for number, name in enumerate(("ethanol", "triclinic")):
        atoms = DISORDERED[name]()
        forces = None if number == 1 else 0.1 * atoms.positions
        place = (atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc)
        frames.append(Frame(*place, 1.0, forces, None, "default", name, number))
    return frames


@pytest.mark.parametrize(
    "name, recompute",
    [
        ("smooth", "nothing"),
        *(
            pytest.param("smooth", plan, marks=pytest.mark.slow)
            for plan in get_args(Recompute)
            if plan != "nothing"
        ),
        pytest.param("adaptive, n by size", "nothing", marks=pytest.mark.slow),
        ("official", "nothing"),
    ],
)
def test_a_training_step(name: str, recompute: Recompute) -> None:
    policy, backbone = NETWORKS[name]
    potential = network(policy, dropout=0.0, **{**backbone, "force_branch": False})
    graphs = FrameGraphs(labelled(), policy, Task("e"))
    parts = [graphs.collate(indices, "meta") for indices in ([0], [1])]
    loss = LossConfig()

    def step() -> None:
        for share in loss_shares(parts, loss):
            target = share.target
            prediction = potential(target.batch, heads="e", create_graph=True, recompute=recompute)
            share.of(loss_terms(prediction, target, loss))[0].backward()

    own = host_traffic(lambda: loss_shares(parts, loss))  # counts of labels, which stay on the host
    assert host_traffic(step) == own
