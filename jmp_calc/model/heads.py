"""Output heads on backbone features (``gemnet_oc.md`` section 11)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..graph.batch import Batch
from .config import HeadConfig, HeadKind, ModelConfig, Reduction
from .layers import scaled_silu
from .segment import segment_sizes, segment_sum


class ScaledSiLU(nn.Module):
    """The activation as a module, so that linear layers keep the even indices of the published keys."""

    def forward(self, x: Tensor) -> Tensor:
        """σ(x), of any shape (N, ...)."""
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

    def before_last(self, features: Tensor) -> Tensor:
        """What enters the last layer, per atom (N, F)."""
        for layer in list(self.energy)[:-1]:
            features = layer(features)
        return features

    def per_edge_vectors(self, features: Tensor, unit: Tensor, target: Tensor, n_atoms: int) -> Tensor:
        """Σ over incoming main edges of f[e] V[e]; shape (N, 3), normalised units (11.2)."""
        return segment_sum(self.forces(features) * unit, target, n_atoms)


@dataclass(frozen=True)
class ChosenHeads:
    """The heads of one call; all are of one kind.

    choice (N,): number in ``configs`` of the head of every atom; None: all atoms have the same head.
    """

    configs: tuple[HeadConfig, ...]
    choice: Tensor | None

    @classmethod
    def of(cls, config: ModelConfig, heads: str | Sequence[str], batch: Batch) -> ChosenHeads:
        """From one name, or the names of the heads of all structures; KeyError for one that there is not."""
        names = [heads] if isinstance(heads, str) else list(dict.fromkeys(heads))
        configs = tuple(config.head(name) for name in names)
        if len(names) == 1:
            return cls(configs, None)
        numbers = torch.tensor([names.index(name) for name in heads])
        if batch.numbers.is_cuda:  # copied from page-locked memory, so that nobody waits for the device
            numbers = numbers.pin_memory()
        return cls(configs, numbers.to(batch.numbers.device, non_blocking=True)[batch.structure])

    @property
    def kind(self) -> HeadKind:
        """What they give."""
        return self.configs[0].kind

    def picked(self, values: Sequence[Tensor]) -> Tensor:
        """The rows (N, ...) of each atom's own head, of the values (N, ...) of all heads."""
        if self.choice is None:
            return values[0]
        stacked = torch.stack(list(values))
        index = self.choice.view(1, -1, *[1] * (stacked.dim() - 2)).expand(1, *stacked.shape[1:])
        return stacked.gather(0, index).squeeze(0)


def reduce_atoms(values: Tensor, structure: Tensor, n_structures: int, reduction: Reduction) -> Tensor:
    """Sum, mean or maximum over the atoms of each structure; (N, ...) -> (S, ...)."""
    if reduction == "max":
        index = structure.view(-1, *[1] * (values.dim() - 1)).expand_as(values)
        start = values.new_full((n_structures, *values.shape[1:]), -torch.inf)
        return start.scatter_reduce(0, index, values, reduce="amax")
    total = segment_sum(values, structure, n_structures)
    if reduction == "mean":
        count = segment_sizes(structure, n_structures).clamp(min=1)
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
