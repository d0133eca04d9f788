"""Where the frames lie that a stage makes for itself: ``FOLDER/stage-003/SET/labelled.extxyz`` to train on,
and ``FOLDER/valid/SET/labelled.extxyz``, which is the same for all stages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jmp_calc.errors import UsageError

from .mixture import MixtureSet

LABELLED = "labelled.extxyz"
"""As ``jmp-calc label`` calls it."""


@dataclass(frozen=True)
class Shards:
    """The made frames of one stage."""

    folder: Path
    stage: int
    """Counted from 1."""

    @property
    def parts(self) -> tuple[Path, Path]:
        """Folders of the frames to train on and of those that validate."""
        return self.folder / f"stage-{self.stage:03d}", self.folder / "valid"

    def train(self, item: MixtureSet) -> tuple[Path, ...]:
        """Files to train on; UsageError if there are none."""
        return (_existing(self.parts[0] / item.name / LABELLED, item),)

    def valid(self, item: MixtureSet) -> tuple[Path, ...]:
        """Files that validate; UsageError if there are none."""
        return (_existing(self.parts[1] / item.name / LABELLED, item),)


def _existing(path: Path, item: MixtureSet) -> Path:
    if not path.is_file():
        raise UsageError(
            f"There are no frames of the set {item.name!r}.",
            where=str(path),
            hint="sample structures and label them into this folder",
        )
    return path
