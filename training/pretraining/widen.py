"""A wider network that computes what a narrower one did, from which a chain of pre-training goes on.

Net2Net (Chen, Goodfellow, Shlens, arXiv:1511.05641): added features are copies of those that there are, and
what reads a feature reads its copies with weights whose sum is the old one. GemNet-OC's products of features
and radial bases, its sums over edges and its activations act on each feature by itself, so copies stay copies
through the network. The weights of copies are random shares of the old ones, which lets them go apart in
training.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch
from torch import Tensor

from jmp_calc.errors import UsageError
from jmp_calc.model.config import BackboneConfig, ModelConfig
from jmp_calc.model.potential import Potential

from .chain import StageFile

_LEAST_SHARE, _LARGEST_SHARE = 0.5, 1.5
"""Of the weight of a copy, before the shares of a feature are scaled to the sum 1."""
_WIDTHS = ("emb_size_atom", "emb_size_edge")


def widened(start: StageFile, config: ModelConfig, *, seed: int) -> StageFile:
    """The stage with the widths of ``config`` for features of atoms and edges and hidden layers of heads; the
    energies of all structures stay as they are.

    Args:
        start: as the stage before left it; returned as it is where the widths are the same.
        config: the network that goes on, of at least the widths of ``start``.
        seed: of the shares.

    Raises:
        UsageError: the networks differ in anything but widths, or one of them would shrink.
    """
    before = start.model
    grown = {name: getattr(config.backbone, name) for name in _WIDTHS}
    hidden = {head.name: head.hidden for head in config.heads}
    heads = tuple(
        dataclasses.replace(head, hidden=hidden.get(head.name, head.hidden)) for head in before.heads
    )
    after = dataclasses.replace(before, backbone=dataclasses.replace(before.backbone, **grown), heads=heads)
    same = (after.backbone, after.policy) == (config.backbone, config.policy)
    # Where atoms and edges have the same width, a layer between them is left out: it must stay so.
    if not same or _no_layer_to_atoms(before.backbone) != _no_layer_to_atoms(after.backbone):
        raise UsageError(
            "The stage before has another network.", hint="leave [model] of the recipe, or begin a new chain"
        )
    widths, wanted = _widths(before), _widths(after)
    if any(new < old for old, new in zip(widths, wanted, strict=True)):
        raise UsageError(
            "The network is narrower than that of the stage before.",
            hint="a chain can become wider, not narrower",
        )
    if widths == wanted:
        return start
    shapes = {name: value.shape for name, value in Potential(after).state_dict().items()}
    return dataclasses.replace(
        start,
        model=after,
        weights=_widened(start.weights, shapes, before, after, seed),
        averages=_widened(start.averages, shapes, before, after, seed),
    )


def _no_layer_to_atoms(backbone: BackboneConfig) -> bool:
    return backbone.emb_size_atom == backbone.emb_size_edge


def _widths(config: ModelConfig) -> tuple[int, ...]:
    """Of atoms, of edges, and of the hidden layers of all heads for energies and for forces (section 11)."""
    atoms, edges = (getattr(config.backbone, name) for name in _WIDTHS)
    forces = (edges if head.hidden == atoms else head.hidden for head in config.heads if head.direct_forces)
    return (atoms, edges, *(head.hidden for head in config.heads), *forces)


def _widened(
    state: Mapping[str, Tensor],
    shapes: Mapping[str, torch.Size],
    before: ModelConfig,
    after: ModelConfig,
    seed: int,
) -> dict[str, Tensor]:
    """All tensors in their new shapes; the shares of one name are the same in every state."""
    sides = _sides(before, after)
    grown = {}
    for number, name in enumerate(shapes):
        if name in state:
            generator = torch.Generator().manual_seed(seed + number)
            grown[name] = _wider(
                state[name], shapes[name], sides, generator, reads=name != "embedding.weight"
            )
    return grown


def _sides(before: ModelConfig, after: ModelConfig) -> dict[tuple[int, int], Tensor]:
    """For every side of a matrix that becomes longer, by its old and new length: the old feature of each new
    one. A side is atom features, edge features, a hidden layer, or a concatenation (sections 7 to 9)."""
    backbone = before.backbone
    atoms, edges, *hidden = zip(_widths(before), _widths(after), strict=True)
    radial = (backbone.num_radial, backbone.num_radial)
    depths = backbone.num_blocks + 1
    joined = [
        [atoms],
        [edges],
        *([pair] for pair in hidden),
        [atoms, atoms, edges],
        [atoms, atoms, radial],
        [atoms] * depths,
        [edges] * depths,
    ]
    sides: dict[tuple[int, int], Tensor] = {}
    for parts in joined:
        lengths = (sum(a for a, _ in parts), sum(b for _, b in parts))
        if lengths[0] != lengths[1]:
            # Sides of the same lengths are known by them alone, so they must be copied alike.
            index = _copied(parts)
            known = sides.setdefault(lengths, index)
            assert torch.equal(known, index), lengths
    return sides


def _copied(parts: list[tuple[int, int]]) -> Tensor:
    """Old feature of every new one of a concatenation: all old ones, then the first ones again."""
    indices, offset = [], 0
    for old, new in parts:
        indices.append(offset + torch.arange(new) % old)
        offset += old
    return torch.cat(indices)


def _wider(
    old: Tensor,
    shape: torch.Size,
    sides: Mapping[tuple[int, int], Tensor],
    generator: torch.Generator,
    *,
    reads: bool,
) -> Tensor:
    """A tensor with copies along all sides that became longer; ``reads``: the last side of a matrix is what
    enters a linear layer, whose copies share the weights."""
    new = old
    for side, (length, wanted) in enumerate(zip(old.shape, shape, strict=True)):
        if length != wanted:
            new = new.index_select(side, sides[length, wanted])
    if reads and old.dim() == 2 and old.shape[1] != shape[1]:
        new = new * _shares(sides[old.shape[1], shape[1]], shape, generator).to(new.dtype)
    return new.contiguous()


def _shares(index: Tensor, shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Random factors (N_out, N_in), float64, whose sum over the copies of a feature is 1 in every row."""
    width = _LARGEST_SHARE - _LEAST_SHARE
    raw = _LEAST_SHARE + width * torch.rand(tuple(shape), generator=generator, dtype=torch.float64)
    sums = torch.zeros(shape[0], int(index.max()) + 1, dtype=torch.float64).index_add_(1, index, raw)
    return raw / sums[:, index]
