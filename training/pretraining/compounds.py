"""Which compounds validate: a tenth of all, by the hash of their formula, so that it is the same one in every
set of crystals."""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import sha256
from math import gcd

import numpy as np

from jmp_calc.model.elements import symbol

VALIDATING = 10
"""One of so many compounds validates."""
_PART = re.compile(r"([A-Z][a-z]?)(\d*)")


def formula_of(numbers: np.ndarray) -> str:
    """Reduced formula of atomic numbers (N,), elements in alphabetical order: ``ClNa``, ``O2Ti``."""
    elements, counts = np.unique(numbers, return_counts=True)
    return _written({symbol(int(z)): int(n) for z, n in zip(elements, counts)})


def reduced(formula: str) -> str:
    """The same from any way of writing a composition: ``TiO2``, ``Ti2O4`` and ``O2Ti`` are ``O2Ti``."""
    counts: dict[str, int] = {}
    for name, number in _PART.findall(formula):
        counts[name] = counts.get(name, 0) + int(number or 1)
    return _written(counts)


def is_compound(formula: str) -> bool:
    """Whether a formula has several elements."""
    return len(_PART.findall(formula)) > 1


def validates(formula: str) -> bool:
    """Whether crystals of this reduced formula validate; elements never do, every model must know them."""
    return is_compound(formula) and int.from_bytes(sha256(formula.encode()).digest()[:8]) % VALIDATING == 0


def _written(counts: Mapping[str, int]) -> str:
    divisor = gcd(*counts.values()) if counts else 1
    return "".join(
        name + (str(count // divisor) if count > divisor else "") for name, count in sorted(counts.items())
    )
