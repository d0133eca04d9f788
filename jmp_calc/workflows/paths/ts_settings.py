"""Settings of a search for a transition state: what may be asked."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np

from ...arguments import plain
from ...errors import UsageError

Coordinates = Literal["cartesian", "internal"]
SaddleHessian = Literal["auto", "autograd", "iterative"]


@dataclass(frozen=True, kw_only=True)
class TSSettings:
    """How to search a saddle; the fields are the arguments of ``ts`` and explained there."""

    fmax: float = 0.01
    steps: int = 300
    coordinates: Coordinates = "cartesian"
    hessian: SaddleHessian = "auto"
    check: bool = True
    connect: bool = True
    tolerance_cm1: float = 10.0

    def __post_init__(self) -> None:
        plain(self)
        for name, allowed in (("coordinates", Coordinates), ("hessian", SaddleHessian)):
            if getattr(self, name) not in get_args(allowed):
                fact = f"Unknown {name} '{getattr(self, name)}'."
                raise UsageError(fact, hint=f"one of {', '.join(get_args(allowed))}")
        for name in ("fmax", "tolerance_cm1"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value > 0):
                raise UsageError(f"{name} must be positive, got {value}.")
        if self.steps < 1:
            raise UsageError(f"The number of steps must be at least 1, got {self.steps}.")

    def to_dict(self) -> dict[str, Any]:
        """All settings by name."""
        return asdict(self)
