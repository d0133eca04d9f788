"""What the battery found: verdicts, the summary, and a report to read."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...errors import ModelError
from ...io.margins import Margin, margins_svg
from ...io.report import Table, html_report
from ...io.summary import write_text_atomic
from ..common import output_path
from .settings import CheckSettings
from .verdict import Verdict

REPORT, FIGURE = "check.html", "check.svg"
OUTPUTS = (REPORT, FIGURE)


@dataclass(frozen=True)
class CheckResult:
    """Verdicts on one calculator, in the order of the battery."""

    calculator: str
    """Name of the model, or of the class of the calculator."""
    heads: tuple[str, ...]
    """That computed; empty: the calculator has no heads."""
    precision: str
    structures: tuple[str, ...]
    verdicts: tuple[Verdict, ...]
    settings: CheckSettings

    def __repr__(self) -> str:
        counts = Counter(verdict.status for verdict in self.verdicts)
        told = ", ".join(f"{counts[status]} {status}" for status in ("pass", "fail", "not applicable"))
        return f"<CheckResult of {self.calculator}: {told}>"

    @property
    def failed(self) -> tuple[Verdict, ...]:
        """The checks that failed."""
        return tuple(verdict for verdict in self.verdicts if verdict.status == "fail")

    @property
    def passed(self) -> bool:
        """Whether no check failed and at least one applied."""
        return not self.failed and any(verdict.status == "pass" for verdict in self.verdicts)

    def to_dict(self) -> dict[str, Any]:
        """Numbers for summary.yaml."""
        return {
            "passed": self.passed,
            "counts": dict(Counter(verdict.status for verdict in self.verdicts)),
            "calculator": self.calculator,
            "heads": list(self.heads),
            "precision": self.precision,
            "structures": list(self.structures),
            "checks": [asdict(verdict) for verdict in self.verdicts],
        }

    def require_pass(self) -> None:
        """Raise ModelError with the names of what failed, or where nothing applied."""
        if self.passed:
            return
        if not self.failed:
            raise ModelError("No check applies to this calculator.", hint="choose others with --only")
        names = ", ".join(verdict.name for verdict in self.failed)
        raise ModelError(
            f"{len(self.failed)} of {len(self.verdicts)} checks failed: {names}.",
            where=self.calculator,
            hint="the report says at which structure, and what follows from it",
        )

    def write(self, folder: str | os.PathLike[str], *, prefix: str = "") -> list[Path]:
        """Write check.html, which needs nothing beside it, and its figure check.svg; returns their paths."""
        path, picture = (output_path(folder, name, prefix) for name in OUTPUTS)
        figure = margins_svg([Margin(v.name, v.measured, v.limit, v.status) for v in self.verdicts])
        facts = {
            "calculator": self.calculator,
            "heads": ", ".join(self.heads) or "none",
            "precision": self.precision,
            "structures": ", ".join(self.structures),
            "seed": str(self.settings.seed),
        }
        table = Table(
            columns=("verdict", "check", "measured", "limit", "at", "why it matters"),
            rows=tuple(_row(verdict) for verdict in self.verdicts),
            classes=tuple(verdict.status.split()[0] for verdict in self.verdicts),
        )
        counts = Counter(verdict.status for verdict in self.verdicts)
        told = ", ".join(f"{number} {status}" for status, number in counts.items())
        title = f"Physics of {self.calculator}"
        write_text_atomic(path, html_report(title, told, facts, [table], figure=figure))
        write_text_atomic(picture, figure)
        return [path, picture]


def _row(verdict: Verdict) -> tuple[str, ...]:
    measured = "–" if verdict.measured is None else f"{verdict.measured:.2g} {verdict.unit}"
    where = " · ".join(filter(None, [verdict.where, verdict.note]))
    limit = f"{verdict.limit:.0e}" if verdict.limit else "0"
    return (verdict.status, f"{verdict.name}: {verdict.title}", measured, limit, where, verdict.why)
