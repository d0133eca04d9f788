"""What a teacher is, and what it says of a structure.

This file is read by the interpreter of the teacher too: it needs numpy and ASE, nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

if TYPE_CHECKING:
    from ase import Atoms

Domain = Literal["any", "molecules", "crystals"]
CHARGE, UNPAIRED = "charge", "unpaired_electrons"
"""Keys of ``info`` under which a teacher finds the total charge and, where it is given, the spin."""


@dataclass(frozen=True, eq=False)
class Labels:
    """What a teacher says of one structure of N atoms."""

    energy: float
    """eV; the one that the forces are the derivative of."""
    forces: np.ndarray
    """(N, 3), eV/Å, without constraints."""
    stress: np.ndarray | None = None
    """(6,), eV/Å^3, Voigt order xx yy zz yz xz xy, ASE's sign; None without a periodic cell."""
    energy_spread: float | None = None
    """Standard deviation of the members of an ensemble, eV."""
    forces_spread: float | None = None
    """Mean over atoms of the length of the standard deviation of their force, eV/Å."""


@dataclass(frozen=True)
class Refusal:
    """Why a teacher gives no labels for a structure."""

    reason: str
    kind: str = "failed"
    """failed, timeout or crashed."""


@dataclass(frozen=True)
class Batches:
    """How many structures a teacher takes at once; they are sorted by size, so that padding costs little."""

    frames: int = 1
    atoms: int | None = None
    """Atoms of all of them; None: any number."""


@dataclass(frozen=True)
class TeacherFacts:
    """What is known of a teacher once it is loaded."""

    method: str
    """Level of theory of the labels: ``info["method"]`` of every frame."""
    version: str
    """Program, weights and settings that decide the numbers: ``info["method_version"]``."""
    elements: tuple[int, ...] | None = None
    """Atomic numbers that it knows; None: it says so itself, frame by frame."""
    batches: Batches = field(default_factory=Batches)
    takes_charge: bool = False
    """Whether it honours CHARGE and UNPAIRED; others get neutral structures in their lowest spin only."""
    domain: Domain = "any"
    """What it labels; isolated atoms mean nothing to a teacher of crystals."""

    def to_dict(self) -> dict[str, Any]:
        """Plain types for the pipe."""
        return {
            "method": self.method,
            "version": self.version,
            "elements": None if self.elements is None else list(self.elements),
            "batches": [self.batches.frames, self.batches.atoms],
            "takes_charge": self.takes_charge,
            "domain": self.domain,
        }

    @staticmethod
    def from_dict(plain: Mapping[str, Any]) -> TeacherFacts:
        """The reverse of ``to_dict``."""
        elements = plain["elements"]
        return TeacherFacts(
            method=plain["method"],
            version=plain["version"],
            elements=None if elements is None else tuple(elements),
            batches=Batches(*plain["batches"]),
            takes_charge=plain["takes_charge"],
            domain=plain["domain"],
        )


class Teacher(Protocol):
    """Labels structures; ``package.module:factory`` may return one instead of an ASE calculator."""

    @property
    def facts(self) -> TeacherFacts:
        """What is known of it."""
        ...

    def label(self, frames: Sequence[Atoms]) -> Sequence[Labels | Refusal]:
        """Labels of each structure, in order; an exception of a batch is followed by its frames one by
        one."""
        ...


@dataclass(frozen=True)
class TeacherSpec:
    """Which teacher, in words: what a worker needs to make it."""

    name: str
    """tblite, ani2x, nequix, chgnet, sevennet, ``package.module:factory``, or name or file of a JMP model."""
    method: str | None = None
    """Method of a teacher that has several, or what the labels of a factory are called."""
    weights: str | None = None
    """File or folder of weights."""
    head: str | None = None
    """Head of a JMP model, or modality of a SevenNet model."""
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of a factory."""
    device: str = "auto"
    dtype: str = "float32"
    scratch: str = "."
    """Folder for the files of calculators that write some."""


def checked(answer: Labels | Refusal, n_atoms: int, *, periodic: bool) -> Labels | Refusal:
    """The answer, or a refusal where it holds what is no label: NaN, wrong shapes; stress only with a
    periodic cell."""
    if isinstance(answer, Refusal):
        return answer
    forces = np.asarray(answer.forces, dtype=float)
    if forces.shape != (n_atoms, 3):
        return Refusal(f"forces of shape {forces.shape} for {n_atoms} atoms")
    bad = int((~np.isfinite(forces)).any(axis=1).sum())
    if bad:
        return Refusal(f"the forces of {bad} of {n_atoms} atoms are not finite")
    if np.ndim(answer.energy) or not np.isfinite(answer.energy):
        return Refusal(f"the energy is {answer.energy}")
    stress = None if answer.stress is None or not periodic else np.asarray(answer.stress, dtype=float)
    if stress is not None and (stress.shape != (6,) or not np.isfinite(stress).all()):
        return Refusal(f"the stress is {stress.tolist()}")
    for spread in (answer.energy_spread, answer.forces_spread):
        if spread is not None and not np.isfinite(spread):
            return Refusal("the spread of the ensemble is not finite")
    return Labels(float(answer.energy), forces, stress, answer.energy_spread, answer.forces_spread)
