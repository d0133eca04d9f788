"""Where a pre-training gets its frames and where it computes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jmp_calc.errors import UsageError


@dataclass(frozen=True)
class PretrainOptions:
    """Where a run gets its frames and where it computes."""

    data: Path | None = None
    """Folder with the files of the recipe; they are packed once into the output folder."""
    pack: Path | None = None
    """A pack that was made before, instead of ``data``."""
    device: str = "auto"
    """Where the network runs: auto (CUDA if there is one), cpu, cuda or cuda:N."""
    dtype: str = "float32"
    """Precision of the weights, float32 or float64."""
    workers: int = 0
    """Processes that prepare batches for a GPU."""
    shards: Path | None = None
    """Folder with the frames that a stage makes for itself; what it lacks is made there."""
    teachers: Path | None = None
    """YAML file that says how the teachers are asked on this machine; None: as installed here."""
    valid_frames: int | None = None
    """Most validation frames per set while training; None: all. The report always has all."""

    def check(self) -> None:
        """UsageError for frames from two places."""
        if self.data is not None and self.pack is not None:
            raise UsageError("--data and --pack contradict each other.", hint="leave one of them out")


def pack_file(options: PretrainOptions) -> tuple[Path, ...]:
    """The file of frames that a run reads, if it was named."""
    return () if options.pack is None else (options.pack,)
