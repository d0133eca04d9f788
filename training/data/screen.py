"""What every frame of a data set must be before it is trained on (``datasets.md`` section 0.4).

A bad frame is an error, or is left out and counted; it is never replaced by another one.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from jmp_calc.checks import TOO_CLOSE, check_structure, closest_pair
from jmp_calc.errors import BadInputError, BadStructureError, JMPWarning

from .frame import Frame

OnBad = Literal["skip", "fail"]
MAX_FORCE = 1000.0
"""eV/Å: a larger force is a failed calculation."""
MAX_Z = 118


@dataclass
class Screen:
    """Decides which frames are used and counts the others by reason."""

    on_bad: OnBad = "fail"
    min_atoms: int = 1
    """Smaller frames are left out and counted, whatever ``on_bad`` says (4 in pre-training: quadruplets)."""
    max_force: float = MAX_FORCE
    counts: Counter[str] = field(default_factory=Counter)

    def frames(self, source: Iterable[Frame]) -> Iterator[Frame]:
        """The good frames of ``source``, one after the other."""
        return (frame for frame in source if self.accepts(frame))

    def accepts(self, frame: Frame) -> bool:
        """Whether a frame is used; BadInputError for a bad one with ``on_bad="fail"``."""
        if frame.n_atoms < self.min_atoms:
            self.counts["few atoms"] += 1
            return False
        found = find_fault(frame, self.max_force)
        if found is None:
            return True
        reason, fact = found
        if self.on_bad == "fail":
            raise BadInputError(fact, where=frame.where, hint="leave such frames out with --on-bad skip")
        self.counts[reason] += 1
        return False

    def message(self) -> str | None:
        """How many frames were left out for which reason; None if none was."""
        if not self.counts:
            return None
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(self.counts.items()))
        return f"{sum(self.counts.values())} frames left out: {reasons}"


def refuse_unsound(frame: Frame) -> None:
    """BadStructureError, naming the frame, for a structure that no model can evaluate: no or ghost atoms, a
    zero or flat cell, two atoms at one place."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", JMPWarning)
        try:
            check_structure(frame.numbers, frame.positions, frame.cell, frame.pbc, num_elements=MAX_Z)
        except BadStructureError as error:
            raise BadStructureError(error.fact, where=frame.where, hint=error.hint) from error


def find_fault(frame: Frame, max_force: float = MAX_FORCE) -> tuple[str, str] | None:
    """Reason (a few words, for counting) and fact (a sentence) why a frame cannot be used, or None."""
    n = frame.n_atoms
    if frame.positions.shape != (n, 3):
        return "shape", f"The positions have shape {frame.positions.shape} for {n} atoms."
    if frame.forces is not None and frame.forces.shape != (n, 3):
        return "shape", f"The forces have shape {frame.forces.shape} for {n} atoms."
    for name, column in (("tags", frame.tags), ("fixed", frame.fixed)):
        if column is not None and column.shape != (n,):
            return "shape", f"The column {name} has shape {column.shape} for {n} atoms."
    if frame.stress is not None and frame.stress.shape != (3, 3):
        return "shape", f"The stress has shape {frame.stress.shape}, not (3, 3)."
    if frame.energy is not None and not np.isfinite(frame.energy):
        return "energy not finite", f"The energy is {frame.energy}."
    if frame.forces is not None:
        if not np.isfinite(frame.forces).all():
            return "force not finite", f"A force is not finite (atom {_first_bad(frame.forces)})."
        largest = float(np.linalg.norm(frame.forces, axis=1).max(initial=0.0))
        if largest > max_force:
            return "large force", f"A force of {largest:.4g} eV/Å is above {max_force:g} eV/Å."
    if frame.stress is not None and not np.isfinite(frame.stress).all():
        return "stress not finite", "The stress is not finite."
    targets: dict[str, float | np.ndarray] = {**frame.targets, **frame.vectors}
    for name, value in targets.items():
        if not np.isfinite(value).all():
            return f"{name} not finite", f"The target {name} is {value}."
    try:
        refuse_unsound(frame)  # close atoms are judged below
    except BadStructureError as error:
        return "structure", error.fact
    closest = closest_pair(frame.positions, frame.cell, frame.pbc, below=TOO_CLOSE)
    if closest is not None:
        i, j, distance = closest
        return "close atoms", f"Atoms {i} and {j} are {distance:.3f} Å apart."
    return None


def _first_bad(forces: np.ndarray) -> int:
    return int(np.flatnonzero(~np.isfinite(forces).all(axis=1))[0])
