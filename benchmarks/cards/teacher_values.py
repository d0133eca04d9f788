"""Values of teachers that the card compares with: benchmarks/teachers/NAME.yaml, written by
benchmarks/card_teachers.py."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parents[1] / "teachers"
OF_HEADS = {"gfn2": "gfn2", "wb97x-ani2x": "ani2x"}
"""Files with bonds and dimers of the heads that were trained on labels of a teacher."""
CRYSTALS = "nequix"
"""The file with crystals."""


@functools.cache
def values(name: str) -> dict[str, Any]:
    """The content of one file; empty where there is none yet."""
    path = FOLDER / f"{name}.yaml"
    return (yaml.safe_load(path.read_text(encoding="utf-8")) or {}) if path.exists() else {}


def of_head(head: str, section: str) -> dict[str, Any]:
    """Values of the teacher of a head by system; empty where it has none."""
    found: dict[str, Any] = values(OF_HEADS[head]).get(section, {}) if head in OF_HEADS else {}
    return found


def of_crystals(section: str) -> dict[str, Any]:
    """Values of the teacher of crystals by system."""
    found: dict[str, Any] = values(CRYSTALS).get(section, {})
    return found
