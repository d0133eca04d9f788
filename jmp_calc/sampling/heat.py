"""Short Langevin dynamics with any forces: what a structure looks like when it is hot."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from ase import units
from numpy.random import Generator

from .geometry import Floats

FRICTION = 0.02
"""1 / fs."""


def langevin(
    rng: Generator,
    positions: Floats,
    masses: Floats,
    forces: Callable[[Floats], Floats],
    *,
    temperature: float,
    steps: int,
    timestep_fs: float = 0.5,
) -> Floats:
    """Positions (N, 3), Å, after so many steps (BAOAB) at ``temperature`` (K), with velocities of that
    temperature from the first step on. masses: (N,), u; forces: (N, 3) eV/Å of positions."""
    x, m = positions, masses[:, None]
    dt, spread = timestep_fs * units.fs, np.sqrt(units.kB * temperature / m)
    keep = float(np.exp(-FRICTION * timestep_fs))
    velocities = spread * rng.normal(size=x.shape)
    acting = forces(x)
    for _ in range(steps):
        velocities = velocities + 0.5 * dt * acting / m
        x = x + 0.5 * dt * velocities
        velocities = keep * velocities + np.sqrt(1 - keep**2) * spread * rng.normal(size=x.shape)
        x = x + 0.5 * dt * velocities
        acting = forces(x)
        velocities = velocities + 0.5 * dt * acting / m
    return x
