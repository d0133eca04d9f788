"""Memory needed for one evaluation, estimated before it starts, so that nothing is killed half-way in silence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .model.config import GraphPolicy, ModelConfig

if TYPE_CHECKING:
    from ase import Atoms

CHANNEL_VALUES = 75.0
"""Numbers kept per main edge, edge channel and block for the backward pass (measured on four sizes, ±10 %)."""
CHANNEL_VALUES_FORWARD = 44.0
"""The same when only the energy is computed: one block at a time."""
ANGULAR_VALUES = 17.0
"""Numbers kept per main edge, middle edge of its atom and pair of angular degrees (quadruplets)."""


def estimated_bytes(
    config: ModelConfig, n_atoms: int, n_edges: float, n_middle: float, dtype: str, *, gradient: bool = True
) -> float:
    """Peak bytes of one energy (and, with gradient, force) evaluation; within a quarter of what was measured.

    n_edges are main edges, n_middle the qint edges.
    """
    backbone = config.backbone
    channels = CHANNEL_VALUES * (backbone.num_blocks + 1) if gradient else CHANNEL_VALUES_FORWARD
    angular = (ANGULAR_VALUES if gradient else 0.5 * ANGULAR_VALUES) * backbone.num_spherical**2
    per_edge = channels * backbone.emb_size_edge + angular * n_middle / max(n_atoms, 1)
    return n_edges * per_edge * (8 if dtype == "float64" else 4)


def expected_edges(atoms: Atoms, policy: GraphPolicy) -> tuple[float, float]:
    """Expected directed main and qint edges from the number density, before any neighbour search."""
    n_atoms = len(atoms)
    if atoms.cell.rank == 3 and atoms.pbc.any():
        volume = float(atoms.cell.volume)
    else:
        volume = float(np.prod(np.ptp(atoms.positions, axis=0) + 2.0))
    density = n_atoms / max(volume, 1e-9)

    def within(cutoff: float) -> float:
        return 4.0 / 3.0 * np.pi * cutoff**3 * density

    if policy.name == "smooth" and not policy.adaptive:
        return n_atoms * within(policy.cutoff), n_atoms * within(policy.qint_cutoff)
    limit = policy.max_neighbors
    main, middle = min(within(policy.cutoff), 1.3 * limit), min(within(policy.cutoff), limit * 8 / 30)
    return n_atoms * main, n_atoms * middle
