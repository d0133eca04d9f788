"""Attempts at a sample that gave none."""

from __future__ import annotations

ATTEMPTS = 30
"""Attempts that are made for one sample."""


class Refused(Exception):
    """An attempt that gave no sample; the text says why, as it is counted."""
