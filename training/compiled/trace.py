"""The operations of a training step as one graph: from weights and a batch to loss terms and gradients.

The network is called as always, with the graph of its derivatives; loss and gradients of the weights are
traced with it. Sizes of batches are symbols, those of weights are numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from jmp_calc.inference.compiled import EXAMPLE_STRUCTURES, example_batch, scattered_sum
from jmp_calc.model.config import model_config_from_dict

from ..batches.dataset import FrameGraphs, TargetBatch
from ..batches.tasks import Task
from ..data.frame import Frame
from ..loss import LossShare, loss_terms
from .inputs import LABELS, NetworkInputs, part_tensors, refilled
from .spec import StepSpec

if TYPE_CHECKING:
    from torch.fx import GraphModule


@dataclass(frozen=True, eq=False)
class TracedStep:
    """A graph with its inputs, and what it gives after the loss terms (4,)."""

    graph: GraphModule
    inputs: list[Any]
    """Fake tensors with symbols for sizes."""
    gradients: tuple[str, ...]
    """Weights whose gradients follow, by their names in the network of the program; the others have none."""


def traced_step(spec: StepSpec) -> TracedStep:
    """Trace the step of a program; any exception of torch's tracer."""
    from torch._dispatch.python import enable_python_dispatcher
    from torch.fx.experimental.proxy_tensor import make_fx

    network = NetworkInputs.of(spec.new_potential(), spec.heads)
    real = small_batch(spec)
    # First as it is: the network keeps constants that it makes, and those of a traced call would be symbols.
    _terms(spec, network, real, network.tensors(), part_tensors(LossShare(real), network))
    example = _example(real)
    weights, batch = network.tensors(), part_tensors(LossShare(example), network)
    mode, inputs = _fake(weights, batch)
    gradients: list[str] = []

    def step(*tensors: Tensor) -> list[Tensor]:
        terms, found = _terms(spec, network, example, tensors[: len(weights)], tensors[len(weights) :])
        gradients[:] = found
        return [terms, *found.values()]

    sums: dict[Any, Callable[..., Tensor]] = {torch.ops.aten.index_add.default: scattered_sum}
    with mode, enable_python_dispatcher():
        graph = make_fx(step, sums, tracing_mode="real", _allow_non_fake_inputs=True)(*inputs)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    placeholders = [node.meta["val"] for node in graph.graph.nodes if node.op == "placeholder"]
    return TracedStep(graph, placeholders, tuple(gradients))


def _terms(
    spec: StepSpec,
    network: NetworkInputs,
    example: TargetBatch,
    of_network: Sequence[Tensor],
    of_part: Sequence[Tensor],
) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss terms (4,) as summands of the step, and gradients (of any shape) of the trained weights that the
    loss depends on."""
    target, choice, shares = refilled(example, of_part)
    with network.replaced(of_network) as tensors:
        for name in spec.trained:
            tensors[name] = tensors[name].detach().requires_grad_(True)
        prediction = torch.func.functional_call(
            network.potential,
            tensors,
            (target.batch,),
            {
                "heads": network.chosen(choice),
                "forces": spec.forces,
                "stress": spec.stress,
                "create_graph": True,
            },
        )
    terms = loss_terms(prediction, target, spec.loss_config)
    parts = [terms.energy, terms.forces, terms.stress, terms.scalar]
    # Each in its own precision, as LossShare has them.
    summands = torch.stack([share.to(term.dtype) * term for share, term in zip(shares.unbind(), parts)])
    trained = [tensors[name] for name in spec.trained]
    gradients = torch.autograd.grad(summands.sum(), trained, allow_unused=True)
    found = {name: value for name, value in zip(spec.trained, gradients) if value is not None}
    return summands.detach(), found


def small_batch(spec: StepSpec) -> TargetBatch:
    """Two clusters with graphs of the network's policy; labels are zero."""
    grid = 1.7 * np.stack(np.meshgrid(*[np.arange(2.0)] * 3), axis=-1).reshape(-1, 3)
    shaken = grid + np.random.default_rng(0).normal(scale=0.05, size=(2, *grid.shape))
    frames = [
        Frame(
            numbers=np.resize([1, 6], len(positions)).astype(np.int64),
            positions=positions,
            cell=np.zeros((3, 3)),
            pbc=np.zeros(3, dtype=bool),
            energy=0.0,
            forces=np.zeros_like(positions),
            stress=None,
            group="",
            source="",
            index=number,
        )
        for number, positions in enumerate(shaken)
    ]
    tasks = [Task(head) for head in spec.heads]
    policy = model_config_from_dict(spec.network).policy
    return FrameGraphs(frames, policy, tasks).collate(range(len(frames)))


def _example(real: TargetBatch) -> TargetBatch:
    """Zeros of the example sizes."""
    batch = example_batch(real.batch, EXAMPLE_STRUCTURES)

    def zeros(name: str) -> Tensor:
        tensor: Tensor = getattr(real, name)
        count = batch.n_atoms if name == "forces" else batch.n_structures
        return tensor.new_zeros((count, *tensor.shape[1:]))

    labels = {name: zeros(name) for name in LABELS}
    heads = real.heads[:1] * EXAMPLE_STRUCTURES
    return replace(real, batch=batch, heads=heads, **labels)  # type: ignore[arg-type]


def _fake(of_network: Sequence[Tensor], of_part: Sequence[Tensor]) -> tuple[Any, list[Any]]:
    """A mode and the inputs as fake tensors of it: numbers for the sizes of the first, symbols for the
    others."""
    from torch._dynamo.source import ConstantSource
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.fx.experimental.symbolic_shapes import ShapeEnv

    mode = FakeTensorMode(shape_env=ShapeEnv(), allow_non_fake_inputs=True, static_shapes=False)
    fixed = [True] * len(of_network) + [False] * len(of_part)
    tensors = zip([*of_network, *of_part], fixed)
    return mode, [
        mode.from_tensor(tensor, static_shapes=is_fixed, source=ConstantSource(f"input{number}"))
        for number, (tensor, is_fixed) in enumerate(tensors)
    ]
