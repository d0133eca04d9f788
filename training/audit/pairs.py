"""Neighbouring frames of one trajectory: what moved, what the cell did, and the work that labels promise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..data.frame import Frame

MAX_STEP = 0.5
"""Å that an atom may move within a pair."""
MAX_STRAIN = 0.06
ENOUGH = 40
"""Pairs of one group of frames."""
_MAX_PAIRS = 2000
_MAX_DISTANCE = 10
"""Frames between the two of a pair."""

GroupName = tuple[str, str]
"""Source and ``config_type``."""


@dataclass(frozen=True, eq=False)
class Pair:
    """Two frames of the same atoms that lie near each other."""

    one: Frame
    other: Frame
    step: np.ndarray
    """(N, 3) Å, displacement beyond rotation and change of the cell."""
    turn: np.ndarray
    """(3, 3) rotation that takes ``other`` onto ``one``."""
    strain: np.ndarray
    """(3, 3) symmetric strain from ``one`` to ``other``."""

    @property
    def length(self) -> float:
        """Largest component of the displacement, Å."""
        return float(np.abs(self.step).max(initial=0.0))

    @property
    def work(self) -> float:
        """eV that the forces promise: -(F1 + F2)/2 . step."""
        first, second = self.forces
        return -0.5 * float(np.vdot(first + second, self.step))

    @property
    def force_change(self) -> np.ndarray:
        """(N, 3) eV/Å."""
        first, second = self.forces
        return second - first

    @property
    def stress_work(self) -> float | None:
        """eV that the stress promises: (V1 s1 + V2 s2)/2 : strain; None without stress."""
        one, other = self.one, self.other
        if one.stress is None or other.stress is None:
            return None
        return 0.5 * float(np.vdot(one.volume * one.stress + other.volume * other.stress, self.strain))

    @property
    def is_near(self) -> bool:
        """Whether something moved, and not too far."""
        return 1e-4 < self.length < MAX_STEP

    @property
    def is_complete(self) -> bool:
        """Whether labels promise all of the work: the cell stays as it is, or there is stress."""
        return not self.strain.any() or self.stress_work is not None

    @property
    def total_work(self) -> float:
        """eV that forces and stress promise."""
        return self.work + (self.stress_work or 0.0)

    @property
    def energy_change(self) -> float:
        """eV; 0 where an energy is missing."""
        if self.one.energy is None or self.other.energy is None:
            return 0.0
        return self.other.energy - self.one.energy

    @property
    def forces(self) -> tuple[np.ndarray, np.ndarray]:
        """(N, 3) eV/Å of both frames, in the orientation of the first."""
        assert self.one.forces is not None and self.other.forces is not None
        return self.one.forces, self.other.forces @ self.turn


def grouped(frames: Sequence[Frame]) -> dict[GroupName, list[list[Frame]]]:
    """Frames with energies and forces, in file order, by source and group, and there by their atoms."""
    runs: dict[GroupName, dict[bytes, list[Frame]]] = {}
    for frame in frames:
        if frame.energy is not None and frame.forces is not None:
            members = runs.setdefault((frame.source, frame.group), {})
            members.setdefault(frame.numbers.tobytes(), []).append(frame)
    return {
        name: [sorted(run, key=lambda frame: frame.index) for run in members.values()]
        for name, members in runs.items()
    }


def force_pairs(runs: Sequence[Sequence[Frame]], max_pairs: int = _MAX_PAIRS) -> list[Pair]:
    """Pairs of the runs of one group: neighbours first, more distant frames where these are too few.

    Pairs of unequal cells are left out where the others are enough; of many the shorter half is kept, which
    has the smaller anharmonic error.
    """
    pairs: list[Pair] = []
    for distance in range(1, _MAX_DISTANCE + 1):
        pairs += near_pairs(runs, distance, max_pairs // distance)
        if len(pairs) >= ENOUGH:
            break
    fixed = [pair for pair in pairs if not pair.strain.any()]
    pairs = fixed if len(fixed) >= ENOUGH else pairs
    if len(pairs) > 2 * ENOUGH:
        pairs = sorted(pairs, key=lambda pair: pair.length)[: len(pairs) // 2]
    return pairs


def near_pairs(runs: Sequence[Sequence[Frame]], distance: int, max_pairs: int) -> Iterator[Pair]:
    """Pairs of frames ``distance`` apart in a run that are near enough in space too."""
    candidates = [(a, b) for run in runs for a, b in zip(run, run[distance:], strict=False)]
    for one, other in candidates[:: max(1, len(candidates) // max_pairs)]:
        pair = make_pair(one, other)
        if pair is not None and pair.is_near:
            yield pair


def make_pair(one: Frame, other: Frame) -> Pair | None:
    """The two frames as a pair; None if their periodicity differs or their cells differ too much."""
    if not np.array_equal(one.pbc, other.pbc):
        return None
    if not one.pbc.any():
        turn = _rotation(one, other)
        turned = other.positions @ turn
        step = (turned - turned.mean(axis=0)) - (one.positions - one.positions.mean(axis=0))
        return Pair(one, other, step, turn, np.zeros((3, 3)))
    from ase.geometry import complete_cell

    cells = complete_cell(one.cell), complete_cell(other.cell)
    strain = np.zeros((3, 3))
    if np.abs(one.cell - other.cell).max() > 1e-6:
        strain = np.linalg.solve(cells[0], cells[1]) - np.eye(3)
        strain = 0.5 * (strain + strain.T)
        if not one.pbc.all() or np.abs(strain).max() > MAX_STRAIN:
            return None
    step = other.positions @ np.linalg.inv(cells[1]) - one.positions @ np.linalg.inv(cells[0])
    step -= np.where(one.pbc, np.round(step), 0.0)
    return Pair(one, other, step @ (0.5 * (cells[0] + cells[1])), np.eye(3), strain)


def _rotation(one: Frame, other: Frame) -> np.ndarray:
    """Rotation R (3, 3) for which ``other.positions @ R`` lies best on ``one`` (Kabsch): molecules turn in
    dynamics."""
    a, b = one.positions - one.positions.mean(axis=0), other.positions - other.positions.mean(axis=0)
    left, _, right = np.linalg.svd(b.T @ a)
    left[:, -1] *= np.sign(np.linalg.det(left @ right)) or 1.0
    return left @ right
