"""Forces and stress from an energy, by automatic differentiation."""

from __future__ import annotations

import torch
from torch import Tensor


def derivatives(
    energy: Tensor, positions: Tensor, strain: Tensor | None, create_graph: bool
) -> tuple[Tensor, Tensor | None]:
    """Forces (N, 3) in eV/Å, and with a strain (S, 3, 3) the symmetric dE/dε (S, 3, 3) in eV."""
    inputs = [positions] if strain is None else [positions, strain]
    if not energy.requires_grad:  # only lone atoms: nothing depends on positions
        return torch.zeros_like(positions), None if strain is None else torch.zeros_like(strain)
    gradients = torch.autograd.grad(
        energy.sum(), inputs, create_graph=create_graph, allow_unused=True, materialize_grads=True
    )
    virial = None if strain is None else 0.5 * (gradients[1] + gradients[1].transpose(1, 2))
    return -gradients[0], virial


def per_volume(virial: Tensor, cell: Tensor) -> Tensor:
    """Stress (S, 3, 3) in eV/Å³ from dE/dε (S, 3, 3) in eV and cells (S, 3, 3) in Å; NaN without volume."""
    a, b, c = cell.unbind(1)
    volume = (torch.linalg.cross(a, b) * c).sum(-1).abs().view(-1, 1, 1)
    has_volume = volume > 0  # divided by 1 elsewhere: a NaN factor would reach the gradients of all
    return torch.where(has_volume, virial / torch.where(has_volume, volume, 1.0), torch.nan)
