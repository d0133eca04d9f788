"""What the commands about lattice vibrations share: one crystal, perhaps a BORN file, results that a killed
run left."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from .command_run import CommandRun, model_record
from .options import Common

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator

    from ..io.structures import PickedFrame


class LatticeSettings(Protocol):
    """Settings with a BORN file."""

    @property
    def born(self) -> str | None:
        """The file."""

    def to_dict(self) -> dict[str, Any]:
        """All settings by name."""


class LatticeRun(CommandRun):
    """One command about the vibrations of a crystal at work."""

    def __init__(
        self,
        common: Common,
        command: str,
        picked: PickedFrame,
        settings: LatticeSettings,
        *,
        outputs: Sequence[str],
        resume: bool,
    ) -> None:
        super().__init__(
            common,
            command,
            outputs=outputs,
            settings=settings.to_dict(),
            inputs=[picked.path, settings.born],
            resume=resume,
            resume_hint="--resume goes on",
        )
        self._picked, self._born, self._resume = picked, settings.born, resume

    def begin(self) -> Calculator:
        """Record structure, BORN file and model; the calculator."""
        self.add_structure(self._picked)
        if self._born is not None and Path(self._born).is_file():
            self.add_input(self._born)
        calculator = self.common.calculator(self._picked.atoms)
        self.model = model_record(calculator)
        self.say_if_new(self._resume)
        return calculator
