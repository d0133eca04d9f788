"""Weights, gradients, moments and averages of a run shared out among its processes (FSDP2 of PyTorch).

The whole network is one group: its weights are gathered for a forward pass and stay until the gradients are
summed. So both backward passes of conservative forces see them, and equality with ``ddp`` is exact
(tests/training/distributed/test_distributed.py); blocks of their own would be let go in the first of the two.
What is saved per process is thus the state of the optimizer, the averages and the gradients (ZeRO-2), not the
memory of a forward pass.

Validation and files use the plain network of the job, into which weights are gathered.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.utils._pytree import register_pytree_node

from jmp_calc.model.potential import Prediction

from .world import World

if TYPE_CHECKING:
    from jmp_calc.model.potential import Potential

Value = TypeVar("Value")

# FSDP finds the outputs whose derivatives tell it that a backward pass begins; it looks into registered
# classes only.
register_pytree_node(
    Prediction,
    lambda made: ([made.energy, made.energies, made.forces, made.stress], None),
    lambda values, _: Prediction(*values),
)


def shard(potential: Potential, world: World) -> Potential:
    """A copy of the network whose weights are shared out; its gradients are sums over the processes."""
    assert world.device is not None
    mesh = init_device_mesh(world.device.type, (world.size,))
    network: Any = fully_shard(copy.deepcopy(potential), mesh=mesh, reshard_after_forward=False)
    network.set_gradient_divide_factor(1.0)
    return network  # type: ignore[no-any-return]


def drop_unused(parameters: Sequence[nn.Parameter], world: World) -> None:
    """No gradient for weights that no process used in this step (heads of other data), so that the optimizer
    leaves them."""
    used = [p for p in parameters if p.grad is not None]
    kept = [local(p.grad) for p in used if p.grad is not None]
    largest = torch.stack([part.abs().max() if part.numel() else part.new_zeros(()) for part in kept])
    for parameter, value in zip(used, world.greatest(largest).tolist()):
        if value == 0.0:
            parameter.grad = None


def local(tensor: Tensor) -> Tensor:
    """What this process keeps of a tensor; may be empty."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(value: Value) -> Value:
    """Tensors gathered from all processes, also within dicts and lists; everything else as it is."""
    if isinstance(value, DTensor):
        return value.full_tensor()  # type: ignore[return-value]
    if isinstance(value, dict):
        return type(value)((key, whole(item)) for key, item in value.items())
    if isinstance(value, list):
        return [whole(item) for item in value]  # type: ignore[return-value]
    return value


def part_of(value: Tensor, like: Tensor) -> Tensor:
    """What this process keeps of a whole tensor, if ``like`` is shared out."""
    if not isinstance(like, DTensor):
        return value
    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


def optimizer_parts(state: Mapping[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The state of an optimizer of whole weights as that of ``optimizer``."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    parts = {
        number: {
            name: part_of(value, weights[number])
            if isinstance(value, Tensor) and value.shape == weights[number].shape
            else value
            for name, value in entries.items()
        }
        for number, entries in state["state"].items()
    }
    return {**state, "state": parts}


@torch.no_grad()
def copy_whole(tensors: Mapping[str, Tensor], potential: nn.Module) -> None:
    """Gather tensors into the parameters and buffers of a plain network that have their names."""
    targets = potential.state_dict()
    for name, tensor in tensors.items():
        targets[name].copy_(whole(tensor))
