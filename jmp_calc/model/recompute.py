"""What a call keeps for its derivatives, and what it computes again when they need it (``docs/speed.md``).

``torch.utils.checkpoint`` cannot be differentiated twice with the graph of the first derivative freed;
training through forces needs that. Here the derivative of a recomputed part is a function of its own that is
recomputed again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import fields, is_dataclass, replace
from typing import Any, Literal, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.autograd import Function

Recompute = Literal["nothing", "interactions", "blocks"]
"""nothing: keep all. interactions: keep what dense layers on edges produced, recompute what lies between.
blocks: keep only the features that enter a block (and, within the block that is being recomputed, as
interactions)."""

Result = TypeVar("Result")


class MemoryPlan:
    """What one call keeps, and what it computes again."""

    def __init__(self, recompute: Recompute = "nothing", *, random: bool = False) -> None:
        """``random``: the network draws random numbers (dropout), which must be the same when it is computed
        again."""
        self.recompute, self.random = recompute, random
        self.of_weights = True
        """Whether derivatives with respect to weights are taken along."""

    @contextmanager
    def without_weights(self) -> Iterator[None]:
        """Inside, no derivatives with respect to weights are taken: they would be thrown away."""
        self.of_weights = False
        try:
            yield
        finally:
            self.of_weights = True

    def interaction(self, module: Callable[..., Result], *inputs: Any, weights: nn.Module) -> Result:
        """``module(*inputs)``; only its inputs are kept, unless all is."""
        if self.recompute == "nothing":
            return module(*inputs)
        return self._recomputed(module, inputs, [weights])

    def block(self, step: Callable[..., Result], *inputs: Any, weights: Sequence[nn.Module]) -> Result:
        """``step(*inputs)``; with ``blocks`` only its inputs are kept."""
        if self.recompute != "blocks":
            return step(*inputs)
        return self._recomputed(step, inputs, weights)

    def _recomputed(
        self, compute: Callable[..., Result], inputs: tuple[Any, ...], weights: Sequence[nn.Module]
    ) -> Result:
        if not torch.is_grad_enabled():
            return compute(*inputs)
        taken: list[Tensor] = []
        part = _Part(compute, _taken_out(inputs, taken), len(taken), self)
        trained = [weight for module in weights for weight in module.parameters() if weight.requires_grad]
        return cast(Result, part.restored(_Recomputed.apply(part, *taken, *trained)))


class _Part:
    """A computation with its differentiable inputs taken out."""

    def __init__(self, compute: Callable[..., Any], inputs: Any, n_inputs: int, memory: MemoryPlan) -> None:
        self.compute, self.inputs, self.n_inputs, self.memory = compute, inputs, n_inputs, memory
        self._outputs: Any = None
        self._draws: Tensor | None = None
        self._autocast: tuple[torch.dtype, bool] | None = None

    def run(self, tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Output tensors for input tensors, all of any shape.

        What follows the inputs are weights, which the modules hold themselves.
        """
        outputs: list[Tensor] = []
        with self._same_draws(tensors[0].device), self._same_precision(tensors[0].device.type):
            self._outputs = _taken_out(self.compute(*_put_back(self.inputs, tensors)), outputs, every=True)
        return tuple(outputs)

    @contextmanager
    def _same_draws(self, device: torch.device) -> Iterator[None]:
        """Inside, random numbers of the device are those of the first run."""
        if not self.memory.random:
            yield
            return
        generator = (
            torch.default_generator if device.type == "cpu" else torch.cuda.default_generators[device.index]
        )
        now = generator.get_state()
        if self._draws is None:
            self._draws = now
            yield
            return
        generator.set_state(self._draws)
        try:
            yield
        finally:
            generator.set_state(now)

    def _same_precision(self, device: str) -> AbstractContextManager[Any]:
        """Inside, autocast is as it was in the first run; derivatives are taken without."""
        if self._autocast is None:
            self._autocast = torch.get_autocast_dtype(device), torch.is_autocast_enabled(device)
        return torch.autocast(device, *self._autocast)

    def restored(self, outputs: tuple[Tensor, ...]) -> Any:
        """What ``compute`` returns, around other tensors of the same shapes (of any shape)."""
        return _put_back(self._outputs, outputs)

    def gradients(
        self,
        tensors: tuple[Tensor, ...],
        gradients: tuple[Tensor | None, ...],
        *,
        weights: bool,
        create_graph: bool,
    ) -> tuple[Tensor | None, ...]:
        """Gradients of the ``tensors`` (of any shape), or None; ``tensors`` and ``gradients`` are leaves of a
        new graph."""
        pairs = [(y, g) for y, g in zip(self.run(tensors), gradients) if g is not None and y.requires_grad]
        wanted = tensors if weights else tensors[: self.n_inputs]
        found = (
            torch.autograd.grad(
                [y for y, _ in pairs],
                wanted,
                [g for _, g in pairs],
                create_graph=create_graph,
                allow_unused=True,
            )
            if pairs
            else (None,) * len(wanted)
        )
        return (*found, *(None,) * (len(tensors) - len(wanted)))

    def leaves(self, tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Inputs (of any shape) cut off from the graph they came from; weights are leaves already."""
        cut = (tensor.detach().requires_grad_(True) for tensor in tensors[: self.n_inputs])
        return (*cut, *tensors[self.n_inputs :])


class _Recomputed(Function):
    """outputs = part(tensors)."""

    @staticmethod
    def forward(ctx: Any, part: _Part, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Outputs of a part for tensors of any shape; only these are kept."""
        ctx.part = part
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors)
        return part.run(tensors)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """Gradients of the tensors, as a function that can be differentiated itself; of any shape."""
        tensors = ctx.saved_tensors
        return (None, *_RecomputedGradient.apply(ctx.part, len(tensors), *tensors, *gradients))


class _RecomputedGradient(Function):
    """Gradients of the tensors of a part, as a function of the tensors and of the gradients of its
    outputs."""

    @staticmethod
    def forward(
        ctx: Any, part: _Part, n_tensors: int, *arguments: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        """Gradients of the tensors (of any shape) from those of the outputs, with the part computed again."""
        ctx.part, ctx.n_tensors, ctx.weights = part, n_tensors, part.memory.of_weights
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*arguments)
        tensors, gradients = arguments[:n_tensors], arguments[n_tensors:]
        with torch.enable_grad():
            leaves = part.leaves(cast("tuple[Tensor, ...]", tensors))
            return part.gradients(leaves, gradients, weights=ctx.weights, create_graph=False)

    @staticmethod
    def backward(ctx: Any, *seconds: Tensor | None) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """Second derivatives, of any shape.

        The graph of the first derivatives was let go, so the part is computed a third time, with that graph.
        With seconds v and first derivatives g, the scalar Σ v·g has all that is asked for as its gradients:
        those with respect to the tensors, and those with respect to the gradients of the outputs, on which g
        depends linearly.
        """
        part: _Part = ctx.part
        tensors, gradients = ctx.saved_tensors[: ctx.n_tensors], ctx.saved_tensors[ctx.n_tensors :]
        with torch.enable_grad():
            leaves = part.leaves(tensors)
            given = tuple(None if g is None else g.detach().requires_grad_(True) for g in gradients)
            firsts = part.gradients(leaves, given, weights=ctx.weights, create_graph=True)
            pairs = [
                (f, s) for f, s in zip(firsts, seconds) if f is not None and s is not None and f.requires_grad
            ]
            wanted = (*leaves, *(g for g in given if g is not None))
            found = iter(
                torch.autograd.grad([f for f, _ in pairs], wanted, [s for _, s in pairs], allow_unused=True)
                if pairs
                else (None,) * len(wanted)
            )
        of_tensors = [next(found) for _ in leaves]
        return (None, None, *of_tensors, *(None if g is None else next(found) for g in given))


class _Place:
    """Stands for the tensor of this number."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number


def _taken_out(value: Any, tensors: list[Tensor], *, every: bool = False) -> Any:
    """``value`` with its differentiable (or all) tensors, of any shape, replaced by places, one for each
    tensor."""
    if isinstance(value, Tensor):
        if not (every or value.requires_grad):
            return value
        number = next((i for i, known in enumerate(tensors) if known is value), len(tensors))
        if number == len(tensors):
            tensors.append(value)
        return _Place(number)
    return _mapped(value, lambda item: _taken_out(item, tensors, every=every))


def _put_back(value: Any, tensors: tuple[Tensor, ...]) -> Any:
    """``value`` with tensors of any shape in their places."""
    if isinstance(value, _Place):
        return tensors[value.number]
    return _mapped(value, lambda item: _put_back(item, tensors))


def _mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    """``value`` with its items or fields changed; the same object if none did."""
    if isinstance(value, tuple):
        items = tuple(change(item) for item in value)
        return items if any(new is not old for new, old in zip(items, value)) else value
    if is_dataclass(value) and not isinstance(value, type):
        found = {
            item.name: (getattr(value, item.name), change(getattr(value, item.name)))
            for item in fields(value)
        }
        changed = {name: new for name, (old, new) in found.items() if new is not old}
        return replace(value, **changed) if changed else value
    return value
