"""Does the stress fit the forces where the cell is the same? A pair potential fitted to the forces tells.

Forces of many condensed systems are those of pairs to within some per cent. The virial of such a fit follows
the stress from frame to frame, with a slope of about 1: a wrong sign or unit is another slope. Its mean, to
which the volume contributes in ways that forces do not show, is not used.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from jmp_calc.graph.neighbours import neighbour_edges

from ..data.frame import Frame
from .consistency import WorkTest

_CUTOFF, _FIRST = 6.0, 0.8
"""Å: pairs that exert forces, and the first of the knots of the fit."""
_KNOTS = 12
_FRAMES = 30
_MAX_ATOMS = 250
_MAX_ELEMENTS = 3
_GROUPS = 6
_MAX_STRAIN = 0.02
_GOOD_FIT = 0.9
"""Correlation of fitted and given forces from which the fit is believed."""
VOIGT = ((0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1))


def virial_tests(frames: Sequence[Frame]) -> list[tuple[Sequence[Frame], WorkTest]]:
    """Fits of the stress (eV/Å^3) to that of a pair potential, for up to six groups of frames in one cell.

    Only groups whose forces are those of pairs are there.
    """
    found: list[tuple[Sequence[Frame], WorkTest]] = []
    for members in stress_groups(frame for frame in frames if frame.forces is not None):
        near = of_one_cell(members)
        few = len(np.unique(members[0].numbers)) <= _MAX_ELEMENTS and members[0].n_atoms <= _MAX_ATOMS
        test = _virial_test(near) if few else None
        if test is not None:
            found.append((members, test))
    return found


def stress_groups(frames: Iterable[Frame]) -> list[list[Frame]]:
    """The six largest groups of crystals with a stress and the same atoms."""
    groups: dict[tuple[str, str, bytes], list[Frame]] = {}
    for frame in frames:
        if frame.stress is not None and frame.pbc.all():
            groups.setdefault((frame.source, frame.group, frame.numbers.tobytes()), []).append(frame)
    return sorted(groups.values(), key=len, reverse=True)[:_GROUPS]


def of_one_cell(frames: list[Frame]) -> list[Frame]:
    """Up to thirty of the frames whose cells are within 2 % of the first one's."""
    first = frames[0]
    if first.volume == 0:
        return []
    near = [
        frame
        for frame in frames
        if np.abs(strain_between(first, frame)).max() < _MAX_STRAIN and frame.volume > 0
    ]
    return [near[i] for i in np.linspace(0, len(near) - 1, min(_FRAMES, len(near))).astype(int)]


def _virial_test(frames: Sequence[Frame]) -> WorkTest | None:
    """The fit over frames of one kind; None if forces are not those of pairs, or too few."""
    if len(frames) < 9:
        return None
    types = _pair_types(frames[0].numbers)
    designs = [_design(frame, types) for frame in frames]
    design = np.concatenate([rows for rows, _ in designs])
    forces = np.concatenate([np.asarray(frame.forces).reshape(-1) for frame in frames])
    if len(forces) < 3 * design.shape[1] or not forces.any():
        return None
    normal = design.T @ design
    normal += 1e-6 * np.trace(normal) / len(normal) * np.eye(len(normal))
    solution = np.linalg.solve(normal, design.T @ forces)
    fitted = design @ solution
    if _correlation(fitted, forces) < _GOOD_FIT:
        return None
    expected = np.array([virial @ solution for _, virial in designs])
    given = np.array([np.asarray(frame.stress)[VOIGT] for frame in frames])
    # The mean, and what follows the strain, depend on more than the forces.
    known = np.array([[1.0, *strain_between(frames[0], frame)[VOIGT]] for frame in frames])
    left, values, _ = np.linalg.svd(known, full_matrices=False)
    left = left[:, values > 1e-8 * values[0]]
    x, y = (values - left @ (left.T @ values) for values in (expected, given))
    if np.abs(x).max() < 1e-6:
        return None
    correlation = _correlation(x, y)
    slope = float(np.sign(correlation) * np.sqrt(np.vdot(y, y) / np.vdot(x, x)))
    return WorkTest(len(frames), slope, correlation, frames[0].n_atoms, len(frames) - left.shape[1])


def strain_between(one: Frame, other: Frame) -> np.ndarray:
    """(3, 3) symmetric strain from one cell to the other."""
    strain = np.linalg.solve(one.cell, other.cell) - np.eye(3)
    return 0.5 * (strain + strain.T)


def _pair_types(numbers: np.ndarray) -> np.ndarray:
    """(120, 120) number of each pair of elements, the same in either order."""
    types = np.zeros((120, 120), dtype=int)
    present = np.unique(numbers)
    pairs = [(a, b) for i, a in enumerate(present) for b in present[i:]]
    for number, (a, b) in enumerate(pairs):
        types[a, b] = types[b, a] = number
    return types


def _design(frame: Frame, types: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Forces (3N, P) and stress (6, P) of pair forces that are hats around P/K types times K knots."""
    edges, length = neighbour_edges(frame.positions, frame.cell, frame.pbc, _CUTOFF)
    count = (int(types.max()) + 1) * _KNOTS
    direction = frame.positions[edges.source] + edges.shift @ frame.cell - frame.positions[edges.target]
    direction /= length[:, None]
    place = (length - _FIRST) / ((_CUTOFF - _FIRST) / (_KNOTS - 1))
    knot = np.clip(np.floor(place).astype(int), 0, _KNOTS - 2)
    share = np.clip(place - knot, 0.0, 1.0)
    column = types[frame.numbers[edges.target], frame.numbers[edges.source]] * _KNOTS + knot
    forces = np.zeros((frame.n_atoms, 3, count))
    stress = np.zeros((6, count))
    moment = direction[:, VOIGT[0]] * direction[:, VOIGT[1]] * length[:, None]
    for columns, weight in ((column, 1.0 - share), (column + 1, share)):
        for axis in range(3):  # positive: repulsion, away from the source
            np.add.at(forces[:, axis], (edges.target, columns), -weight * direction[:, axis])
        for component in range(6):
            stress[component] -= np.bincount(columns, 0.5 * weight * moment[:, component], count)
    return forces.reshape(-1, count), stress / frame.volume


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    norm = float(np.sqrt(np.vdot(x, x) * np.vdot(y, y)))
    return float(np.vdot(x, y)) / norm if norm > 0 else 0.0
