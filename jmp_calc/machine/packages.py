"""Packages of extras, which one function needs and the others do without."""

from __future__ import annotations

from importlib.util import find_spec

from ..errors import UsageError


def is_installed(module: str) -> bool:
    """Whether a module of the highest level is there; it is not imported."""
    return find_spec(module) is not None


def require(module: str, fact: str, install: str) -> None:
    """UsageError with ``fact`` and the line that installs it where a module is missing."""
    if not is_installed(module):
        raise UsageError(fact, hint=f"run: {install}")
