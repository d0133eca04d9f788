"""Where the frames lie that a stage makes for itself: ``FOLDER/stage-003/SET.xyz.gz`` to train on, and
``FOLDER/valid/SET.xyz.gz``, which is the same for all stages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jmp_calc.errors import UsageError

from .mixture import MixtureSet

SUFFIXES = (".xyz", ".extxyz", ".xyz.gz", ".extxyz.gz")


@dataclass(frozen=True)
class Shards:
    """The made frames of one stage."""

    folder: Path
    stage: int
    """Counted from 1."""

    def train(self, item: MixtureSet) -> tuple[Path, ...]:
        """Files to train on; UsageError if there are none."""
        return self._files(self.folder / f"stage-{self.stage:03d}", item)

    def valid(self, item: MixtureSet) -> tuple[Path, ...]:
        """Files that validate; UsageError if there are none."""
        return self._files(self.folder / "valid", item)

    def _files(self, folder: Path, item: MixtureSet) -> tuple[Path, ...]:
        found = tuple(
            path
            for path in sorted(folder.glob(f"{item.name}.*"))
            if path.name.removeprefix(item.name).endswith(SUFFIXES)
        )
        if not found:
            raise UsageError(
                f"There are no frames of the set {item.name!r}.",
                where=str(folder),
                hint=f"label structures into {folder / item.name}.xyz.gz",
            )
        return found
