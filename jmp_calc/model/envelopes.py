"""Cutoff envelopes and the smooth steps of the ``smooth`` policy (docs/smooth.md)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..graph.adaptive import BACKGROUND_POWER, SHARES, STEP_START
from ..graph.policy import GraphPolicy
from .harmonics import constant
from .segment import segment_sizes, segment_sum


def polynomial_envelope(x: Tensor, exponent: int) -> Tensor:
    """u(x) = 1 + a xᵖ + b xᵖ⁺¹ + c xᵖ⁺² for x < 1, else 0: C² at 1 (``gemnet_oc.md`` 5.1); x (E,), d over the
    cutoff."""
    p = exponent
    a, b, c = -(p + 1) * (p + 2) / 2.0, float(p * (p + 2)), -p * (p + 1) / 2.0
    inside = torch.clamp(x, max=1.0)
    value = 1.0 + inside**p * (a + inside * (b + c * inside))
    return torch.where(x < 1.0, value, torch.zeros_like(value))


def smooth_step(s: Tensor) -> Tensor:
    """C³ step of s (E,) or any shape, from 0 (s <= 0) to 1 (s >= 1), of order 4 at both ends."""
    s = torch.clamp(s, 0.0, 1.0)
    return s**4 * (35.0 + s * (-84.0 + s * (70.0 - 20.0 * s)))


def edge_taper(length: Tensor, cutoff: Tensor | float, width: float) -> Tensor:
    """1 up to (1 - width) cutoff, 0 from the cutoff on, C³ in between; length (E,) Å, cutoff (E,) or one."""
    return smooth_step((1.0 - length / cutoff) / width)


def refined_cutoffs(
    roots: Tensor, length: Tensor, target: Tensor, structure: Tensor, policy: GraphPolicy, n_atoms: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Adaptive cutoffs (N,) of main, a2ee2a and qint, differentiable in ``length`` (E,) of the a2a edges, Å.

    ``roots`` (at most N, 3) are their values, ``structure`` (at most N,) names the structure of each atom;
    atoms behind these are alone.

    Two Newton steps: the error of Newton's method doubles its order each time, so two steps from the exact
    root carry derivatives up to the third.
    """
    alone = roots.new_full((n_atoms - roots.shape[0], 3), policy.cutoff)  # the root without neighbours
    radius = torch.cat([roots, alone]).to(length.dtype)
    wanted = constant(_shares, len(SHARES), length) * policy.max_neighbors
    if policy.fewer_neighbors:
        n = _neighbours_of_atoms(structure, n_atoms, policy).to(length.dtype)
        wanted = constant(_shares, len(SHARES), length) * n.unsqueeze(1)
    for _ in range(2):
        radius = _newton_step(radius, length.unsqueeze(1), target, wanted, policy.cutoff)
    main, a2ee2a, qint = radius.unbind(1)
    return main, a2ee2a, qint


def _shares(count: int) -> np.ndarray:
    """The shares of n (3,) as a constant table."""
    return np.array(SHARES[:count])


def _neighbours_of_atoms(structure: Tensor, n_atoms: int, policy: GraphPolicy) -> Tensor:
    """The n of each atom (N,), which depends on the size of its structure."""
    lone = structure.new_ones(n_atoms - structure.shape[0])
    size = torch.cat([segment_sizes(structure, n_atoms)[structure], lone])
    n = torch.full_like(size, policy.max_neighbors)
    for fewer in policy.fewer_neighbors:
        n = torch.where(size > fewer.above, n.clamp(max=fewer.max_neighbors), n)
    return n


def _newton_step(radius: Tensor, length: Tensor, target: Tensor, wanted: Tensor, largest: float) -> Tensor:
    """Better roots (N, 3) of the excess of neighbours from ``radius`` (N, 3), for edges (E, 1) in Å.

    wanted: n of the three graphs (3,), or of every atom (N, 3).
    """
    at_edge = radius.index_select(0, target)
    ratio = length / at_edge
    s = torch.clamp((1.0 - ratio) / (1.0 - STEP_START), 0.0, 1.0)
    count = segment_sum(smooth_step(s), target, radius.shape[0])
    excess = count + wanted * ((radius / largest) ** BACKGROUND_POWER - 1.0)
    # d(step)/d(radius): the derivative 140 s³ (1 - s)³ of the step, and of s with respect to the radius.
    change = 140.0 * s**3 * (1.0 - s) ** 3 * ratio / ((1.0 - STEP_START) * at_edge)
    background = wanted * BACKGROUND_POWER * (radius / largest) ** (BACKGROUND_POWER - 1) / largest
    return radius - excess / (segment_sum(change, target, radius.shape[0]) + background)
