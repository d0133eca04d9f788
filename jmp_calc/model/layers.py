"""Elementary layers (``gemnet_oc.md`` section 6): all maps bias-free, activation SiLU/0.6.

Constants (1/0.6, 1/√2, fitted scale factors) are never multiplied into rows of edges: they travel beside the
features as ``Scaled.factor`` and end up in the weights of the next linear map.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from .scaling import ScaleFactor

INV_SQRT_2 = 1.0 / math.sqrt(2.0)
ACTIVATION_SCALE = 1.0 / 0.6


def scaled_silu(x: Tensor) -> Tensor:
    """σ(x) = SiLU(x) / 0.6, of any shape (N, ...)."""
    return functional.silu(x) * ACTIVATION_SCALE


@dataclass(frozen=True, slots=True)
class Scaled:
    """Features factor · value; the factor is a constant of the network, the same in every call."""

    value: Tensor
    factor: float = 1.0

    def __add__(self, other: Scaled) -> Scaled:
        """The sum of features of one shape (N, A), with the factor of the first."""
        return Scaled(torch.add(self.value, other.value, alpha=other.factor / self.factor), self.factor)

    def __mul__(self, constant: float) -> Scaled:
        """The same (N, A) times a constant."""
        return Scaled(self.value, self.factor * constant)

    def of(self, change: Callable[[Tensor], Tensor]) -> Scaled:
        """The same factor on ``change(value)``, a linear map of the rows (N, A)."""
        return Scaled(change(self.value), self.factor)

    def tensor(self) -> Tensor:
        """The features (N, A) themselves."""
        return self.value if self.factor == 1.0 else self.value * self.factor


def scaled_rows(x: Scaled, scale: float) -> Scaled:
    """scale · x (N, A) for a factor of this call alone, which must not become part of weights that are
    kept."""
    return x if scale == 1.0 else x.of(lambda rows: rows * scale)


class Prepared(nn.Module):
    """A module whose weights are combined before they are used; once ``freeze`` was called, for the last
    time."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen = False
        self._constants: tuple[Tensor, ...] | None = None

    def freeze(self) -> None:
        """Keep what the next call combines, and let go of the weights it is made of."""
        self.frozen = True

    def prepared(self, combine: Callable[[], tuple[Tensor, ...]], *used: nn.Module) -> tuple[Tensor, ...]:
        """What ``combine`` makes of the parameters ``weight``, (N_out, N_in), of ``used``."""
        if self._constants is not None:
            return self._constants
        made = combine()
        if self.frozen:
            self._constants = tuple(tensor.detach().contiguous() for tensor in made)
            for layer in used:
                layer.register_parameter("weight", None)
            return self._constants
        return made


class Linear(Prepared):
    """y = W x, where a scale factor of the network may be part of W."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.weight: nn.Parameter
        self.register_parameter("weight", nn.Parameter(torch.empty(n_out, n_in)))
        self.n_out = n_out
        self.update: nn.Module | None = None
        """Called for what is added to W, while that is trained in its place."""

    def forward(self, x: Scaled, scale: ScaleFactor | None = None) -> Tensor:
        """factor · W x, (N, n_out), of x (N, n_in)."""
        (weight,) = self.prepared(lambda: (self.scaled(x.factor, scale),), self)
        return functional.linear(x.value, weight)

    def matrix(self) -> Tensor:
        """W, shape (N_out, N_in), with its update if there is one."""
        return self.weight if self.update is None else self.weight + self.update()

    def scaled(self, factor: float, scale: ScaleFactor | None = None) -> Tensor:
        """factor · scale · W, shape (N_out, N_in)."""
        weight = self.matrix() if factor == 1.0 else self.matrix() * factor
        return weight if scale is None else weight * scale.value()


class Dense(nn.Module):
    """y = σ(W x), or W x without activation; in training ``dropout`` of the features become 0, the others
    grow."""

    def __init__(self, n_in: int, n_out: int, *, activation: bool, dropout: float = 0.0) -> None:
        super().__init__()
        self.linear = Linear(n_in, n_out)
        self.activation = activation
        self.dropout = dropout

    def forward(self, x: Scaled) -> Scaled:
        """y (N, n_out) of x (N, n_in)."""
        y = activated(self.linear(x)) if self.activation else Scaled(self.linear(x))
        if self.training and self.dropout > 0.0:
            return y.of(lambda rows: functional.dropout(rows, self.dropout))
        return y


def activated(y: Tensor) -> Scaled:
    """σ(y), of any shape (N, ...)."""
    return Scaled(functional.silu(y), ACTIVATION_SCALE)


class DenseStack(Prepared):
    """The products of Dense_σ layers that act on the same rows, as one. The layers belong to other
    modules."""

    def __init__(self, layers: Sequence[Dense]) -> None:
        super().__init__()
        self.layers = tuple(layers)  # a tuple, so that their weights are not registered a second time
        self.widths = [layer.linear.n_out for layer in layers]

    def forward(self, x: Scaled) -> tuple[Tensor, ...]:
        """W x (N, n_out) of every layer for x (N, n_in); the activation is left to whoever goes on with
        it."""
        linear = [layer.linear for layer in self.layers]
        (weight,) = self.prepared(lambda: (torch.cat([layer.scaled(x.factor) for layer in linear]),), *linear)
        return functional.linear(x.value, weight).split(self.widths, dim=1)


class ResidualLayer(nn.Module):
    """y = (x + σ(W₂ σ(W₁ x))) / √2."""

    def __init__(self, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dense_mlp = nn.Sequential(
            *(Dense(width, width, activation=True, dropout=dropout) for _ in range(2))
        )

    def forward(self, x: Scaled) -> Scaled:
        """y (N, A) of x (N, A)."""
        return (x + self.dense_mlp(x)) * INV_SQRT_2


class EdgeEmbedding(Prepared):
    """σ(W (h_source ‖ h_target ‖ f)), with the atom parts multiplied once per atom."""

    def __init__(self, atom_features: int, edge_features: int, n_out: int) -> None:
        super().__init__()
        self.dense = Dense(2 * atom_features + edge_features, n_out, activation=True)
        self.widths = (atom_features, atom_features, edge_features)

    def forward(self, h: Scaled, f: Scaled, source: Tensor, target: Tensor) -> Scaled:
        """Edge features (E, n_out) from h (N, A), f (E, K) and the ends source (E,), target (E,) of the
        edges."""

        def combine() -> tuple[Tensor, Tensor]:
            w_source, w_target, w_edge = self.dense.linear.matrix().split(self.widths, dim=1)
            return torch.cat([w_source, w_target]) * h.factor, w_edge * f.factor

        w_atoms, w_edge = self.prepared(combine, self.dense.linear)
        from_source, from_target = functional.linear(h.value, w_atoms).chunk(2, dim=1)
        from_atoms = from_source.index_select(0, source) + from_target.index_select(0, target)
        return activated(torch.addmm(from_atoms, f.value, w_edge.T))


def residual_stack(width: int, count: int) -> nn.Sequential:
    """``count`` residual layers."""
    return nn.Sequential(*(ResidualLayer(width) for _ in range(count)))


def atom_readout(
    edge_width: int, atom_width: int, residual_layers: int, dropout: float = 0.0
) -> nn.Sequential:
    """The layers that follow a sum of edge features over an atom: (Dense_σ if widths differ) + residual
    layers."""
    first = (
        [Dense(edge_width, atom_width, activation=True, dropout=dropout)] if edge_width != atom_width else []
    )
    return nn.Sequential(*first, *(ResidualLayer(atom_width, dropout) for _ in range(residual_layers)))


@torch.no_grad()
def he_orthogonal_(weight: Tensor) -> None:
    """Fill a weight (N_out, N_in) or (K, L, C) with a standardised orthogonal matrix over √fan_in
    (``gemnet_oc.md`` section 6)."""
    flat = weight.new_empty(weight.shape[0], weight[0].numel())
    nn.init.orthogonal_(flat)
    filled = flat.view_as(weight)
    axes, fan_in = (
        ((0, 1), weight.shape[0] * weight.shape[1]) if weight.dim() == 3 else ((1,), weight.shape[1])
    )
    mean = filled.mean(dim=axes, keepdim=True)
    variance = filled.var(dim=axes, keepdim=True) if fan_in > 1 else torch.zeros_like(mean)
    weight.copy_((filled - mean) / torch.sqrt(variance + 1e-6) / math.sqrt(fan_in))
