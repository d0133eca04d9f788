"""Settings of elastic constants: strains and what relaxes in them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np

from ...arguments import plain
from ...errors import UsageError

Ions = Literal["relaxed", "clamped"]
MOST_STRAIN, MOST_STEPS = 0.05, 100
"""Beyond these, stress is not linear in strain."""


@dataclass(frozen=True, kw_only=True)
class ElasticSettings:
    """How to compute elastic constants; the fields are the arguments of ``elastic`` and explained there."""

    max_strain: float = 0.005
    n_strains: int = 4
    ions: Ions = "relaxed"
    fmax: float = 1e-4
    relax_steps: int = 500
    allow_unconverged: bool = False
    symprec: float = 0.01

    def __post_init__(self) -> None:
        plain(self)
        for name in ("max_strain", "fmax", "symprec"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value > 0):
                raise UsageError(f"{name} must be positive, got {value}.")
        if self.max_strain > MOST_STRAIN:
            raise UsageError(
                f"max_strain must be at most {MOST_STRAIN}, got {self.max_strain}.", hint="0.005 is usual"
            )
        if not 2 <= self.n_strains <= MOST_STEPS:
            raise UsageError(f"n_strains must be from 2 to {MOST_STEPS}, got {self.n_strains}.")
        if self.ions not in get_args(Ions):
            raise UsageError(f"Unknown ions '{self.ions}'.", hint=f"one of {', '.join(get_args(Ions))}")
        if self.relax_steps < 1:
            raise UsageError(f"relax_steps must be at least 1, got {self.relax_steps}.")

    @property
    def step(self) -> float:
        """Strain between two strained cells of one kind."""
        return 2 * self.max_strain / (self.n_strains - 1)

    @property
    def strains(self) -> np.ndarray:
        """The strains of one kind, (n_strains,), from -max_strain to max_strain."""
        return np.linspace(-self.max_strain, self.max_strain, self.n_strains)

    def to_dict(self) -> dict[str, Any]:
        """All settings by name."""
        return asdict(self)
