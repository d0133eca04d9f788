"""Settings of every fit against the volume: at which volumes, relative to its own, a crystal is computed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...errors import UsageError

FEWEST_VOLUMES = 5
"""Four numbers are fitted."""
SMALLEST, LARGEST = 0.3, 3.0
"""Volumes beyond these, relative to the given one, are of no crystal that anyone means."""


@dataclass(frozen=True, kw_only=True)
class VolumeSettings:
    """The smallest and the largest volume, relative to that of the structure, and how many."""

    min_volume: float
    max_volume: float
    n_volumes: int = 7

    @property
    def scales(self) -> np.ndarray:
        """The volumes relative to that of the structure, (n_volumes,), the smallest first."""
        return np.linspace(self.min_volume, self.max_volume, self.n_volumes)

    def check_volumes(self, *, most: int, usual: str) -> None:
        """UsageError for volumes that cannot be meant: more than ``most`` of them, or none of a crystal;
        ``usual`` is the hint."""
        if not SMALLEST <= self.min_volume < self.max_volume <= LARGEST:
            raise UsageError(
                f"Volumes from {self.min_volume} to {self.max_volume} cannot be meant: they are relative to "
                f"that of the structure, from {SMALLEST} to {LARGEST}, the smaller first.",
                hint=usual,
            )
        if not FEWEST_VOLUMES <= self.n_volumes <= most:
            raise UsageError(
                f"n_volumes must be from {FEWEST_VOLUMES} to {most}, got {self.n_volumes}: four "
                "numbers are fitted."
            )
