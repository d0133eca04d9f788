"""Settings of the physics battery: which checks, and in what precision the calculator works."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from ...arguments import plain
from ...errors import UsageError

CheckName = Literal[
    "forces",
    "stress",
    "hessian",
    "path",
    "translation",
    "rotation",
    "reflection",
    "permutation",
    "lattice",
    "supercell",
    "fragments",
    "crystals",
    "scans",
    "collinear",
    "nve",
    "batch",
    "skin",
    "determinism",
    "reload",
    "precision",
    "compile",
    "fuzz",
]
"""The checks in the order of the report."""
CHECKS: tuple[CheckName, ...] = get_args(CheckName)
SLOW: frozenset[CheckName] = frozenset({"compile"})
"""Checks of minutes, which run only where they are named."""
Precision = Literal["auto", "float32", "float64"]


@dataclass(frozen=True, kw_only=True)
class CheckSettings:
    """What is checked; the fields are the arguments of ``check`` and explained there."""

    only: tuple[str, ...] = ()
    precision: Precision = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        plain(self)
        unknown = sorted(set(self.only) - set(CHECKS))
        if unknown:
            raise UsageError(f"No check is called {unknown[0]!r}.", hint=f"one of {', '.join(CHECKS)}")
        if self.precision not in get_args(Precision):
            raise UsageError(
                f"Unknown precision '{self.precision}'.", hint=f"one of {', '.join(get_args(Precision))}"
            )
        if self.seed < 0:
            raise UsageError(f"The seed must not be negative, got {self.seed}.")

    @property
    def chosen(self) -> tuple[CheckName, ...]:
        """The checks that run, in the order of the report."""
        wanted: Iterable[str] = self.only or (name for name in CHECKS if name not in SLOW)
        kept = frozenset(wanted)
        return tuple(name for name in CHECKS if name in kept)

    def to_dict(self) -> dict[str, Any]:
        """All settings by name."""
        return asdict(self)
