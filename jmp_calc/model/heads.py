"""Output heads on backbone features (``gemnet_oc.md`` section 11)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .config import HeadConfig, Reduction
from .layers import scaled_silu
from .segment import segment_sum


class ScaledSiLU(nn.Module):
    """The activation as a module, so that linear layers keep the even indices of the published keys."""

    def forward(self, x: Tensor) -> Tensor:
        return scaled_silu(x)


def head_mlp(n_in: int, hidden: int, n_out: int, num_layers: int, *, bias: bool) -> nn.Sequential:
    """``num_layers`` Linear layers with activations in between; the last has a bias only if n_out > 1
    (11.1)."""
    layers: list[nn.Module] = []
    widths = [n_in, *[hidden] * (num_layers - 1)]
    for width, following in zip(widths, widths[1:]):
        layers += [nn.Linear(width, following, bias=bias), ScaledSiLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], n_out, bias=bias and n_out > 1))


class Head(nn.Module):
    """One head: an MLP on atom features, on edge features (direct forces, vectors), or both."""

    def __init__(self, config: HeadConfig, atom_features: int, edge_features: int) -> None:
        super().__init__()
        self.config = config
        depth = config.num_layers + (1 if config.kind == "spatial_extent" else 0)
        if config.kind != "vector":
            self.energy = head_mlp(atom_features, config.hidden, config.num_classes, depth, bias=config.bias)
        if config.direct_forces or config.kind == "vector":
            hidden = edge_features if config.hidden == atom_features else config.hidden
            self.forces = head_mlp(edge_features, hidden, 1, config.num_layers, bias=True)

    def per_atom(self, features: Tensor) -> Tensor:
        """Network output per atom (N, classes), in normalised units."""
        return self.energy(features)

    def per_edge_vectors(self, features: Tensor, unit: Tensor, target: Tensor, n_atoms: int) -> Tensor:
        """Σ over incoming main edges of f[e] V[e]; shape (N, 3), normalised units (11.2)."""
        return segment_sum(self.forces(features) * unit, target, n_atoms)


def reduce_atoms(values: Tensor, structure: Tensor, n_structures: int, reduction: Reduction) -> Tensor:
    """Sum, mean or maximum over the atoms of each structure; (N, ...) -> (S, ...)."""
    if reduction == "max":
        index = structure.view(-1, *[1] * (values.dim() - 1)).expand_as(values)
        start = values.new_full((n_structures, *values.shape[1:]), -torch.inf)
        return start.scatter_reduce(0, index, values, reduce="amax")
    total = segment_sum(values, structure, n_structures)
    if reduction == "mean":
        count = torch.bincount(structure, minlength=n_structures).clamp(min=1)
        return total / count.view(-1, *[1] * (values.dim() - 1))
    return total


def spatial_extent(
    weights: Tensor, positions: Tensor, masses: Tensor, structure: Tensor, count: int
) -> Tensor:
    """Σ_a w_a |x_a - x_com|² with the mass-weighted centre; shape (S,), Å² (11.4)."""
    total_mass = segment_sum(masses, structure, count)
    centre = segment_sum(masses.unsqueeze(-1) * positions, structure, count) / total_mass.unsqueeze(-1)
    squares = ((positions - centre[structure]) ** 2).sum(-1)
    return segment_sum(weights * squares, structure, count)
