"""Our own models as teachers, to distil a large one: whatever JMPCalculator takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...errors import UsageError
from ...model.elements import SYMBOLS
from ..labels import Batches, Labels, TeacherFacts, TeacherSpec

if TYPE_CHECKING:
    from ase import Atoms

TOGETHER = Batches(frames=32, atoms=1024)


class Jmp:
    """One head of a model, in batches."""

    def __init__(self, spec: TeacherSpec) -> None:
        """The errors of JMPCalculator; UsageError where one of several heads must be chosen."""
        from ...calculator import JMPCalculator

        self._calculator = JMPCalculator(spec.name, head=spec.head, device=spec.device, dtype=spec.dtype)
        info = self._calculator.info
        if spec.head is None and len(info.heads) > 1:
            names = ", ".join(head.name for head in info.heads)
            fact = f"{info.name} has several heads, and labels are of one level of theory."
            raise UsageError(fact, where="--head", hint=f"choose from {names}")
        level = info.level_of_theory or "unknown level"
        self.facts = TeacherFacts(
            method=f"{info.name} {info.head} ({level})",
            version=f"{info.dtype}, weights sha256:{info.sha256[:12]}",
            elements=tuple(map(SYMBOLS.index, info.elements)) if info.elements else None,
            batches=TOGETHER,
        )

    def label(self, frames: Sequence[Atoms]) -> list[Labels]:
        """Labels of each structure."""
        answers: dict[int, Labels] = {}
        for crystals, wanted in ((False, ("energy", "forces")), (True, ("energy", "forces", "stress"))):
            own = [number for number, atoms in enumerate(frames) if atoms.pbc.all() == crystals]
            found = self._calculator.batch([frames[number] for number in own], wanted)
            for number, results in zip(own, found):
                answers[number] = Labels(float(results["energy"]), results["forces"], results.get("stress"))
        return [answers[number] for number in range(len(frames))]
