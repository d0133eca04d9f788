"""Do the labels fit each other? Energy differences against the work of the forces and of the stress.

For neighbouring frames of one trajectory E2 - E1 = -(F1 + F2)/2 . (r2 - r1) + (V1 s1 + V2 s2)/2 : strain,
exact for a harmonic surface. The slope of a fit through many pairs is 1; another slope is a sign or a unit.
Where cells change, forces are judged without believing the stress: what is linear in the strain, and in the
work of a stress label of whatever unit, is taken out of both sides of the fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..data.frame import Frame
from .pairs import MAX_STEP, Pair, force_pairs, grouped, make_pair

_UPPER = np.triu_indices(3)


@dataclass(frozen=True)
class WorkTest:
    """Fit of energy differences (eV) to work (eV) over pairs of neighbouring frames."""

    pairs: int
    slope: float
    correlation: float
    atoms: float
    """Mean number of atoms in the pairs."""
    freedom: int = 0
    """Pairs less the unknowns that were fitted beside the slope."""

    @property
    def conclusive(self) -> bool:
        """Whether there are enough pairs and a clear relation."""
        return self.freedom >= 8 and abs(self.correlation) > 0.85


def force_work(frames: Sequence[Frame]) -> WorkTest:
    """Energy differences against the work of the forces, over frames near each other in a file."""
    return fit_forces([pair for runs in grouped(frames).values() for pair in force_pairs(runs)])


def fit_forces(pairs: Sequence[Pair]) -> WorkTest:
    """The fit over given pairs."""
    unknown = np.array([pair.strain[_UPPER] * pair.one.volume for pair in pairs]).reshape(len(pairs), 6)
    stresses = [pair.stress_work for pair in pairs]
    if all(stress is not None for stress in stresses):
        unknown = np.column_stack([unknown, np.array(stresses, dtype=float)])
    return _fit(
        [pair.work for pair in pairs],
        [pair.energy_change for pair in pairs],
        [pair.one.n_atoms for pair in pairs],
        unknown,
    )


def stress_work(frames: Sequence[Frame], max_pairs: int = 2000) -> WorkTest:
    """Energy differences, less the work of the forces, against the work of the stress, over differently
    strained cells.

    Pairs are neighbours in volume among frames of one group with the same atoms.
    """
    groups: dict[tuple[str, str, bytes], list[Frame]] = {}
    for frame in frames:
        if frame.stress is not None and frame.energy is not None and frame.pbc.all():
            groups.setdefault((frame.source, frame.group, frame.numbers.tobytes()), []).append(frame)
    pairs: list[Pair] = []
    for members in groups.values():
        members = sorted(members, key=lambda frame: frame.volume)
        made = (make_pair(one, other) for one, other in zip(members, members[1:], strict=False))
        pairs += [
            pair
            for pair in made
            if pair is not None and pair.length <= MAX_STEP and np.abs(pair.strain).max() > 1e-4
        ]
    pairs = pairs[:max_pairs]
    by_forces = [0.0 if pair.one.forces is None or pair.other.forces is None else pair.work for pair in pairs]
    return _fit(
        [pair.stress_work or 0.0 for pair in pairs],
        [pair.energy_change - work for pair, work in zip(pairs, by_forces, strict=True)],
        [pair.one.n_atoms for pair in pairs],
        np.zeros((len(pairs), 0)),
    )


def _fit(
    work: Sequence[float], change: Sequence[float], atoms: Sequence[int], unknown: np.ndarray
) -> WorkTest:
    """The fit after ``unknown`` (M, K) was taken out of both sides."""
    mean = float(np.mean(atoms)) if len(atoms) else 0.0
    x, y, rank = _without(np.array(work), np.array(change), unknown)
    freedom = len(x) - rank
    if freedom < 2 or not np.any(x) or not np.any(y):
        return WorkTest(len(x), 0.0, 0.0, mean, freedom)
    # A few wild pairs (re-ordered atoms, a change of settings) must not decide: leave out the largest
    # twentieth.
    kept = np.maximum(np.abs(x) / np.abs(x).max(), np.abs(y) / max(np.abs(y).max(), 1e-300))
    keep = kept <= np.quantile(kept, 0.95) if len(x) >= 20 else np.ones(len(x), dtype=bool)
    x, y = x[keep], y[keep]
    norm = float(np.sqrt(np.vdot(x, x) * np.vdot(y, y)))
    correlation = float(np.vdot(x, y)) / norm if norm > 0 else 0.0
    # The slope of the symmetric fit: noise in either variable must not shrink it towards zero.
    slope = float(np.sign(correlation) * np.sqrt(np.vdot(y, y) / max(float(np.vdot(x, x)), 1e-300)))
    return WorkTest(len(work), slope, correlation, mean, freedom)


def _without(x: np.ndarray, y: np.ndarray, unknown: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """What of ``x`` and ``y`` is no linear function of the columns of ``unknown``, and their rank."""
    unknown = unknown[:, np.any(unknown, axis=0)]
    if not unknown.size:
        return x, y, 0
    left, values, _ = np.linalg.svd(unknown / np.abs(unknown).max(axis=0), full_matrices=False)
    left = left[:, values > 1e-8 * values[0]]
    return x - left @ (left.T @ x), y - left @ (left.T @ y), left.shape[1]
