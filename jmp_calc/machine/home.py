"""Users without a home folder, as containers and batch systems make them: a number, no HOME, no entry."""

from __future__ import annotations

import os
from pathlib import Path

NO_HOME = "/nonexistent"
"""What Unix systems call the home of a user who has none."""


def has_home() -> bool:
    """Whether there is a home folder by name; it may not exist."""
    try:
        return str(Path.home()) != NO_HOME
    except RuntimeError:
        return False


def name_home() -> None:
    """For the command line: set HOME where nothing names one; ASE and others cannot be imported without."""
    if not has_home():
        os.environ["HOME"] = NO_HOME
