"""What came out of a check: the worst number, the verdict, or the reason why there is none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from .settings import CheckName

Status = Literal["pass", "fail", "not applicable"]


class NotApplicable(Exception):
    """A check that this calculator has nothing for; the text is the reason."""


def larger(one: float, other: float) -> float:
    """The larger of two numbers, NaN if one is: Python's ``max`` forgets a second NaN."""
    return float(np.maximum(one, other))


@dataclass(frozen=True)
class Measured:
    """The worst number that a check found."""

    value: float
    """In the unit of the check; NaN fails."""
    where: str
    """Structure at which it was found."""
    note: str = ""

    @staticmethod
    def worst(found: list[Measured]) -> Measured:
        """The largest of several, NaN above all; NotApplicable of none."""
        if not found:
            raise NotApplicable("the calculator computes none of the structures of this check")
        return max(found, key=lambda one: np.inf if np.isnan(one.value) else one.value)


@dataclass(frozen=True)
class Verdict:
    """What came out of one check."""

    name: CheckName
    title: str
    status: Status
    measured: float | None
    """In ``unit``; None: nothing was measured."""
    limit: float
    unit: str
    where: str
    """Structure of the worst number; empty: none."""
    note: str
    """Reason why a check does not apply, or the error that ended it."""
    why: str
    wall_s: float

    def __str__(self) -> str:
        number = "" if self.measured is None else f"{self.measured:.1e} {self.unit}".rstrip()
        limit = "" if self.measured is None else f"(limit {self.limit:.0e})"
        told = " ".join(filter(None, [number, limit, self.where and f"at {self.where}", self.note]))
        return f"{self.status:<14} {self.name:<12} {self.title}: {told}"
