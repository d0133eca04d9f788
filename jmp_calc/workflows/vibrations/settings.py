"""Settings of a calculation of vibrations: what may be asked together, and numbers of atoms from text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np

from ...arguments import plain
from ...errors import UsageError

Method = Literal["auto", "autograd", "finite"]
ThermoModel = Literal["auto", "ideal-gas", "harmonic", "none"]


@dataclass(frozen=True, kw_only=True)
class VibSettings:
    """How to compute vibrations; the fields are the arguments of ``vib`` and explained there."""

    method: Method = "auto"
    displacement: float = 0.01
    indices: str | tuple[int, ...] | None = None
    relax: bool = True
    fmax: float = 1e-4
    relax_steps: int = 500
    allow_unconverged: bool = False
    thermo: ThermoModel = "auto"
    temperatures: str | tuple[float, ...] = "298.15"
    pressure_pa: float = 1e5
    symmetry_number: int | None = None
    spin: float = 0.0
    tolerance_cm1: float = 10.0
    animate: int = 60

    def __post_init__(self) -> None:
        plain(self)
        object.__setattr__(self, "temperatures", _kelvin(self.temperatures))
        if self.indices is not None:
            object.__setattr__(self, "indices", atom_numbers(self.indices))
        for name, value, allowed in (("method", self.method, Method), ("thermo", self.thermo, ThermoModel)):
            if value not in get_args(allowed):
                raise UsageError(f"Unknown {name} '{value}'.", hint=f"one of {', '.join(get_args(allowed))}")
        for name in ("displacement", "fmax", "pressure_pa", "tolerance_cm1"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value > 0):
                raise UsageError(f"{name} must be positive, got {value}.")
        if self.displacement > 0.5:
            raise UsageError(f"The displacement must be at most 0.5 Å, got {self.displacement}.")
        for name, least in (("relax_steps", 1), ("animate", 0)):
            if getattr(self, name) < least:
                raise UsageError(f"{name} must be at least {least}, got {getattr(self, name)}.")
        if self.symmetry_number is not None and self.symmetry_number < 1:
            raise UsageError(f"The symmetry number must be at least 1, got {self.symmetry_number}.")
        if not (self.spin >= 0 and float(2 * self.spin).is_integer()):
            raise UsageError(f"The spin must be 0, 0.5, 1, …, got {self.spin}.")

    def to_dict(self) -> dict[str, Any]:
        """All settings by name."""
        return asdict(self)


def atom_numbers(given: str | Sequence[int]) -> tuple[int, ...]:
    """Numbers of atoms, counted from 0, from a sequence or from text such as "0 1 4:7", where 7 is left out.

    Raises:
        UsageError: text or numbers that cannot be read so.
    """
    found: list[int] = []
    if not isinstance(given, str | Iterable):
        raise UsageError(f"'{given}' are no numbers of atoms.", hint='write "0 1 4:7", or [0, 1]')
    words = given.replace(",", " ").split() if isinstance(given, str) else list(given)
    if any(isinstance(word, bool | np.bool_) for word in words):
        raise UsageError(
            "Atoms are named by their numbers, not by a mask.", hint="np.flatnonzero(mask) gives the numbers"
        )
    for word in words:
        first, colon, last = word.partition(":") if isinstance(word, str) else (word, "", "")
        try:
            if int(first) != float(first):
                raise ValueError
            found += range(int(first), int(last)) if colon else [int(first)]
        except (ValueError, TypeError):
            raise UsageError(
                f"'{word}' is no number of an atom.", hint='write "0 1 4:7", counted from 0, without the 7'
            ) from None
    if not found:
        raise UsageError(f"No atom is named by '{given}'.", hint='write "0 1 4:7", counted from 0')
    return tuple(found)


def _kelvin(given: str | float | Sequence[float]) -> tuple[float, ...]:
    """Temperatures in K from text, one number or several; UsageError unless they are positive."""
    words = given.replace(",", " ").split() if isinstance(given, str) else np.atleast_1d(given).tolist()
    try:
        found = tuple(float(word) for word in words)
    except ValueError:
        raise UsageError(f"'{given}' are no temperatures.", hint='write "298.15 500"') from None
    if not found or not all(np.isfinite(kelvin) and kelvin > 0 for kelvin in found):
        words = given if isinstance(given, str) else " ".join(f"{kelvin:g}" for kelvin in found)
        raise UsageError(f"Temperatures must be positive, got '{words}'.", hint='write "298.15 500"')
    return found
