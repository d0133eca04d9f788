"""Settings of an equation of state: volumes and forms that can be fitted."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np

from ...arguments import plain
from ...errors import UsageError
from .volumes import VolumeSettings

EosForm = Literal["birchmurnaghan", "vinet", "murnaghan", "pouriertarantola"]
EosRelax = Literal["none", "positions", "shape"]
MOST_VOLUMES = 1000


@dataclass(frozen=True, kw_only=True)
class EosSettings(VolumeSettings):
    """How to compute an equation of state; the fields are the arguments of ``eos`` and explained there."""

    min_volume: float = 0.94
    max_volume: float = 1.06
    form: EosForm = "birchmurnaghan"
    relax: EosRelax = "positions"
    fmax: float = 1e-3
    relax_steps: int = 500
    allow_unconverged: bool = False
    symprec: float = 0.01

    def __post_init__(self) -> None:
        plain(self)
        for name in ("fmax", "symprec"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value > 0):
                raise UsageError(f"{name} must be positive, got {value}.")
        for name, allowed in (("form", EosForm), ("relax", EosRelax)):
            if getattr(self, name) not in get_args(allowed):
                fact = f"Unknown {name} '{getattr(self, name)}'."
                raise UsageError(fact, hint=f"one of {', '.join(get_args(allowed))}")
        self.check_volumes(most=MOST_VOLUMES, usual="0.94 and 1.06 are usual")
        if self.relax_steps < 1:
            raise UsageError(f"relax_steps must be at least 1, got {self.relax_steps}.")

    def to_dict(self) -> dict[str, Any]:
        """All settings by name."""
        return asdict(self)
