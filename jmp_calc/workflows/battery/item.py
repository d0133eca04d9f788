"""One check of the battery: what is measured, its limits, and why it matters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .probe import Probe
    from .settings import CheckName
    from .subjects import Subjects
    from .verdict import Measured


@dataclass(frozen=True)
class Item:
    """A check: function, limits, and the words of its line."""

    name: CheckName
    title: str
    why: str
    unit: str
    limits: tuple[float, float]
    """Of float64 and of float32."""
    measure: Callable[[Probe, Subjects], Measured]

    def limit(self, precision: str) -> float:
        """The limit in a precision."""
        return self.limits[precision == "float32"]
