"""What normalisation needs of a data set, accumulated in float64 in memory that does not grow
(``training.md`` 2 and 3)."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..data.frame import Frame

_BUFFER = 512
_COLUMNS = 256
"""Atomic numbers; column 0, which is no element, holds ones, so that the same sums give means."""


@dataclass(frozen=True)
class SetStatistics:
    """Of all frames of a record set."""

    count: int
    elements: tuple[int, ...]
    mean_atoms: float
    max_atoms: int
    n_energy: int
    """Frames with an energy; likewise below."""
    n_forces: int
    n_stress: int
    references: dict[int, float]
    """Linear reference in eV by atomic number: the least-squares solution of least norm, without an
    intercept."""
    rank: int
    """Of the compositions; less than the number of references: only sums over compositions that were fitted
    are meaningful."""
    energy_mean: float | None
    """Mean of the energy minus its references, eV; not used for normalisation (``training.md`` 3)."""
    energy_std: float | None
    """Population standard deviation of the same, eV; None without energies."""
    force_rms: float | None
    """Root mean square of the force components, eV/Å; None without forces."""
    targets: dict[str, int]
    """Frames that have each scalar target."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> SetStatistics:
        """From ``to_dict`` after JSON, which turns numbers that are keys into text."""
        references = {int(number): float(energy) for number, energy in content["references"].items()}
        return cls(**{**content, "references": references, "elements": tuple(content["elements"])})


class EnergyMoments:
    """Normal equations of the linear reference, relative to a guess of it.

    Sums over squares of many thousand eV lose the digits of a spread of a few eV; relative to the solution of
    an earlier pass they keep them.
    """

    def __init__(self, guess: np.ndarray | None = None) -> None:
        """``guess``: (256,) eV by atomic number; zeros if None."""
        self._guess = np.zeros(_COLUMNS) if guess is None else guess
        self._xx, self._xe, self._ee = np.zeros((_COLUMNS, _COLUMNS)), np.zeros(_COLUMNS), 0.0
        self._x, self._e, self._filled = np.zeros((_BUFFER, _COLUMNS)), np.zeros(_BUFFER), 0

    def add(self, numbers: np.ndarray, energy: float) -> None:
        """One structure: numbers (N,), energy in eV."""
        if self._filled == _BUFFER:
            self._flush()
        row = self._x[self._filled]
        row[:] = np.bincount(numbers, minlength=_COLUMNS)
        row[0] = 1.0
        self._e[self._filled] = energy
        self._filled += 1

    def merge(self, other: EnergyMoments) -> None:
        """Add the structures of another object with the same guess."""
        other._flush()
        self._xx, self._xe, self._ee = self._xx + other._xx, self._xe + other._xe, self._ee + other._ee

    def solve(self) -> tuple[np.ndarray, int]:
        """References (256,) in eV of least norm, exactly zero for absent elements, and the rank of the
        compositions."""
        self._flush()
        present = np.flatnonzero(np.diag(self._xx)[1:]) + 1
        values, vectors = np.linalg.eigh(self._xx[np.ix_(present, present)])
        # These are squares of the singular values of the compositions; the sums of counts themselves are
        # exact.
        kept = values > values.max(initial=0.0) * 4.0 * max(len(present), 1) * np.finfo(float).eps
        vectors = vectors[:, kept]
        solution = self._guess.copy()
        solution[present] += vectors @ ((vectors.T @ self._xe[present]) / values[kept])
        return solution, int(kept.sum())

    def spread(self, references: np.ndarray) -> tuple[float, float]:
        """Mean and population standard deviation, eV, of the energies minus ``references`` (256,)."""
        self._flush()
        shift = references - self._guess
        count = self._xx[0, 0]
        mean = (self._xe[0] - self._xx[0] @ shift) / count
        square = (self._ee - 2.0 * shift @ self._xe + shift @ self._xx @ shift) / count
        return float(mean), float(np.sqrt(max(square - mean**2, 0.0)))

    def _flush(self) -> None:
        x = self._x[: self._filled]
        e = self._e[: self._filled] - x @ self._guess
        self._xx += x.T @ x
        self._xe += x.T @ e
        self._ee += float(e @ e)
        self._filled = 0


class StatisticsSum:
    """Sums over frames from which the statistics follow; those of several shards can be merged."""

    def __init__(self) -> None:
        self.count = self.atoms = self.max_atoms = 0
        self.components, self.force_square = 0, 0.0
        self.present: Counter[str] = Counter()
        """Frames by label; ``target NAME`` for scalars."""
        self.elements = np.zeros(_COLUMNS, dtype=bool)
        self.moments = EnergyMoments()

    def add(self, frame: Frame) -> None:
        """One frame."""
        self.count += 1
        self.atoms += frame.n_atoms
        self.max_atoms = max(self.max_atoms, frame.n_atoms)
        self.elements[frame.numbers] = True
        self.present.update(
            name for name in ("energy", "forces", "stress") if getattr(frame, name) is not None
        )
        self.present.update(f"target {name}" for name in frame.targets)
        if frame.energy is not None:
            self.moments.add(frame.numbers, frame.energy)
        if frame.forces is not None:
            self.components += frame.forces.size
            self.force_square += float(np.square(frame.forces).sum())

    def merge(self, other: StatisticsSum) -> None:
        """Add the frames of another object."""
        self.count += other.count
        self.atoms += other.atoms
        self.max_atoms = max(self.max_atoms, other.max_atoms)
        self.components += other.components
        self.force_square += other.force_square
        self.present.update(other.present)
        self.elements |= other.elements
        self.moments.merge(other.moments)

    def statistics(self, residuals: EnergyMoments) -> SetStatistics:
        """The statistics; ``residuals`` has seen the same energies, with the solution of ``moments`` as its
        guess."""
        references, rank = residuals.solve()
        mean, deviation = residuals.spread(references) if self.present["energy"] else (None, None)
        elements = tuple(int(z) for z in np.flatnonzero(self.elements))
        return SetStatistics(
            count=self.count,
            elements=elements,
            mean_atoms=self.atoms / max(self.count, 1),
            max_atoms=self.max_atoms,
            n_energy=self.present["energy"],
            n_forces=self.present["forces"],
            n_stress=self.present["stress"],
            references={int(z): float(references[z]) for z in elements} if self.present["energy"] else {},
            rank=rank,
            energy_mean=mean,
            energy_std=deviation,
            force_rms=float(np.sqrt(self.force_square / self.components)) if self.components else None,
            targets={
                name.removeprefix("target "): count
                for name, count in self.present.items()
                if name.startswith("target ")
            },
        )
