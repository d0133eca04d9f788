"""Settings of energies that are sums over several structures."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np

from ...arguments import plain
from ...errors import UsageError

PartsRelax = Literal["none", "positions", "full"]


@dataclass(frozen=True, kw_only=True)
class SumSettings:
    """How the parts of a sum are computed; the fields are the arguments of the functions in ``energies``."""

    relax: PartsRelax = "none"
    fmax: float = 0.02
    relax_steps: int = 500
    allow_unconverged: bool = False

    def __post_init__(self) -> None:
        plain(self)
        if self.relax not in get_args(PartsRelax):
            raise UsageError(
                f"Unknown relax '{self.relax}'.", hint=f"one of {', '.join(get_args(PartsRelax))}"
            )
        if not (np.isfinite(self.fmax) and self.fmax > 0):
            raise UsageError(f"The force limit fmax must be positive, got {self.fmax}.")
        if self.relax_steps < 1:
            raise UsageError(f"relax_steps must be at least 1, got {self.relax_steps}.")

    def to_dict(self) -> dict[str, Any]:
        """All settings by name."""
        return asdict(self)
