"""Cutoff envelopes and the smooth steps of the ``smooth`` policy (docs/smooth.md)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..graph.adaptive import BACKGROUND_POWER, SHARES, STEP_START
from ..graph.policy import GraphPolicy
from .segment import segment_sizes, segment_sum


def polynomial_envelope(x: Tensor, exponent: int) -> Tensor:
    """u(x) = 1 + a xᵖ + b xᵖ⁺¹ + c xᵖ⁺² for x < 1, else 0: C² at 1 (``gemnet_oc.md`` 5.1)."""
    p = exponent
    a, b, c = -(p + 1) * (p + 2) / 2.0, float(p * (p + 2)), -p * (p + 1) / 2.0
    inside = torch.clamp(x, max=1.0)
    value = 1.0 + inside**p * (a + inside * (b + c * inside))
    return torch.where(x < 1.0, value, torch.zeros_like(value))


def smooth_step(s: Tensor) -> Tensor:
    """C³ step from 0 (s <= 0) to 1 (s >= 1), of order 4 at both ends."""
    s = torch.clamp(s, 0.0, 1.0)
    return s**4 * (35.0 + s * (-84.0 + s * (70.0 - 20.0 * s)))


def edge_taper(length: Tensor, cutoff: Tensor | float, width: float) -> Tensor:
    """1 up to (1 - width) cutoff, 0 from the cutoff on, C³ in between."""
    return smooth_step((1.0 - length / cutoff) / width)


def refined_cutoffs(
    length: Tensor, target: Tensor, structure: Tensor, n_atoms: int, policy: GraphPolicy
) -> tuple[Tensor, Tensor, Tensor]:
    """Adaptive cutoffs (N,) of main, a2ee2a and qint, differentiable in ``length`` (E,) of the a2a edges, Å.

    ``structure`` (at most N,) names the structure of each atom; atoms behind it are alone.

    Bisection without gradients, then two Newton steps with them: Newton's error doubles its order each time,
    so two steps from the exact root carry derivatives up to the third.
    """
    n: Tensor | float = float(policy.max_neighbors)
    if policy.fewer_neighbors:
        n = _neighbours_of_atoms(structure, n_atoms, policy).to(length.dtype)
    return tuple(  # type: ignore[return-value]
        _refined(length, target, n_atoms, n * share, policy.cutoff) for share in SHARES
    )


def _neighbours_of_atoms(structure: Tensor, n_atoms: int, policy: GraphPolicy) -> Tensor:
    """The n of each atom (N,), which depends on the size of its structure."""
    lone = structure.new_ones(n_atoms - structure.shape[0])
    size = torch.cat([segment_sizes(structure, n_atoms)[structure], lone])
    n = torch.full_like(size, policy.max_neighbors)
    for fewer in policy.fewer_neighbors:
        n = torch.where(size > fewer.above, n.clamp(max=fewer.max_neighbors), n)
    return n


def _refined(length: Tensor, target: Tensor, n_atoms: int, wanted: Tensor | float, largest: float) -> Tensor:
    def excess(radius: Tensor) -> Tensor:
        steps = smooth_step((1.0 - length / radius[target]) / (1.0 - STEP_START))
        return segment_sum(steps, target, n_atoms) + wanted * ((radius / largest) ** BACKGROUND_POWER - 1.0)

    def slope(radius: Tensor) -> Tensor:
        ratio = length / radius[target]
        s = torch.clamp((1.0 - ratio) / (1.0 - STEP_START), 0.0, 1.0)
        change = 140.0 * s**3 * (1.0 - s) ** 3 * ratio / ((1.0 - STEP_START) * radius[target])
        background = wanted * BACKGROUND_POWER * (radius / largest) ** (BACKGROUND_POWER - 1) / largest
        return segment_sum(change, target, n_atoms) + background

    with torch.no_grad():
        low = torch.full((n_atoms,), 1e-3 * largest, dtype=length.dtype, device=length.device)
        high = torch.full_like(low, largest)
        for _ in range(60):
            middle = 0.5 * (low + high)
            below = excess(middle) < 0
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        radius = 0.5 * (low + high)
    for _ in range(2):
        radius = radius - excess(radius) / slope(radius)
    return radius
