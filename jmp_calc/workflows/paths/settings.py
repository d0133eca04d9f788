"""Settings of a nudged elastic band: what may be asked."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np

from ...arguments import plain
from ...errors import UsageError

Interpolation = Literal["idpp", "linear"]
BandOptimizer = Literal["FIRE", "BFGS"]


@dataclass(frozen=True, kw_only=True)
class NEBSettings:
    """How to relax a band; the fields are the arguments of ``neb`` and explained there."""

    images: int = 7
    climb: bool = True
    interpolation: Interpolation = "idpp"
    spring: float = 0.1
    optimizer: BandOptimizer = "FIRE"
    fmax: float = 0.05
    steps: int = 500
    relax_ends: bool = True
    ends_fmax: float = 0.01
    ends_steps: int = 500

    def __post_init__(self) -> None:
        plain(self)
        for name, value, allowed in (
            ("interpolation", self.interpolation, Interpolation),
            ("optimizer", self.optimizer, BandOptimizer),
        ):
            if value not in get_args(allowed):
                raise UsageError(f"Unknown {name} '{value}'.", hint=f"one of {', '.join(get_args(allowed))}")
        for name in ("spring", "fmax", "ends_fmax"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value > 0):
                raise UsageError(f"{name} must be positive, got {value}.")
        for name, least in (("images", 1), ("steps", 1), ("ends_steps", 1)):
            if getattr(self, name) < least:
                raise UsageError(f"{name} must be at least {least}, got {getattr(self, name)}.")
        if self.images > 200:
            raise UsageError(f"The number of images must be at most 200, got {self.images}.")

    def to_dict(self) -> dict[str, Any]:
        """All settings by name."""
        return asdict(self)

    def path(self) -> dict[str, Any]:
        """Those that a band that goes on must have kept: all but when it is done."""
        free = {"fmax", "steps"}
        return {name: value for name, value in self.to_dict().items() if name not in free}
