"""What a campaign knows of each structure: its journal, whose lines are units, asked by structures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..io.journal import Journal
from .plan import Unit


class Answers:
    """The records of structures. One is known by its content: what was computed counts wherever it stands,
    and in whatever company."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._places: dict[str, tuple[str, int]] = {}
        self._last: tuple[str, Any] = ("", None)
        for unit in journal:
            self._note(unit, journal.get(unit))

    def of(self, structure: str) -> Any | None:
        """The last record of a structure by its key; None: there is none."""
        place = self._places.get(structure)
        if place is None:
            return None
        unit, number = place
        if self._last[0] != unit:
            self._last = unit, self._journal.get(unit)
        return self._last[1]["records"][number]

    def known(self, unit: Unit) -> list[Any | None]:
        """The record of each structure of a unit, or None."""
        return [self.of(key) for key in unit.keys]

    def keep(self, unit: Unit, members: Sequence[int], records: Sequence[Any]) -> None:
        """Write the records of some members of a unit, beside what it has already."""
        line: dict[str, Any] = {"structures": list(unit.keys), "records": self.known(unit)}
        for number, record in zip(members, records, strict=True):
            line["records"][number] = record
        self._journal.add(unit.key, line)
        self._last = ("", None)
        self._note(unit.key, line)

    def _note(self, unit: str, line: Any) -> None:
        for number, (structure, record) in enumerate(zip(line["structures"], line["records"], strict=True)):
            if record is not None:
                self._places[structure] = unit, number
