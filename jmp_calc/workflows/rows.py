"""What came out for many structures: a row for each, counted, told and written the same way everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import NotConvergedError
from .outcomes import STATUSES, Row

if TYPE_CHECKING:
    from ase import Atoms

NAMED, LISTED = 5, 100
"""So many structures are named in a message, and listed in summary.yaml."""


@dataclass(frozen=True, eq=False, repr=False)
class Rows:
    """A row for each structure of the input, in its order."""

    rows: tuple[Row, ...]

    @property
    def counts(self) -> dict[str, int]:
        """Structures by status: ok, not-converged, failed."""
        return {status: sum(row.outcome.status == status for row in self.rows) for status in STATUSES}

    @property
    def failed(self) -> tuple[Row, ...]:
        """Those without a result: failed, or not converged."""
        return tuple(row for row in self.rows if row.outcome.status != "ok")

    def told_counts(self) -> str:
        """The counts that are not zero, in words."""
        return ", ".join(f"{count} {status}" for status, count in self.counts.items() if count)

    def numbers(self) -> dict[str, Any]:
        """The counts for summary.yaml."""
        counts = {status.replace("-", "_"): count for status, count in self.counts.items()}
        return {"n_structures": len(self.rows), **counts}

    def reasons(self) -> list[dict[str, Any]]:
        """Why the first of ``failed`` have no result, for summary.yaml."""
        return [
            {"name": row.name, "status": row.outcome.status, "error": row.outcome.error}
            for row in self.failed[:LISTED]
        ]

    def frames(self, words: str) -> list[Atoms]:
        """The structures that did not fail, with where they come from as WORDS_number, WORDS_file and the
        like."""
        return [_frame(row, words) for row in self.rows if row.outcome.status != "failed"]

    def refuse(self, bad: Sequence[Row], hint: str) -> None:
        """Raise NotConvergedError with the first names and a reason, if there are ``bad`` ones."""
        if not bad:
            return
        told = f"{bad[0].name}: {bad[0].outcome.error}"
        told += "".join(f"; {row.name}" for row in bad[1:NAMED])
        more = f"; and {len(bad) - NAMED} more" if len(bad) > NAMED else ""
        raise NotConvergedError(
            f"{len(bad)} of {len(self.rows)} structures failed or did not converge.",
            where=told + more,
            hint=hint,
        )


def _frame(row: Row, words: str) -> Atoms:
    assert row.outcome.atoms is not None
    atoms = row.outcome.atoms.copy()
    atoms.calc = row.outcome.atoms.calc
    atoms.info |= {f"{words}_number": row.number, f"{words}_status": row.outcome.status}
    atoms.info |= {f"{words}_file": row.file, f"{words}_frame": row.frame} if row.file else {}
    return atoms
