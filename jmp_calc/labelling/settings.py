"""Settings of a labelling run: what may be asked together."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ..arguments import plain
from ..errors import UsageError


@dataclass(frozen=True, kw_only=True)
class LabelSettings:
    """How to label; the fields are the arguments of ``label`` and explained there."""

    calculator: str
    method: str | None = None
    weights: str | None = None
    head: str | None = None
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    python: str | None = None
    device: str = "auto"
    dtype: str = "float32"
    processes: int = 1
    timeout: float | None = 3600.0
    isolated: bool = True
    max_force: float | None = None
    max_spread: float | None = None
    retry: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.calculator, str):
            raise UsageError(
                "The calculator that labels is given by its name.",
                hint="such as 'tblite', 'jmp-xs', or 'package.module:factory' for any of ASE",
            )
        plain(self)
        if not self.calculator.strip():
            raise UsageError("The calculator has no name.", hint="name a teacher, such as tblite")
        for name, unit in (("timeout", "s"), ("max_force", "eV/Å"), ("max_spread", "eV/Å")):
            value = getattr(self, name)
            if value is not None and not (value > 0 and np.isfinite(value)):
                raise UsageError(f"{name} must be a positive number of {unit}, got {value}.")
        cores = max(os.cpu_count() or 1, 2)
        if not 1 <= self.processes <= cores:
            raise UsageError(
                f"{self.processes} processes cannot share {cores} cores.", hint=f"from 1 to {cores}"
            )
        try:
            json.dumps(self.kwargs)
        except (TypeError, ValueError) as error:
            raise UsageError(f"The arguments of the factory are no plain data: {error}.") from error

    def to_dict(self) -> dict[str, Any]:
        """All settings by name."""
        return asdict(self)
