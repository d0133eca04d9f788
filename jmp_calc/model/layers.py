"""Elementary layers (``gemnet_oc.md`` section 6): all maps bias-free, activation SiLU/0.6."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

INV_SQRT_2 = 1.0 / math.sqrt(2.0)


def scaled_silu(x: Tensor) -> Tensor:
    """σ(x) = SiLU(x) / 0.6."""
    return functional.silu(x) * (1.0 / 0.6)


class Dense(nn.Module):
    """y = σ(W x), or W x without activation."""

    def __init__(self, n_in: int, n_out: int, *, activation: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(n_in, n_out, bias=False)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        y = self.linear(x)
        return scaled_silu(y) if self.activation else y


class ResidualLayer(nn.Module):
    """y = (x + σ(W₂ σ(W₁ x))) / √2."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dense_mlp = nn.Sequential(
            Dense(width, width, activation=True), Dense(width, width, activation=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        return (x + self.dense_mlp(x)) * INV_SQRT_2


class EdgeEmbedding(nn.Module):
    """σ(W (h_source ‖ h_target ‖ f)), with the atom parts multiplied once per atom."""

    def __init__(self, atom_features: int, edge_features: int, n_out: int) -> None:
        super().__init__()
        self.dense = Dense(2 * atom_features + edge_features, n_out, activation=True)
        self.widths = (atom_features, atom_features, edge_features)

    def forward(self, h: Tensor, f: Tensor, source: Tensor, target: Tensor) -> Tensor:
        w_source, w_target, w_edge = self.dense.linear.weight.split(self.widths, dim=1)
        from_source = functional.linear(h, w_source).index_select(0, source)
        from_target = functional.linear(h, w_target).index_select(0, target)
        return scaled_silu(functional.linear(f, w_edge) + from_source + from_target)


def residual_stack(width: int, count: int) -> nn.Sequential:
    """``count`` residual layers."""
    return nn.Sequential(*(ResidualLayer(width) for _ in range(count)))


def atom_readout(edge_width: int, atom_width: int, residual_layers: int) -> nn.Sequential:
    """The layers that follow a sum of edge features over an atom: (Dense_σ if widths differ) + residual layers."""
    first = [Dense(edge_width, atom_width, activation=True)] if edge_width != atom_width else []
    return nn.Sequential(*first, *(ResidualLayer(atom_width) for _ in range(residual_layers)))


@torch.no_grad()
def he_orthogonal_(weight: Tensor) -> None:
    """Fill with a standardised orthogonal matrix times 1/√fan_in (``gemnet_oc.md`` section 6)."""
    flat = weight.new_empty(weight.shape[0], weight[0].numel())
    nn.init.orthogonal_(flat)
    filled = flat.view_as(weight)
    axes, fan_in = ((0, 1), weight.shape[0] * weight.shape[1]) if weight.dim() == 3 else ((1,), weight.shape[1])
    mean = filled.mean(dim=axes, keepdim=True)
    variance = filled.var(dim=axes, keepdim=True) if fan_in > 1 else torch.zeros_like(mean)
    weight.copy_((filled - mean) / torch.sqrt(variance + 1e-6) / math.sqrt(fan_in))
