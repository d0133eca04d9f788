"""Pressures on cells: which can be meant."""

from __future__ import annotations

import numpy as np

from ..errors import UsageError

MOST_GPA = 1000.0
"""Far beyond what any training data hold; numbers above it are in other units."""


def check_pressure(gpa: float, where: str | None = None) -> None:
    """UsageError for a pressure that is not finite, or so large that it must be in another unit than GPa:
    under it a cell collapses, and its neighbours have no end."""
    if not np.isfinite(gpa):
        raise UsageError(f"The pressure must be finite, got {gpa}.", where=where)
    if abs(gpa) > MOST_GPA:
        raise UsageError(
            f"A pressure of {gpa:g} GPa cannot be meant: in the centre of the Earth it is 364 GPa.",
            where=where,
            hint="it is given in GPa: 1 bar is 0.0001, 1 kbar is 0.1",
        )
