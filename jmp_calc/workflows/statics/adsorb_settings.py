"""Settings of a search for the best place of an adsorbate."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np

from ...arguments import plain
from ...errors import UsageError

SiteKind = Literal["ontop", "bridge", "hollow"]
Orientations = Literal["scan", "given"]


@dataclass(frozen=True, kw_only=True)
class AdsorbSettings:
    """How to place and relax an adsorbate; the fields are the arguments of ``adsorb`` and explained there."""

    sites: str | tuple[str, ...] = "ontop bridge hollow"
    orientations: Orientations = "scan"
    turns: int = 2
    fix_bottom: float = 0.0
    fmax: float = 0.02
    steps: int = 300
    relax: bool = True

    def __post_init__(self) -> None:
        plain(self)
        words = self.sites.replace(",", " ").split() if isinstance(self.sites, str) else list(self.sites)
        object.__setattr__(self, "sites", tuple(dict.fromkeys(words)))
        wrong = [word for word in words if word not in get_args(SiteKind)]
        if wrong or not words:
            fact = f"Unknown site '{wrong[0]}'." if wrong else "No site is named."
            raise UsageError(fact, hint=f"one or more of {', '.join(get_args(SiteKind))}")
        if self.orientations not in get_args(Orientations):
            fact = f"Unknown orientations '{self.orientations}'."
            raise UsageError(fact, hint=f"one of {', '.join(get_args(Orientations))}")
        if not 1 <= self.turns <= 36:
            raise UsageError(f"The number of turns must be from 1 to 36, got {self.turns}.")
        if not 0 <= self.fix_bottom < 1:
            raise UsageError(f"The share fix_bottom must be at least 0 and below 1, got {self.fix_bottom}.")
        if not (np.isfinite(self.fmax) and self.fmax > 0):
            raise UsageError(f"The force limit fmax must be positive, got {self.fmax}.")
        if self.steps < 1:
            raise UsageError(f"The number of steps must be at least 1, got {self.steps}.")

    def to_dict(self) -> dict[str, Any]:
        """All settings by name."""
        return asdict(self)
