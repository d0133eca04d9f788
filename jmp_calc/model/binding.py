"""How far an atom is bound: a gate between 0 (alone) and 1, which multiplies the binding energy of its
element.

``bonds``: with the distances d of its neighbours in units of the sum R of covalent radii, n = Σ s³ of
s = (1.8 - d/R) / 0.6 between 0 and 1, the gate is 1 - (1 - n)³ for n < 1, else 1. One neighbour within 1.2 R
makes it complete, none within 1.8 R leaves nothing, so that it rises where bonds break. It is C²: s³ begins
with order 3, and at n = 1, which one neighbour at 1.2 R reaches, the outer cube ends with order 3. The cubes
are those that make its steepest slope for one neighbour small, 2.0 per 0.6 R.

``envelope`` (files of format version 1): complete as soon as the main envelopes of the neighbours add up to
0.5, which a single one reaches at half the cutoff, far beyond any bond.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..graph.batch import Edges
from .envelopes import smooth_step
from .segment import segment_sum

WHOLE, BROKEN = 1.2, 1.8
"""Distances in sums of covalent radii: a bond up to the first, none from the second on."""
OPEN = 0.05
"""Main envelope from which on an edge counts in full: long bonds fade out before the cutoff ends them."""
FULLY_BOUND = 0.5
"""``envelope``: sum of the main envelopes of an atom from which on its binding energy is complete."""


def bond_gate(length: Tensor, weight: Tensor, main: Edges, radii: Tensor) -> Tensor:
    """The gate ``bonds`` (N,), float64, for lengths (E,) in Å and envelopes (E,) of the main edges of atoms
    with covalent ``radii`` (N,) in Å, float64."""
    reach = radii.index_select(0, main.source) + radii.index_select(0, main.target)
    strength = ((BROKEN - length.to(torch.float64) / reach) / (BROKEN - WHOLE)).clamp(0.0, 1.0) ** 3
    strength = strength * smooth_step(weight.to(torch.float64) / OPEN)
    bonds = segment_sum(strength, main.target, radii.shape[0]).clamp(max=1.0)
    return 1.0 - (1.0 - bonds) ** 3


def envelope_gate(weight: Tensor, main: Edges, n_atoms: int) -> Tensor:
    """The gate ``envelope`` (N,), float64, for envelopes (E,) of the main edges."""
    neighbours = segment_sum(weight.to(torch.float64), main.target, n_atoms)
    return smooth_step(neighbours / FULLY_BOUND)
