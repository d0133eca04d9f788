"""Settings of a relaxation: what may be asked together."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np

from ..arguments import plain
from ..errors import UsageError
from .pressures import check_pressure

CellMode = Literal["none", "volume", "shape", "lengths", "full"]
OptimizerName = Literal["BFGS", "FIRE", "LBFGS"]


@dataclass(frozen=True, kw_only=True)
class RelaxSettings:
    """How to relax; the fields are the arguments of ``relax`` and explained there."""

    fmax: float = 0.01
    steps: int = 1000
    optimizer: OptimizerName = "BFGS"
    cell: CellMode = "none"
    pressure_gpa: float = 0.0
    fix_symmetry: bool = False
    symprec: float = 0.01
    guard: bool = True

    def __post_init__(self) -> None:
        plain(self)
        for word, name, unit in (("force limit", "fmax", "eV/Å"), ("tolerance", "symprec", "Å")):
            value = getattr(self, name)
            if not (value > 0 and np.isfinite(value)):
                fact = f"The {word} {name} must be positive, got {value}."
                raise UsageError(fact, hint=f"0.01 {unit} is a usual value")
        if self.steps < 1:
            raise UsageError(f"The number of steps must be at least 1, got {self.steps}.")
        for name, value, allowed in (
            ("optimizer", self.optimizer, OptimizerName),
            ("cell", self.cell, CellMode),
        ):
            if value not in get_args(allowed):
                raise UsageError(f"Unknown {name} '{value}'.", hint=f"one of {', '.join(get_args(allowed))}")
        check_pressure(self.pressure_gpa)
        if self.pressure_gpa and self.cell in ("none", "shape"):
            raise UsageError(
                "A pressure needs a volume that may change.",
                hint="use cell='volume', 'lengths' or 'full' (--opt-cell)",
            )

    def to_dict(self) -> dict[str, Any]:
        """All settings by name."""
        return asdict(self)
