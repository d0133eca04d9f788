"""Smooth per-atom cutoffs that keep about as many neighbours as the published rank limits.

The cutoff r of an atom solves  n (r/R)^q + sum_j t(d_j / r) = n  with the wanted number n, the largest cutoff
R and a C3 step t: strictly increasing in r, so there is exactly one root, it never exceeds R, and by the
implicit function theorem it is as smooth in the positions as t. ``adaptive_cutoffs`` finds it in numpy to
choose edges, and hands it over with the graph; ``jmp_calc.model.envelopes`` takes two Newton steps from it in
torch, which makes derivatives to third order exact.
"""

from __future__ import annotations

import numpy as np

from .neighbours import Floats, Ints
from .policy import GraphPolicy

BACKGROUND_POWER = 8
"""q: the background only matters where an atom has fewer than n neighbours within R."""
STEP_START = 0.7
"""t falls from 1 at this share of r to 0 at r."""


SHARES = (1.0, 20 / 30, 8 / 30)
"""Effective neighbour numbers of main, a2ee2a and qint over the n of the policy."""


def adaptive_cutoffs(target: Ints, length: Floats, n_atoms: int, policy: GraphPolicy) -> Floats:
    """Cutoffs (N, 3) in Å of main, a2ee2a and qint, from the edges of a structure up to ``policy.cutoff``.

    target (E,): atom of each edge; length (E,) in Å.
    """
    within = length < policy.cutoff
    target, length = target[within], length[within]
    n = policy.neighbors_of(n_atoms)
    roots = [_solve(target, length, n_atoms, n * share, policy.cutoff) for share in SHARES]
    return np.stack(roots, axis=1)


def _solve(target: Ints, length: Floats, n_atoms: int, wanted: float, largest: float) -> Floats:
    """The roots (N,) in Å for edges with these targets (E,) and lengths (E,)."""
    low, high = np.full(n_atoms, 1e-3 * largest), np.full(n_atoms, largest)
    for _ in range(60):  # bisection to the last bit: robust, and cheap beside the network
        middle = 0.5 * (low + high)
        count = np.bincount(target, weights=falling_step(length / middle[target]), minlength=n_atoms)
        below = count + wanted * (middle / largest) ** BACKGROUND_POWER < wanted
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return 0.5 * (low + high)


def falling_step(x: Floats) -> Floats:
    """C3 step (E,) of d/r (E,): 1 below STEP_START, 0 above 1."""
    s = np.clip((1.0 - x) / (1.0 - STEP_START), 0.0, 1.0)
    return s**4 * (35.0 + s * (-84.0 + s * (70.0 - 20.0 * s)))
