"""The label audit without a training: what is in files, what is wrong with it, and a report to read.

report = check_data("train.extxyz", valid="valid.extxyz")
report.passed, report.audit.findings, report.write("report")
"""

from __future__ import annotations

import math
import os
from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from jmp_calc.io.outdir import with_prefix
from jmp_calc.io.report import Table, html_report
from jmp_calc.io.summary import write_text_atomic
from jmp_calc.model.elements import symbols

from ..data.frame import LabelledSet
from ..data.keys import LabelKeys
from ..data.label_units import LabelUnits
from ..data.labels import read_labelled
from ..data.references import References, fit_references
from ..data.sources import Labelled, read_each, sources
from .audit import AuditReport, audit, check_codes
from .findings import Finding

REPORT = "data.html"
OUTPUTS = (REPORT,)


@dataclass(frozen=True)
class DataReport:
    """What the audit says of labelled structures."""

    audit: AuditReport
    messages: tuple[str, ...]
    """What was read: keys, isolated atoms, units."""
    name: str
    """Of the files."""

    def __repr__(self) -> str:
        errors, warnings = len(self.audit.errors), len(self.audit.warnings)
        return f"<DataReport of {self.name}: {errors} errors, {warnings} warnings>"

    @property
    def passed(self) -> bool:
        """Whether a training would accept the data."""
        return not self.audit.errors

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for summary.yaml."""
        return {"passed": self.passed, "messages": list(self.messages), **self.audit.to_dict()}

    def require_pass(self) -> None:
        """Raise BadInputError with the first error where there is one."""
        self.audit.raise_if_refused()

    def write(self, folder: str | os.PathLike[str], *, prefix: str = "") -> list[Path]:
        """Write data.html, one file without anything beside it; returns its path."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        path = Path(folder) / with_prefix(REPORT, prefix)
        errors, warnings = len(self.audit.errors), len(self.audit.warnings)
        lead = f"{errors} errors, {warnings} warnings"
        facts = {"read": " · ".join(self.messages)} if self.messages else {}
        write_text_atomic(path, html_report(f"Labels of {self.name}", lead, facts, self._tables()))
        return [path]

    def _tables(self) -> list[Table]:
        findings = self.audit.findings
        found = Table(
            columns=("severity", "code", "what", "where", "what to do"),
            rows=tuple((f.severity, f.code, f.message, f.where, f.hint) for f in findings)
            or (("none", "", "Nothing was found.", "", ""),),
            classes=tuple(f.severity for f in findings) or ("pass",),
            title="Findings",
        )
        parts = {"training": self.audit.train, "validation": self.audit.valid, "test": self.audit.test}
        kept = {name: part for name, part in parts.items() if part.frames}
        rows = [(label, *(text(part) for part in kept.values())) for label, text in _FACTS.items()]
        return [found, Table(columns=("", *kept), rows=rows, title="Frames")]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


_FACTS = {
    "frames": lambda part: str(part.frames),
    "atoms": lambda part: str(part.atoms),
    "with energy": lambda part: str(part.with_energy),
    "with forces": lambda part: str(part.with_forces),
    "with stress": lambda part: str(part.with_stress),
    "elements": lambda part: " ".join(symbols(set(part.elements))),
    "groups": lambda part: ", ".join(f"{group} {count}" for group, count in part.groups.items()),
    "mean energy, eV/atom": lambda part: _number(part.energy_mean_ev_per_atom),
    "its standard deviation, eV/atom": lambda part: _number(part.energy_std_ev_per_atom),
    "root mean square force, eV/Å": lambda part: _number(part.force_rms_ev_per_a),
    "largest force, eV/Å": lambda part: _number(part.force_max_ev_per_a),
}
"""What the report says of each part, in the order of the table."""


def check_data(
    data: Labelled,
    *,
    valid: Labelled | None = None,
    test: Labelled | None = None,
    index: str = ":",
    keys: LabelKeys = LabelKeys(),
    units: LabelUnits = LabelUnits(),
    allow: Collection[str] = (),
    allow_truncated: bool = False,
    out: str | os.PathLike[str] | None = None,
) -> DataReport:
    """Read labelled structures and examine them as ``finetune`` does before it trains.

    Args:
        data: file, folder or pattern, several of them, or structures that carry labels.
        valid: validation data, whose copies among the training data are errors. Default: None.
        test: test data, the same. Default: None.
        index: frames of every file of training data, as ASE counts them. Default: ":".
        keys: names of the labels; found automatically where none are given. Default: LabelKeys().
        units: units of files that are not in eV and Å. Default: LabelUnits().
        allow: codes of findings that are accepted: their errors become warnings. Default: ().
        allow_truncated: drop an incomplete last frame of an extended XYZ file. Default: False.
        out: folder for data.html; nothing is written without one. Default: None.

    Returns:
        DataReport; look at ``passed``, nothing is raised for what the audit finds.

    Raises:
        BadInputError: files that cannot be read. UsageError: an unknown code.
    """
    check_codes(allow)
    read = partial(
        read_labelled,
        keys=keys,
        units=units,
        allow_truncated=allow_truncated,
        require=(),
        other_states="not_neutral" in allow,
    )
    given = sources(data)
    parts = [read_each(given, partial(read, index=index)), *map(partial(_read, read=read), (valid, test))]
    references = _references(parts[0])
    report = audit(
        *(part.frames for part in parts),
        require=("energy", "forces"),
        allow=allow,
        need_validation=valid is not None,
        lone_atoms=None if references is None else references.lone_atoms,
    )
    if references is not None and references.unused is not None:
        report = replace(report, findings=(*report.findings, _unused(references.unused)))
    messages = tuple(dict.fromkeys(message for part in parts for message in part.messages))
    result = DataReport(report, messages, given.name)
    if out is not None:
        result.write(out)
    return result


def _read(given: Labelled | None, read: Any) -> LabelledSet:
    return LabelledSet(()) if given is None else read_each(sources(given), read)


def _references(part: LabelledSet) -> References | None:
    """What a training would refer to; None: there are no isolated atoms."""
    frames = [f for f in part.frames if f.energy is not None and math.isfinite(f.energy)]
    return fit_references(frames, part.isolated) if part.isolated and frames else None


def _unused(problem: str) -> Finding:
    return Finding(
        "warning",
        "unbound",
        f"The isolated atoms of the data cannot be used: {problem}.",
        "isolated atoms",
        "They, or the energies, have another zero; without them a training refers to least squares.",
    )
