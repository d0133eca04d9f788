"""Do the labels fit each other? Energy differences against the work of the forces and of the stress.

For neighbouring frames of one trajectory E2 - E1 = -(F1 + F2)/2 . (r2 - r1) + (V1 s1 + V2 s2)/2 : strain,
exact for a harmonic surface. The slope of a fit through many pairs is 1; another slope is a sign or a unit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from jmp_calc.units import BOHR, GPA_PER_EV_A3, HARTREE, KCAL_MOL, KJ_MOL, RYDBERG

from ..data.frame import Frame

FORCE_FACTORS: Mapping[str, float] = {
    "the forces have the wrong sign (gradients instead of forces)": -1.0,
    "the energies are in hartree and the forces in eV/Å": 1 / HARTREE,
    "the energies are in kcal/mol and the forces in eV/Å": 1 / KCAL_MOL,
    "the energies are in kJ/mol and the forces in eV/Å": 1 / KJ_MOL,
    "the energies are in meV": 1000.0,
    "the forces are in hartree/bohr": HARTREE / BOHR,
    "the forces are in hartree/Å": HARTREE,
    "the forces are in rydberg/bohr": RYDBERG / BOHR,
    "the forces are in kcal/mol/Å": KCAL_MOL,
    "the forces are in eV/bohr": 1 / BOHR,
    "the forces are in meV/Å": 1e-3,
    "the forces are gradients in hartree/bohr": -HARTREE / BOHR,
}
"""What a slope of energy difference over work means."""
STRESS_FACTORS: Mapping[str, float] = {
    "the stress has the wrong sign (ASE: positive = tension)": -1.0,
    "the stress is in GPa": 1 / GPA_PER_EV_A3,
    "the stress is in kbar": 0.1 / GPA_PER_EV_A3,
    "the stress is in GPa with the wrong sign": -1 / GPA_PER_EV_A3,
    "the stress is in kbar with the wrong sign (as VASP prints it)": -0.1 / GPA_PER_EV_A3,
}
_MAX_STEP = 0.5
_MAX_STRAIN = 0.06
_MAX_DISTANCE = 10
_ENOUGH = 40


@dataclass(frozen=True)
class WorkTest:
    """Fit of energy differences (eV) to work (eV) over pairs of neighbouring frames."""

    pairs: int
    slope: float
    correlation: float
    atoms: float
    """Mean number of atoms in the pairs."""

    @property
    def conclusive(self) -> bool:
        """Whether there are enough pairs and a clear relation."""
        return self.pairs >= 8 and abs(self.correlation) > 0.85

    def explanation(self, factors: Mapping[str, float], tolerance: float = 0.2) -> str | None:
        """The unit or sign that would give this slope; None if it is about 1 or nothing known fits."""
        if self.slope == 0 or abs(self.slope - 1) < tolerance:
            return None
        known = min(factors, key=lambda name: self._distance(factors[name]))
        return known if self._distance(factors[known]) < np.log1p(tolerance) else None

    def _distance(self, factor: float) -> float:
        ratio = self.slope / factor
        return float(abs(np.log(ratio))) if ratio > 0 else np.inf


def force_work(frames: Sequence[Frame], max_pairs: int = 2000) -> WorkTest:
    """Energy differences against the work of the forces, over frames of one cell near each other in a
    file."""
    rows: list[tuple[float, float, float, int]] = []
    for distance in range(1, _MAX_DISTANCE + 1):
        rows += _force_rows(_neighbours(frames, distance, max_pairs))
        if len(rows) >= _ENOUGH:
            break
    if len(rows) > 2 * _ENOUGH:  # the shorter half of the steps has the smaller anharmonic error
        rows = sorted(rows)[: len(rows) // 2]
    return _fit([row[1] for row in rows], [row[2] for row in rows], [row[3] for row in rows])


def _force_rows(pairs: Sequence[tuple[Frame, Frame]]) -> list[tuple[float, float, float, int]]:
    """(largest displacement, work, energy difference, atoms) of the pairs that are near enough."""
    rows = []
    for one, other in pairs:
        if np.abs(one.cell - other.cell).max() > 1e-6 or one.forces is None or other.forces is None:
            continue
        turn = np.eye(3) if one.pbc.any() else _rotation(one, other)
        step = _step(one, other, turn)
        length = float(np.abs(step).max(initial=0.0))
        if 1e-4 < length < _MAX_STEP:
            work = -0.5 * float(np.vdot(one.forces + other.forces @ turn, step))
            rows.append((length, work, (other.energy or 0.0) - (one.energy or 0.0), one.n_atoms))
    return rows


def stress_work(frames: Sequence[Frame], max_pairs: int = 2000) -> WorkTest:
    """Energy differences, less the work of the forces, against the work of the stress, over differently
    strained cells.

    Pairs are neighbours in volume among frames of one group with the same atoms.
    """
    groups: dict[tuple[str, bytes], list[Frame]] = {}
    for frame in frames:
        if frame.stress is not None and frame.energy is not None and frame.pbc.all():
            groups.setdefault((frame.group, frame.numbers.tobytes()), []).append(frame)
    work: list[float] = []
    change: list[float] = []
    atoms: list[int] = []
    for members in groups.values():
        members = sorted(members, key=lambda frame: frame.volume)
        for one, other in zip(members, members[1:], strict=False):
            if len(work) >= max_pairs:
                break
            strain = np.linalg.solve(one.cell, other.cell) - np.eye(3)
            strain = 0.5 * (strain + strain.T)
            if not 1e-4 < np.abs(strain).max() < _MAX_STRAIN or one.stress is None or other.stress is None:
                continue
            step = _step(one, other)
            if np.abs(step).max(initial=0.0) > _MAX_STEP:
                continue
            by_forces = 0.0
            if one.forces is not None and other.forces is not None:
                by_forces = -0.5 * float(np.vdot(one.forces + other.forces, step))
            work.append(0.5 * float(np.vdot(one.volume * one.stress + other.volume * other.stress, strain)))
            change.append((other.energy or 0.0) - (one.energy or 0.0) - by_forces)
            atoms.append(one.n_atoms)
    return _fit(work, change, atoms)


def _neighbours(frames: Sequence[Frame], distance: int, max_pairs: int) -> list[tuple[Frame, Frame]]:
    pairs = [
        (one, other)
        for one, other in zip(frames, frames[distance:], strict=False)
        if one.group == other.group
        and one.source == other.source
        and one.energy is not None
        and other.energy is not None
        and np.array_equal(one.numbers, other.numbers)
    ]
    stride = max(1, len(pairs) // max_pairs)
    return pairs[::stride]


def _rotation(one: Frame, other: Frame) -> np.ndarray:
    """Rotation R (3, 3) for which ``other.positions @ R`` lies best on ``one`` (Kabsch): molecules turn in
    dynamics."""
    a, b = one.positions - one.positions.mean(axis=0), other.positions - other.positions.mean(axis=0)
    left, _, right = np.linalg.svd(b.T @ a)
    left[:, -1] *= np.sign(np.linalg.det(left @ right)) or 1.0
    return left @ right


def _step(one: Frame, other: Frame, turn: np.ndarray | None = None) -> np.ndarray:
    """Displacement (N, 3) in Å beyond the change of the cell, to the nearest image."""
    if not one.pbc.any():
        turned = other.positions if turn is None else other.positions @ turn
        return (turned - turned.mean(axis=0)) - (one.positions - one.positions.mean(axis=0))
    from ase.geometry import complete_cell

    cells = complete_cell(one.cell), complete_cell(other.cell)
    step = other.positions @ np.linalg.inv(cells[1]) - one.positions @ np.linalg.inv(cells[0])
    step -= np.where(one.pbc, np.round(step), 0.0)
    return step @ (0.5 * (cells[0] + cells[1]))


def _fit(work: Sequence[float], change: Sequence[float], atoms: Sequence[int]) -> WorkTest:
    x, y = np.array(work), np.array(change)
    if len(x) < 2 or not x.any() or not y.any():
        return WorkTest(len(x), 0.0, 0.0, float(np.mean(atoms)) if atoms else 0.0)
    # A few wild pairs (re-ordered atoms, a change of settings) must not decide: leave out the largest
    # twentieth.
    kept = np.maximum(np.abs(x) / np.abs(x).max(), np.abs(y) / max(np.abs(y).max(), 1e-300))
    keep = kept <= np.quantile(kept, 0.95) if len(x) >= 20 else np.ones(len(x), dtype=bool)
    x, y = x[keep], y[keep]
    norm = float(np.sqrt(np.vdot(x, x) * np.vdot(y, y)))
    correlation = float(np.vdot(x, y)) / norm if norm > 0 else 0.0
    # The slope of the symmetric fit: noise in either variable must not shrink it towards zero.
    slope = float(np.sign(correlation) * np.sqrt(np.vdot(y, y) / max(float(np.vdot(x, x)), 1e-300)))
    return WorkTest(len(work), slope, correlation, float(np.mean(atoms)))
