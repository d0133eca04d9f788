"""From answers to the labelled file: every frame in the order of the input, or why it is left out."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..io.atomic import replacing
from ..io.structures import NamedFrame
from ..io.write import write_extxyz
from ..model.elements import symbol
from ..workflows.common import drop_labels
from .labels import Labels, Refusal, TeacherFacts
from .plan import ISOLATED, Window, is_isolated
from .store import Store

if TYPE_CHECKING:
    from ase import Atoms

LABELLED, LEFT_OUT = "labelled.extxyz", "left_out.csv"
COLUMNS = ("file", "frame", "sample_id", "formula", "kind", "reason")
KINDS = {
    "refused": "the teacher does not take them",
    "failed": "the teacher failed or gave no numbers",
    "timeout": "no answer in time",
    "crashed": "the process of the teacher ended",
    "force": "a force above the limit",
    "spread": "the networks of the ensemble disagree",
}
"""Why a frame is left out."""
_SPREADS = ("energy_spread", "forces_spread")
"""Entries of ``info`` with what the networks of an ensemble differ by."""


@dataclass(frozen=True)
class Limits:
    """What is left out although it has labels."""

    max_force: float | None
    """Longest force on an atom, eV/Å."""
    max_spread: float | None
    """``forces_spread`` of an ensemble, eV/Å."""


@dataclass(eq=False)
class Outcome:
    """What came out of a run so far."""

    frames: int = 0
    """Labelled frames of the input."""
    isolated: dict[str, float] = field(default_factory=dict)
    """Energies of the free atoms, eV, by symbol."""
    added: int = 0
    """Isolated atoms that the input has not."""
    left_out: Counter[str] = field(default_factory=Counter)
    """Frames by the kind of reason."""
    elements: Counter[str] = field(default_factory=Counter)
    """Labelled frames that hold an element."""
    examples: dict[str, str] = field(default_factory=dict)
    """The first reason of each kind."""
    replaced: Counter[str] = field(default_factory=Counter)
    """Labelled frames that had a label of another method in ``info`` or ``arrays``, by its key."""
    without_spread: int = 0
    """Labelled frames without a spread where a limit was asked for."""


def finish(
    windows: Iterable[Window], store: Store, facts: TeacherFacts, limits: Limits, paths: tuple[Path, Path]
) -> Outcome:
    """Write the labelled frames and the list of those left out, each file whole or not at all."""
    outcome = Outcome()
    with (
        replacing(paths[0]) as labelled,
        replacing(paths[1]) as left_out,
        open(labelled, "w", encoding="utf-8") as frames,
        open(left_out, "w", encoding="utf-8", newline="") as table,
    ):
        rows = csv.writer(table)
        rows.writerow(COLUMNS)
        for window in windows:
            for frame, answer in _answered(window, store):
                refusal = answer if isinstance(answer, Refusal) else _beyond(answer, limits, frame.atoms)
                if refusal is not None:
                    outcome.left_out[refusal.kind] += 1
                    outcome.examples.setdefault(refusal.kind, refusal.reason)
                    rows.writerow(_row(frame, refusal))
                elif isinstance(answer, Labels):
                    _count(outcome, frame.atoms, answer, limits, added=window.added)
                    out = frame.atoms.copy()
                    outcome.replaced.update(drop_labels(out))
                    write_extxyz(frames, [_labelled(out, answer, facts)])
    return outcome


def _answered(window: Window, store: Store) -> Iterator[tuple[NamedFrame, Labels | Refusal]]:
    """The frames of a window in order, with their answers."""
    answers: dict[int, Labels | Refusal] = {
        place: Refusal(reason, "refused") for place, reason in window.refused.items()
    }
    for batch in window.batches:
        answers |= dict(zip(batch.places, store.answers(batch.key), strict=True))
    for place, frame in enumerate(window.frames):
        yield frame, answers[place]


def _beyond(labels: Labels, limits: Limits, atoms: Atoms) -> Refusal | None:
    """Why labels are not wanted; None: they are. Free atoms are always wanted."""
    if is_isolated(atoms):
        return None
    largest = float(np.linalg.norm(labels.forces, axis=1).max(initial=0.0))
    if limits.max_force is not None and largest > limits.max_force:
        return Refusal(f"the largest force is {largest:.4g} eV/Å", "force")
    spread = labels.forces_spread
    if limits.max_spread is not None and spread is not None and spread > limits.max_spread:
        return Refusal(f"the spread of the forces is {spread:.4g} eV/Å", "spread")
    return None


def _count(outcome: Outcome, atoms: Atoms, labels: Labels, limits: Limits, *, added: bool) -> None:
    outcome.frames += not added
    outcome.added += added
    outcome.without_spread += limits.max_spread is not None and labels.forces_spread is None
    outcome.elements.update(map(symbol, sorted(set(atoms.numbers.tolist()))))
    if is_isolated(atoms):
        outcome.isolated[symbol(int(atoms.numbers[0]))] = labels.energy


def _labelled(atoms: Atoms, labels: Labels, facts: TeacherFacts) -> Atoms:
    """The structure, which has no labels, with these and where they come from."""
    from ase.calculators.singlepoint import SinglePointCalculator

    atoms.info |= {"method": facts.method, "method_version": facts.version}
    if is_isolated(atoms):
        atoms.info.setdefault("sample_kind", ISOLATED)
    for name in _SPREADS:
        atoms.info.pop(name, None)
        if (spread := getattr(labels, name)) is not None:
            atoms.info[name] = spread
    stress = {} if labels.stress is None else {"stress": labels.stress}
    atoms.calc = SinglePointCalculator(atoms, energy=labels.energy, forces=labels.forces, **stress)
    return atoms


def _row(frame: NamedFrame, refusal: Refusal) -> tuple[object, ...]:
    atoms = frame.atoms
    name = atoms.info.get("sample_id", "")
    return frame.spec, frame.number, name, atoms.get_chemical_formula(), refusal.kind, refusal.reason
