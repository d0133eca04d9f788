"""The label audit: runs before training, refuses what cannot be right, warns of what may not be.

Every finding has a code; a user who knows better passes the code in ``allow`` and the error becomes a
warning.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

import numpy as np

from jmp_calc.errors import BadInputError, UsageError

from ..data.copies import NEAR, find_matches, is_copy
from ..data.frame import Frame
from .agreement import check_agreement
from .energies import check_binding, check_energies
from .findings import Code, Finding
from .labels import check_forces, check_labels, check_target
from .outliers import check_frames

NEVER_ALLOWED = frozenset({"not_finite", "too_few_frames", "no_training_frames"})
"""Findings with which no step can be taken."""
FEW_FRAMES = 10
"""Below this many labelled frames neither the fit nor its errors mean much."""


@dataclass(frozen=True)
class SetSummary:
    """What one part of the data contains."""

    frames: int
    atoms: int
    with_energy: int
    with_forces: int
    with_stress: int
    elements: tuple[int, ...]
    groups: dict[str, int]
    """Frames per ``config_type``."""
    energy_mean_ev_per_atom: float | None
    energy_std_ev_per_atom: float | None
    force_rms_ev_per_a: float | None
    force_max_ev_per_a: float | None


@dataclass(frozen=True)
class AuditReport:
    """Findings of the audit (errors first) and a summary of each part."""

    findings: tuple[Finding, ...]
    train: SetSummary
    valid: SetSummary
    test: SetSummary

    @property
    def errors(self) -> tuple[Finding, ...]:
        """Findings that stop the training."""
        return tuple(finding for finding in self.findings if finding.severity == "error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """Findings to read."""
        return tuple(finding for finding in self.findings if finding.severity == "warning")

    def to_dict(self) -> dict[str, Any]:
        """Plain dict for ``report.yaml``."""
        result = asdict(self)
        for part in ("train", "valid", "test"):
            result[part]["elements"] = list(result[part]["elements"])
        result["findings"] = [asdict(finding) for finding in self.findings]
        return result

    def raise_if_refused(self) -> None:
        """BadInputError with the first error (and the number of further ones) if there is one."""
        if not self.errors:
            return
        first, more = self.errors[0], self.errors[1:]
        fact = first.message
        if more:
            fact += f" (and {len(more)} more: {', '.join(finding.code for finding in more)})"
        way_out = (
            ""
            if first.code in NEVER_ALLOWED
            else f" If the data are right, repeat with --allow {first.code}."
        )
        hint = f"{first.hint}{way_out}".strip()
        raise BadInputError(fact, where=first.where or None, hint=hint)


def check_codes(allow: Collection[str]) -> None:
    """UsageError for a code that no finding can have."""
    unknown = sorted(set(allow) - set(get_args(Code)))
    if unknown:
        raise UsageError(
            f"No finding of the audit has the code {unknown[0]!r}.",
            where="--allow",
            hint=f"its codes are {', '.join(sorted(set(get_args(Code)) - NEVER_ALLOWED))}",
        )


def audit(
    train: Sequence[Frame],
    valid: Sequence[Frame] = (),
    test: Sequence[Frame] = (),
    *,
    require: Collection[str] = ("energy", "forces"),
    allow: Collection[str] = (),
    target: str | None = None,
    batch_structures: int | None = None,
    need_validation: bool = True,
    lone_atoms: Mapping[int, float] | None = None,
) -> AuditReport:
    """Examine labelled frames before training.

    Args:
        train: training frames.
        valid: validation frames.
        test: test frames, possibly none.
        require: labels that will be trained on.
        allow: codes of findings that are accepted: their errors become warnings.
        target: scalar that will be trained on; every frame has it.
        batch_structures: intended structures per batch, if fixed.
        need_validation: whether an empty validation set is an error.
        lone_atoms: energies of isolated atoms by atomic number, eV, of all elements in ``train``; None: not
            known.
    """
    findings = _counts(train, valid, batch_structures, need_validation)
    if train:
        everything = [*train, *valid, *test]
        findings += check_labels(everything, require)
        findings += [] if target is None else check_target(everything, target)
        if not findings or all(f.code != "not_finite" for f in findings):
            findings += check_forces(train)
            findings += check_energies(train, valid, test)
            findings += [] if lone_atoms is None else check_binding(train, lone_atoms)
            findings += check_agreement(everything)
            findings += check_frames(everything)
        findings += _unseen_elements(train, valid, test)
        findings += _duplicates(train, valid, test)
    allowed = set(allow) - NEVER_ALLOWED
    findings = [replace(f, severity="warning") if f.code in allowed else f for f in findings]
    findings.sort(key=lambda finding: finding.severity != "error")
    return AuditReport(tuple(findings), _summary(train), _summary(valid), _summary(test))


def _counts(
    train: Sequence[Frame], valid: Sequence[Frame], batch: int | None, need_validation: bool
) -> list[Finding]:
    found = []
    if len(train) + len(valid) < 2:
        found.append(
            Finding(
                "error",
                "too_few_frames",
                f"Too few frames: {len(train) + len(valid)}.",
                "",
                "Fine-tuning needs at least two, and some tens to be of use.",
            )
        )
    elif not train:
        found.append(
            Finding(
                "error", "no_training_frames", "There are no training frames.", "", "Lower --valid-fraction."
            )
        )
    elif not valid and need_validation:
        found.append(
            Finding(
                "error",
                "no_validation_frames",
                "The validation set is empty.",
                "",
                "Give --valid FILE, or a --valid-fraction that leaves at least one frame.",
            )
        )
    elif len(train) + len(valid) < FEW_FRAMES:
        found.append(
            Finding(
                "warning",
                "few_frames",
                f"Training with {len(train)} and validation with {len(valid)} frames says little.",
                "",
                "Label some tens of frames, and test on others with --test.",
            )
        )
    if batch is not None and 0 < len(train) < batch:
        found.append(
            Finding(
                "warning",
                "fewer_than_batch",
                f"{len(train)} training frames are fewer than the batch of {batch}.",
                "",
                "Every step uses all frames; choose a smaller batch.",
            )
        )
    return found


def _unseen_elements(train: Sequence[Frame], valid: Sequence[Frame], test: Sequence[Frame]) -> list[Finding]:
    from jmp_calc.model.elements import symbol

    known = {int(z) for frame in train for z in np.unique(frame.numbers)}
    found = []
    for name, frames in (("validation", valid), ("test", test)):
        new: Counter[int] = Counter()
        first: dict[int, str] = {}
        for frame in frames:
            for z in set(np.unique(frame.numbers).tolist()) - known:
                new[z] += 1
                first.setdefault(z, frame.where)
        if new:
            listed = ", ".join(f"{symbol(z)} ({n} frames)" for z, n in sorted(new.items()))
            found.append(
                Finding(
                    "error",
                    "unseen_element",
                    f"Elements in the {name} set but not in training: {listed}.",
                    first[min(new)],
                    "Add training frames with them, or remove these frames.",
                )
            )
    return found


def _duplicates(train: Sequence[Frame], valid: Sequence[Frame], test: Sequence[Frame]) -> list[Finding]:
    found: list[Finding] = []
    pairs: tuple[tuple[str, Sequence[Frame], Sequence[Frame], Literal["error", "warning"]], ...] = (
        ("validation", valid, train, "error"),
        ("test", test, train, "error"),
        ("test", test, valid, "warning"),
    )
    for name, part, other, severity in pairs:
        if not part or not other:
            continue
        against = "training" if other is train else "validation"
        matches = find_matches(part, other, NEAR)
        copies = [m for m in matches if m.exact and is_copy(part[m.a], other[m.b])]
        near = [m for m in matches if m not in copies]
        if copies:
            m = copies[0]
            found.append(
                Finding(
                    severity,
                    "duplicates",
                    f"{len(copies)} of {len(part)} {name} frames are also {against} frames.",
                    f"{part[m.a].where} = {other[m.b].where}",
                    "Remove them from one of the two; they measure nothing.",
                )
            )
        if near:
            m = near[0]
            twins = sum(match.exact for match in near)
            found.append(
                Finding(
                    "warning",
                    "near_duplicates",
                    f"{len(near)} of {len(part)} {name} frames are within {NEAR} Å of a {against} frame "
                    f"({twins} of them equal up to rotation or reflection): errors will look too small.",
                    f"{part[m.a].where} ~ {other[m.b].where}",
                    "Split by trajectory or by config_type.",
                )
            )
    repeated = _repeated(train)
    if repeated:
        i, j = repeated[0]
        found.append(
            Finding(
                "warning",
                "repeated_frames",
                f"{len(repeated)} training frames occur more than once.",
                f"{train[i].where} = {train[j].where}",
                "They count double; remove them if not meant.",
            )
        )
        unequal = [(i, j) for i, j in repeated if _contradict(train[i], train[j])]
        if unequal:
            i, j = unequal[0]
            found.append(
                Finding(
                    "error" if len(unequal) > 0.02 * len(train) + 1 else "warning",
                    "contradicting_labels",
                    f"{len(unequal)} training frames have the same geometry as another and different "
                    "energies "
                    f"({train[i].energy:.4f} and {train[j].energy:.4f} eV).",
                    f"{train[i].where}, {train[j].where}",
                    "Data of two methods are mixed, or a calculation failed.",
                )
            )
    return found


def _repeated(frames: Sequence[Frame]) -> list[tuple[int, int]]:
    """Later copies of a frame and the first occurrence, literally equal to 1e-4 Å in the same order of
    atoms."""

    def rounded(values: np.ndarray) -> bytes:
        return (np.round(values, 4) + 0.0).tobytes()  # -0.0 is zero, too

    first: dict[bytes, int] = {}
    pairs = []
    for i, frame in enumerate(frames):
        key = frame.numbers.tobytes() + rounded(frame.positions) + rounded(frame.cell) + frame.pbc.tobytes()
        if first.setdefault(key, i) != i:
            pairs.append((i, first[key]))
    return pairs


def _contradict(one: Frame, other: Frame) -> bool:
    if one.energy is None or other.energy is None:
        return False
    return abs(one.energy - other.energy) > 0.01 * one.n_atoms


def _summary(frames: Sequence[Frame]) -> SetSummary:
    energies = np.array(
        [f.energy / f.n_atoms for f in frames if f.energy is not None and np.isfinite(f.energy)]
    )
    forces = [f.forces for f in frames if f.forces is not None and np.isfinite(f.forces).all()]
    stacked = np.concatenate(forces) if forces else np.zeros((0, 3))
    return SetSummary(
        frames=len(frames),
        atoms=sum(f.n_atoms for f in frames),
        with_energy=sum(f.energy is not None for f in frames),
        with_forces=sum(f.forces is not None for f in frames),
        with_stress=sum(f.stress is not None for f in frames),
        elements=tuple(sorted({int(z) for f in frames for z in np.unique(f.numbers)})),
        groups=dict(Counter(f.group for f in frames)),
        energy_mean_ev_per_atom=float(energies.mean()) if len(energies) else None,
        energy_std_ev_per_atom=float(energies.std()) if len(energies) else None,
        force_rms_ev_per_a=float(np.sqrt(np.mean(stacked**2))) if len(stacked) else None,
        force_max_ev_per_a=float(np.linalg.norm(stacked, axis=1).max()) if len(stacked) else None,
    )
