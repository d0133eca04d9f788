"""Forces and stress from an energy, by automatic differentiation."""

from __future__ import annotations

import torch
from torch import Tensor

from .geometry import PairVectors
from .segment import segment_sum


def derivatives(
    energy: Tensor,
    positions: Tensor,
    strain: Tensor | None = None,
    pairs: PairVectors | None = None,
    *,
    create_graph: bool = False,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Forces (N, 3) in eV/Å, with a strain (S, 3, 3) the symmetric dE/dε (S, 3, 3) in eV, and with the
    vectors of pairs the shares of the atoms in it (N, 3, 3)."""
    vectors = None if pairs is None else pairs.vectors
    if not energy.requires_grad:  # only lone atoms: nothing depends on positions
        nothing = positions.new_zeros((positions.shape[0], 3, 3))
        virial = None if strain is None else torch.zeros_like(strain)
        return torch.zeros_like(positions), virial, None if pairs is None else nothing
    inputs = [tensor for tensor in (positions, strain, vectors) if tensor is not None]
    slopes = iter(
        torch.autograd.grad(
            energy.sum(), inputs, create_graph=create_graph, allow_unused=True, materialize_grads=True
        )
    )
    forces = -next(slopes)
    virial = None if strain is None else _symmetric(next(slopes))
    shares = None if pairs is None else virial_shares(pairs, next(slopes), positions.shape[0])
    return forces, virial, shares


def virial_shares(pairs: PairVectors, slopes: Tensor, n_atoms: int) -> Tensor:
    """Share of every atom (N, 3, 3) in the virial, eV, from the derivatives ``slopes`` (E, 3) of the energy
    by the vectors of pairs.

    The virial of a pair, r ⊗ dE/dr, goes to its two atoms by halves, and what is not symmetric in it, which
    cancels in the sum over atoms because the energy does not change under rotations, is left out.
    """
    # A graph is kept of the shares where one is kept of the slopes.
    vectors = pairs.vectors if slopes.requires_grad else pairs.vectors.detach()
    of_pair = 0.5 * _symmetric(vectors.unsqueeze(2) * slopes.unsqueeze(1))
    targets, sources = pairs.ends.chunk(2)
    return segment_sum(of_pair, targets, n_atoms) + segment_sum(of_pair, sources, n_atoms)


def _symmetric(matrices: Tensor) -> Tensor:
    """Means (S, 3, 3) of matrices and their transposes."""
    return 0.5 * (matrices + matrices.transpose(1, 2))


def per_volume(virial: Tensor, cell: Tensor) -> Tensor:
    """Stress (S, 3, 3) in eV/Å³ from dE/dε (S, 3, 3) in eV and cells (S, 3, 3) in Å; NaN without volume."""
    a, b, c = cell.unbind(1)
    volume = (torch.linalg.cross(a, b) * c).sum(-1).abs().view(-1, 1, 1)
    has_volume = volume > 0  # divided by 1 elsewhere: a NaN factor would reach the gradients of all
    return torch.where(has_volume, virial / torch.where(has_volume, volume, 1.0), torch.nan)
