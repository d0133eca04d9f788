"""Settings of an equation of state: volumes and forms that can be fitted."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np

from ...errors import UsageError

EosForm = Literal["birchmurnaghan", "vinet", "murnaghan", "pouriertarantola"]
EosRelax = Literal["none", "positions", "shape"]
FEWEST_VOLUMES, MOST_VOLUMES = 5, 1000
"""Four numbers are fitted."""
SMALLEST, LARGEST = 0.3, 3.0
"""Volumes beyond these, relative to the given one, are of no crystal that anyone means."""


@dataclass(frozen=True, kw_only=True)
class EosSettings:
    """How to compute an equation of state; the fields are the arguments of ``eos`` and explained there."""

    min_volume: float = 0.94
    max_volume: float = 1.06
    n_volumes: int = 7
    form: EosForm = "birchmurnaghan"
    relax: EosRelax = "positions"
    fmax: float = 1e-3
    relax_steps: int = 500
    allow_unconverged: bool = False
    symprec: float = 0.01

    def __post_init__(self) -> None:
        for name in ("fmax", "symprec"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value > 0):
                raise UsageError(f"{name} must be positive, got {value}.")
        for name, allowed in (("form", EosForm), ("relax", EosRelax)):
            if getattr(self, name) not in get_args(allowed):
                fact = f"Unknown {name} '{getattr(self, name)}'."
                raise UsageError(fact, hint=f"one of {', '.join(get_args(allowed))}")
        if not SMALLEST <= self.min_volume < self.max_volume <= LARGEST:
            raise UsageError(
                f"Volumes from {self.min_volume} to {self.max_volume} cannot be meant: they are relative to "
                f"that of the structure, from {SMALLEST} to {LARGEST}, the smaller first.",
                hint="0.94 and 1.06 are usual",
            )
        if not FEWEST_VOLUMES <= self.n_volumes <= MOST_VOLUMES:
            raise UsageError(
                f"n_volumes must be from {FEWEST_VOLUMES} to {MOST_VOLUMES}, got {self.n_volumes}: four "
                "numbers are fitted."
            )
        if self.relax_steps < 1:
            raise UsageError(f"relax_steps must be at least 1, got {self.relax_steps}.")

    @property
    def scales(self) -> np.ndarray:
        """The volumes relative to that of the structure, (n_volumes,), the smallest first."""
        return np.linspace(self.min_volume, self.max_volume, self.n_volumes)

    def to_dict(self) -> dict[str, Any]:
        """All settings by name."""
        return asdict(self)
