"""Settings of an analysis."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..arguments import plain
from ..errors import UsageError


@dataclass(frozen=True, kw_only=True)
class AnalyseSettings:
    """What to analyse; the fields are the arguments of ``analyse`` and explained there."""

    discard: float = 0.1
    frame_fs: float | None = None
    r_max: float | None = None
    bins: int = 200
    blocks: int = 5

    def __post_init__(self) -> None:
        plain(self)
        if not 0 <= self.discard < 1:
            raise UsageError(f"The discarded share must be at least 0 and below 1, got {self.discard}.")
        for name in ("frame_fs", "r_max"):
            value = getattr(self, name)
            if value is not None and not (np.isfinite(value) and value > 0):
                raise UsageError(f"{name} must be positive, got {value}.")
        for name, least in (("bins", 10), ("blocks", 3)):
            if getattr(self, name) < least:
                raise UsageError(f"{name} must be at least {least}, got {getattr(self, name)}.")

    def to_dict(self) -> dict[str, Any]:
        """All settings by name."""
        return asdict(self)
