"""Where a pre-training gets its frames and where it computes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class PretrainOptions:
    """Where a run gets its frames and where it computes."""

    data: Path | None = None
    """Folder with the files of the recipe; they are packed once into the output folder."""
    pack: Path | None = None
    """A pack that was made before, instead of ``data``."""
    device: str = "auto"
    dtype: str = "float32"
    workers: int = 0
    """Processes that prepare batches for a GPU."""
    valid_frames: int | None = None
    """Most validation frames per set while training; None: all. The report always has all."""
