"""Memory needed for one evaluation, estimated before it starts, so that nothing is killed half-way in
silence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from ..checks import MANY_ATOMS
from ..errors import OutOfMemoryError
from ..graph.policy import GraphPolicy
from ..machine.device import free_memory
from ..model.config import ModelConfig
from ..model.cost import GraphCounts, kept_values

if TYPE_CHECKING:
    import torch
    from ase import Atoms

    from ..model.recompute import Recompute

BEYOND_KEPT = 1.25
"""Peak memory over what the backward pass needs: its own arrays, and gaps in the heap (measured: 1.1 to
1.5)."""
BEYOND_KEPT_IN_TRAINING = 6.0
"""The same for a training step on forces, which differentiates the derivative (measured: 5.6 to 6.8)."""
SMALL = 2**28
"""Bytes below which the system is not asked for its free memory: that costs more than a small calculation."""
ENERGY_SHARE = 0.7
"""An energy alone needs this share of the memory of one block (measured on two sizes)."""
ROOM = 0.6
"""Share of the free memory that a batch or a memory plan may take by the estimate."""
CROWDING = 1.3
"""The most edges of an atom over the mean."""


Purpose = Literal["energy", "forces", "training"]
"""An energy alone; energy and forces; a training step on forces."""
Checkpointing = Literal["auto", "on", "off"]


def estimated_bytes(
    config: ModelConfig,
    counts: GraphCounts,
    itemsize: int,
    purpose: Purpose = "forces",
    recompute: Recompute = "nothing",
) -> float:
    """Peak bytes of one evaluation or training step beside weights and optimizer; within 30 % of
    measurements.

    itemsize: bytes of a number of the network.
    """
    if purpose == "energy":
        share = ENERGY_SHARE / (config.backbone.num_blocks + 1)
        return BEYOND_KEPT * share * kept_values(config.backbone, counts) * itemsize
    factor = BEYOND_KEPT if purpose == "forces" else BEYOND_KEPT_IN_TRAINING
    return factor * kept_values(config.backbone, counts, recompute) * itemsize


def choose_recompute(
    config: ModelConfig,
    counts: GraphCounts,
    itemsize: int,
    purpose: Purpose,
    choice: Checkpointing,
    device: torch.device,
) -> Recompute:
    """The fastest memory plan within ``ROOM`` of the free memory; 'on' asks for the leanest, 'off' for the
    fastest."""
    if choice != "auto":
        return "blocks" if choice == "on" else "nothing"
    needed = estimated_bytes(config, counts, itemsize, purpose)
    free = free_memory(device) if needed > SMALL else None
    if free is None or needed < ROOM * free:
        return "nothing"
    lighter = estimated_bytes(config, counts, itemsize, purpose, "interactions")
    return "interactions" if lighter < ROOM * free else "blocks"


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
        degrees = [
            within(r) for r in (policy.cutoff, policy.a2a_cutoff, policy.a2ee2a_cutoff, policy.qint_cutoff)
        ]
    else:
        limit, reach = policy.neighbors_of(n_atoms), within(policy.cutoff)
        limits = (1.3 * limit, 1000 / 30 * limit, 20 / 30 * limit, 8 / 30 * limit)
        degrees = [min(reach, most) for most in limits]
    main, a2a, a2ee2a, qint = (int(n_atoms * degree) for degree in degrees)
    widths = [int(CROWDING * degrees[graph]) for graph in (0, 1, 3)]
    return GraphCounts(n_atoms, main, a2a, a2ee2a, qint, *widths)


def refuse_if_too_large(
    n_atoms: int, n_edges: int, needed_bytes: float, available_bytes: float | None
) -> None:
    """OutOfMemoryError when the estimate exceeds what is free; above 100 000 atoms also when that is
    unknown."""
    unknown = available_bytes is None and n_atoms > MANY_ATOMS
    if unknown or (available_bytes is not None and needed_bytes > available_bytes):
        free = "an unknown amount" if available_bytes is None else f"{available_bytes / 2**30:.1f} GiB"
        raise OutOfMemoryError(
            f"{n_atoms} atoms with {n_edges / n_atoms:.0f} edges each need about {needed_bytes / 2**30:.1f} "
            "GiB with this "
            f"model, {free} is free.",
            hint="use a smaller cell, a smaller model or a machine with more memory; jmp-calc estimate says "
            "what fits",
        )
