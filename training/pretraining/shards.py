"""Where the frames lie that a stage makes for itself: ``FOLDER/stage-003/SET/labelled.extxyz`` to train on,
and ``FOLDER/valid/SET/labelled.extxyz``, which is the same for all stages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jmp_calc.errors import BadInputError

from .mixture import MixtureSet

LABELLED, TEACHER = "labelled.extxyz", "teacher.yaml"
"""As ``jmp-calc label`` calls them."""


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

    def train(self, item: MixtureSet) -> Path:
        """File to train on."""
        return self.parts[0] / item.name / LABELLED

    def valid(self, item: MixtureSet) -> Path:
        """File that validates."""
        return self.parts[1] / item.name / LABELLED

    def labels(self, item: MixtureSet) -> str:
        """Method and version of the teacher of the frames to train on; BadInputError where nothing says
        it."""
        from jmp_calc.labelling.teacher_file import told_method

        path = self.train(item).with_name(TEACHER)
        told = told_method(path)
        if told is None:
            raise BadInputError(
                "Nothing says who labelled these frames.",
                where=str(path),
                hint="label them by jmp-calc label, which writes this file",
            )
        return told
