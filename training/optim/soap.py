"""SOAP: Adam in the axes in which a matrix's gradient is least correlated (Vyas et al., arXiv:2409.11321).

For a weight W with gradient G, averages of G Gᵀ and Gᵀ G are kept; their eigenvectors Q and R turn the
gradient, Qᵀ G R, and Adam's two moments are those of the turned gradient. The axes follow the averages by one
step of orthogonal iteration every few optimizer steps. For networks as small as jmp-xs this costs less
than a tenth of a step; benchmarks/bpa3.py --optimizer compares the two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

REFRESH_EVERY = 10
"""Optimizer steps between two looks at the axes."""
LARGEST_SIDE = 512
"""A side of more rows or columns keeps its own axes: theirs would cost more than the network."""


class Soap(torch.optim.Optimizer):
    """Adam in the eigenvectors of the averaged outer products, with decoupled weight decay.

    Weights of one dimension and sides of one element move as by AdamW, and so do the rows of groups with
    ``rows_apart`` (embeddings: a row is an element, and elements that a batch lacks must not move). Tensors
    of three and more dimensions are matrices of their first against all others.

    Args:
        params: groups of weights, or weights.
        lr: learning rate.
        betas: decay per step of the averages of the gradient, and of its square and outer products.
        eps: added to the root of the averaged square.
        weight_decay: share of a weight that is taken off per step, times the learning rate.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        *,
        lr: float,
        betas: tuple[float, float],
        eps: float,
        weight_decay: float,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "rows_apart": False}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move all weights that have a gradient; the first gradient of a weight only sets its axes."""
        assert closure is None, "gradients are there already"
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            ready = [weight for weight in weights if self.state[weight]]
            self._move(ready, group)
            for weight in weights:
                if not self.state[weight]:
                    self.state[weight].update(_first(weight, group))

    def _move(self, weights: list[Tensor], group: dict[str, Any]) -> None:
        if not weights:
            return
        (beta1, beta2), rate = group["betas"], group["lr"]
        states = [self.state[weight] for weight in weights]
        gradients = [_matrix(weight.grad) for weight in weights]
        for state, gradient in zip(states, gradients, strict=True):
            state["step"] += 1
            _average_outer(state["outer"], gradient, beta2)
        turned = [_turned(g, state["axes"]) for g, state in zip(gradients, states, strict=True)]
        means, squares = ([state[name] for state in states] for name in ("exp_avg", "exp_avg_sq"))
        torch._foreach_lerp_(means, gradients, 1.0 - beta1)
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, turned, turned, value=1.0 - beta2)
        steps = [state["step"] for state in states]
        roots = torch._foreach_div(squares, [1.0 - beta2**step for step in steps])
        torch._foreach_sqrt_(roots)
        torch._foreach_add_(roots, group["eps"])
        moves = [_turned(mean, state["axes"]) for mean, state in zip(means, states, strict=True)]
        moves = list(torch._foreach_div(moves, roots))
        torch._foreach_div_(moves, [1.0 - beta1**step for step in steps])
        moves = [_turned_back(move, state["axes"]) for move, state in zip(moves, states, strict=True)]
        torch._foreach_mul_(weights, 1.0 - rate * group["weight_decay"])
        shaped = [move.view_as(weight) for move, weight in zip(moves, weights, strict=True)]
        torch._foreach_add_(weights, shaped, alpha=-rate)
        for state in states:
            if state["step"] % REFRESH_EVERY == 0:
                _refresh(state)


def _first(weight: Tensor, group: dict[str, Any]) -> dict[str, Any]:
    """State of a weight after its first gradient."""
    beta1, beta2 = group["betas"]
    gradient = _matrix(weight.grad)
    outer = [
        gradient.new_zeros(n, n) if _has_axes(gradient, side, group["rows_apart"]) else None
        for side, n in enumerate(gradient.shape)
    ]
    _average_outer(outer, gradient, beta2)
    # Falling eigenvalues, the order that orthogonal iteration keeps.
    axes = [None if average is None else torch.linalg.eigh(average)[1].flip(1) for average in outer]
    return {
        "step": 1,
        "exp_avg": gradient * (1.0 - beta1),
        "exp_avg_sq": _turned(gradient, axes).square() * (1.0 - beta2),
        "outer": outer,
        "axes": axes,
    }


def _has_axes(gradient: Tensor, side: int, rows_apart: bool) -> bool:
    return gradient.dim() == 2 and 1 < gradient.shape[side] <= LARGEST_SIDE and not (rows_apart and side == 0)


def _matrix(gradient: Tensor | None) -> Tensor:
    assert gradient is not None
    return gradient if gradient.dim() < 3 else gradient.flatten(1)


def _average_outer(outer: list[Tensor | None], gradient: Tensor, decay: float) -> None:
    """Averages of G Gᵀ and Gᵀ G, in place."""
    for side, average in enumerate(outer):
        if average is not None:
            left, right = (gradient, gradient.T) if side == 0 else (gradient.T, gradient)
            average.addmm_(left, right, beta=decay, alpha=1.0 - decay)


def _turned(matrix: Tensor, axes: list[Tensor | None]) -> Tensor:
    """Qᵀ G R."""
    for side, axis in enumerate(axes):
        if axis is not None:
            matrix = axis.T @ matrix if side == 0 else matrix @ axis
    return matrix


def _turned_back(matrix: Tensor, axes: list[Tensor | None]) -> Tensor:
    """Q N Rᵀ."""
    for side, axis in enumerate(axes):
        if axis is not None:
            matrix = axis @ matrix if side == 0 else matrix @ axis.T
    return matrix


def _refresh(state: dict[str, Any]) -> None:
    """One step of orthogonal iteration for both sides; the squares go along when axes change places."""
    for side, average in enumerate(state["outer"]):
        if average is None:
            continue
        axes = state["axes"][side]
        spread = (axes * (average @ axes)).sum(0)
        order = spread.argsort(descending=True)
        state["exp_avg_sq"] = state["exp_avg_sq"].index_select(side, order)
        state["axes"][side] = torch.linalg.qr(average @ axes[:, order])[0]
