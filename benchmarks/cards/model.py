"""The model that a card is made for: its calculators, and which of its heads stands for a level of theory."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jmp_calc import JMPCalculator
from jmp_calc.model.config import HeadConfig

CRYSTALS = "PBE crystals"
LEVELS = {
    "wB97X molecules": ("wb97x-ani2x", "wb97m-d3", "wb97x"),
    CRYSTALS: ("pbe-u", "pbe"),
}
"""Heads that stand for a level of theory, the right one first; models without it fall back, and say so. Of
jmp-xs-v1 that is wb97m-d3, the only one of its heads for molecules with some skill."""


@dataclass(frozen=True)
class Head:
    """The head of a section."""

    name: str
    note: str
    """Empty: it is of the level of theory that was asked for."""

    def row(self) -> dict[str, Any]:
        """What a row says of it."""
        return {"head": self.name} | ({"note": self.note} if self.note else {})


@dataclass(frozen=True)
class CardModel:
    """One model file and the folders of the program."""

    path: str
    data: Path
    """Data sets with DFT labels."""
    work: Path
    """Runs of dynamics, which go on after a stop."""
    crystal_head: str | None = None
    """Stands for the level of theory of crystals; None: that of ``LEVELS``."""

    @functools.cached_property
    def heads(self) -> tuple[HeadConfig, ...]:
        """All that give energies."""
        return tuple(head for head in self._any.info.heads if head.kind == "energy")

    @property
    def sha256(self) -> str:
        """Of the file."""
        return self._any.info.sha256

    def head(self, level: str) -> Head | None:
        """The head that stands for a level of theory; None where the model has none."""
        names = {head.name for head in self.heads}
        right, *_ = LEVELS[level]
        if level == CRYSTALS and self.crystal_head is not None:
            return Head(self.crystal_head, f"instead of {right}")
        for name in LEVELS[level]:
            if name in names:
                return Head(name, "" if name == right else f"there is no head {right}")
        return None

    def config(self, name: str) -> HeadConfig:
        """The description of a head."""
        return next(head for head in self.heads if head.name == name)

    def calculator(self, head: str, *, dtype: str = "float32") -> JMPCalculator:
        """A calculator of one head."""
        return JMPCalculator(self.path, head=head, dtype=dtype)

    def compiled(self, head: str) -> JMPCalculator:
        """The same for long runs, compiled once."""
        return self._compiled.setdefault(head, JMPCalculator(self.path, head=head, compile=True))

    @functools.cached_property
    def _compiled(self) -> dict[str, JMPCalculator]:
        return {}

    @functools.cached_property
    def _any(self) -> JMPCalculator:
        return JMPCalculator(self.path)  # without a head: a file may have two defaults


def knows(head: HeadConfig, numbers: Any) -> bool:
    """Whether a head was trained on all these elements (atomic numbers)."""
    return head.elements is None or set(map(int, numbers)) <= set(head.elements)


def of_molecules(head: HeadConfig) -> bool:
    """Whether a head says that it knows molecules, or does not say what it knows."""
    return not head.domain or "molecules" in head.domain
