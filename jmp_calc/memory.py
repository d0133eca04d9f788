"""Memory needed for one evaluation, estimated before it starts, so that nothing is killed half-way in silence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .model.config import GraphPolicy, ModelConfig

if TYPE_CHECKING:
    from ase import Atoms

VALUES_PER_EDGE_AND_CHANNEL = 22.0
"""Stored numbers per main edge, edge channel and block with a backward pass (measured)."""


def estimated_bytes(
    config: ModelConfig, n_atoms: int, n_edges: float, dtype: str, *, gradient: bool = True
) -> float:
    """Peak bytes of one energy (and, with gradient, force) evaluation, good to a factor of about two.

    Without a gradient nothing is stored between blocks, and only the largest block counts.
    """
    backbone = config.backbone
    blocks = backbone.num_blocks if gradient else 1
    per_edge = VALUES_PER_EDGE_AND_CHANNEL * (blocks + 1) * backbone.emb_size_edge
    per_atom = 40.0 * (blocks + 1) * backbone.emb_size_atom
    return (n_edges * per_edge + n_atoms * per_atom) * (8 if dtype == "float64" else 4)


def expected_edges(atoms: Atoms, policy: GraphPolicy) -> float:
    """Expected directed main edges from the number density, before any neighbour search."""
    n_atoms = len(atoms)
    lengths = np.ptp(atoms.positions, axis=0) + 2.0
    if atoms.cell.rank == 3 and atoms.pbc.any():
        volume = float(atoms.cell.volume)
    else:
        volume = float(np.prod(lengths))
    within = 4.0 / 3.0 * np.pi * policy.cutoff**3 * n_atoms / max(volume, 1e-9)
    limited = policy.name == "official" or policy.adaptive
    return n_atoms * min(within, 2.0 * policy.max_neighbors if limited else within)
