"""Memory needed for one evaluation, estimated before it starts, so that nothing is killed half-way in silence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .model.config import GraphPolicy, ModelConfig
from .model.cost import GraphCounts, kept_values

if TYPE_CHECKING:
    from ase import Atoms

BEYOND_KEPT = 1.25
"""Peak memory over what the backward pass needs: its own arrays, and gaps in the heap (measured: 1.1 to 1.5)."""
ENERGY_SHARE = 0.7
"""An energy alone needs this share of the memory of one block (measured on two sizes)."""
CROWDING = 1.3
"""The most edges of an atom over the mean."""


def estimated_bytes(config: ModelConfig, counts: GraphCounts, dtype: str, *, gradient: bool = True) -> float:
    """Peak bytes of one energy (and, with gradient, force) evaluation beside the model; within 30 % of measurements."""
    kept = BEYOND_KEPT * kept_values(config.backbone, counts)
    if not gradient:
        kept *= ENERGY_SHARE / (config.backbone.num_blocks + 1)
    return kept * (8 if dtype == "float64" else 4)


def expected_counts(atoms: Atoms, policy: GraphPolicy) -> GraphCounts:
    """Expected directed edges from the number density, before any neighbour search."""
    n_atoms = len(atoms)
    if atoms.cell.rank == 3 and atoms.pbc.any():
        volume = float(atoms.cell.volume)
    else:
        volume = float(np.prod(np.ptp(atoms.positions, axis=0) + 2.0))
    density = n_atoms / max(volume, 1e-9)

    def within(cutoff: float) -> float:
        return 4.0 / 3.0 * np.pi * cutoff**3 * density

    if policy.name == "smooth" and not policy.adaptive:
        degrees = [within(r) for r in (policy.cutoff, policy.a2a_cutoff, policy.a2ee2a_cutoff, policy.qint_cutoff)]
    else:
        limit, reach = policy.max_neighbors, within(policy.cutoff)
        limits = (1.3 * limit, 1000 / 30 * limit, 20 / 30 * limit, 8 / 30 * limit)
        degrees = [min(reach, most) for most in limits]
    main, a2a, a2ee2a, qint = (int(n_atoms * degree) for degree in degrees)
    widths = [int(CROWDING * degrees[graph]) for graph in (0, 1, 3)]
    return GraphCounts(n_atoms, main, a2a, a2ee2a, qint, *widths)
