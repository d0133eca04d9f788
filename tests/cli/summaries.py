"""What commands wrote down of themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml


def summary(folder: Path, name: str = "summary.yaml") -> dict[str, Any]:
    """The summary of the command that wrote into ``folder``."""
    found = yaml.safe_load((folder / name).read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found
