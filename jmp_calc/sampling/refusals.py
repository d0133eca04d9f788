"""Attempts at a sample that gave none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from ase import Atoms

ATTEMPTS = 30
"""Attempts that are made for one sample."""


class Refused(Exception):
    """An attempt that gave no sample; the text says why, as it is counted."""


def first_made(make: Callable[[], Atoms], refused: Counter[str]) -> Atoms | None:
    """What the first attempt gives that is not refused, or None after ``ATTEMPTS``; ``refused`` counts the
    reasons."""
    for _ in range(ATTEMPTS):
        try:
            return make()
        except Refused as reason:
            refused[str(reason)] += 1
    return None
