"""Low-rank fine-tuning: W + (α/r) B A instead of W, where only B and A are trained (Hu et al.,
arXiv:2106.09685).

For the dense layers of interaction blocks, output blocks and final layers; embedding, bases and edge
embedding stay as they are, heads are trained in full. The updates are added to the weights in saved models.

Averaging over steps averages A and B each, so that a saved model has the product of the averages, not the
average of the products. The two differ by the covariance of A and B over the steps that are averaged, which
is of second order in how much they still move. The average of products has a higher rank than r, and needs a
copy of every full matrix, the memory that low-rank training saves. Validation measures the product of the
averages itself, beside the factors as they are, and the better one is saved.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from jmp_calc.errors import UsageError
from jmp_calc.model.layers import Linear

if TYPE_CHECKING:
    from jmp_calc.model.potential import Potential

_LAYERS = ("backbone.int_blocks.", "backbone.out_blocks.", "backbone.out_mlp_")
_UPDATE = ".update."
ALPHA_PER_RANK = 2.0
"""α/r unless α is given."""


class LowRank(nn.Module):
    """(α/r) B A with A (r, n_in) and B (n_out, r); zero at the start, because B is."""

    def __init__(self, weight: Tensor, rank: int, alpha: float) -> None:
        """Args:
        weight: (n_out, n_in), gives size, precision and device.
        rank: r, at most where B and A have as many numbers as the matrix.
        alpha: α
        """
        super().__init__()
        n_out, n_in = weight.shape
        rank = max(1, min(rank, n_in * n_out // (n_in + n_out)))
        self.scale = alpha / rank
        self.a = nn.Parameter((torch.randn(rank, n_in) / math.sqrt(n_in)).to(weight))
        self.b = nn.Parameter(weight.new_zeros(n_out, rank))

    def forward(self) -> Tensor:
        return (self.scale * self.b) @ self.a


def train_low_rank(potential: nn.Module, rank: int, alpha: float | None = None) -> None:
    """Give the dense layers of the backbone updates of rank ``rank``, and exclude all else but the heads from
    training.

    The random start of A is drawn from torch's global generator. UsageError if there is no such layer.
    """
    for name, parameter in potential.named_parameters():
        if not name.startswith("heads."):
            parameter.requires_grad_(False)
    layers = [layer for name, layer in _linear(potential) if name.startswith(_LAYERS)]
    if not layers:
        raise UsageError(
            "The network has no dense layers for low-rank updates.", hint="leave out --lora-rank"
        )
    for layer in layers:
        layer.update = LowRank(layer.weight.detach(), rank, ALPHA_PER_RANK * rank if alpha is None else alpha)


@torch.no_grad()
def merged(potential: Potential) -> Potential:
    """The network with its updates added to the weights: a copy, or the same one if it has no updates."""
    from jmp_calc.model.potential import Potential

    updated = [(name, layer) for name, layer in _linear(potential) if layer.update is not None]
    if not updated:
        return potential
    state = {name: value.detach().clone() for name, value in without_updates(potential.state_dict()).items()}
    state.update({f"{name}.weight": layer.matrix().detach() for name, layer in updated})
    return Potential.from_state(potential.config, state).train(potential.training)


def without_updates(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights by name without those of updates."""
    return {name: value for name, value in state.items() if _UPDATE not in name}


def _linear(potential: nn.Module) -> Iterator[tuple[str, Linear]]:
    return ((name, module) for name, module in potential.named_modules() if isinstance(module, Linear))
