"""Geometries that are equal, or nearly, up to rotation, reflection and atom order, without comparing all
pairs.

A signature is a list of sorted distances in a fixed layout per composition. If no atom moves by more than
d/2, no entry changes by more than d, so means over parts of it are a safe filter for a tree search.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .frame import Frame

EXACT = 2e-4
"""Å: largest difference of two signatures of one geometry, given files with 1e-4 to 1e-5 Å digits."""
NEAR = 0.01
"""Å: the two geometries teach nearly the same."""
_PARTS = 12
_LOOKED_AT = 20
"""Candidates that are compared with a frame, those of the most similar keys first, beside all that may be
exact copies."""


@dataclass(frozen=True)
class Match:
    """Frame ``a`` of the first set is like frame ``b`` of the second."""

    a: int
    b: int
    distance: float
    """Largest difference of the two signatures, Å."""

    @property
    def exact(self) -> bool:
        """The same geometry, perhaps rotated or reflected."""
        return self.distance <= EXACT


def composition(frame: Frame) -> tuple[tuple[int, int], ...]:
    """(atomic number, count) pairs and nothing else, hashable."""
    elements, counts = np.unique(frame.numbers, return_counts=True)
    return tuple(zip(elements.tolist(), counts.tolist(), strict=True))


def signature(frame: Frame) -> np.ndarray:
    """Sorted distances by pair of elements, sorted mean distances of each atom to each element, cell lengths:
    shape (n,), Å."""
    order = np.argsort(frame.numbers, kind="stable")
    distances = _distances(frame.positions[order], frame.cell, frame.pbc)
    numbers = frame.numbers[order]
    starts = {int(z): int(np.searchsorted(numbers, z)) for z in np.unique(numbers)}
    ends = {z: int(np.searchsorted(numbers, z, side="right")) for z in starts}
    parts = []
    for z in starts:
        for other in starts:
            block = distances[starts[z] : ends[z], starts[other] : ends[other]]
            parts.append(np.sort(block.mean(axis=1)))
            if z == other:
                parts.append(np.sort(block[np.triu_indices(len(block), 1)]))
            elif z < other:
                parts.append(np.sort(block, axis=None))
    if frame.pbc.any():
        a, b, c = frame.cell * frame.pbc[:, None]
        parts.append(np.sort(np.linalg.norm([a, b, c, a + b, b + c, c + a, a - b, b - c, c - a], axis=1)))
    return np.concatenate(parts)


def find_matches(
    first: Sequence[Frame], second: Sequence[Frame] | None = None, tolerance: float = NEAR
) -> list[Match]:
    """Pairs of frames whose signatures differ by at most ``tolerance`` Å, each frame of ``first`` with its
    nearest one, or one that is an exact copy; no exact copy is missed.

    ``second=None`` looks for pairs within ``first``. Frames of different composition or periodicity never
    match.
    """
    from scipy.spatial import cKDTree

    matches: list[Match] = []
    other_frames = first if second is None else second
    groups_a = _by_composition(first)
    groups_b = groups_a if second is None else _by_composition(second)
    for key, members in groups_a.items():
        others = groups_b.get(key, [])
        if not others or (second is None and len(others) < 2):
            continue
        keys_a = np.array([_key(first[i]) for i in members])
        keys_b = keys_a if second is None else np.array([_key(second[j]) for j in others])
        tree = cKDTree(keys_b)
        known: dict[int, np.ndarray] = {}
        for row, candidates in enumerate(tree.query_ball_point(keys_a, tolerance, p=np.inf)):
            i = members[row]
            found = np.array([c for c in candidates if second is not None or others[c] < i], dtype=np.int64)
            apart = np.abs(keys_b[found] - keys_a[row]).max(axis=1, initial=0.0)
            own = signature(first[i]) if len(found) else np.zeros(0)
            best = Match(i, -1, np.inf)
            for place, c in enumerate(np.argsort(apart, kind="stable")):
                # One twin is enough; in a trajectory where atoms hardly move all frames are candidates.
                if best.exact or (place >= _LOOKED_AT and apart[c] > EXACT):
                    break
                j = others[found[c]]
                if j not in known:
                    known[j] = signature(other_frames[j])
                distance = float(np.abs(own - known[j]).max(initial=0.0))
                best = Match(i, j, distance) if distance < best.distance else best
            if best.distance <= tolerance:
                matches.append(best)
    return sorted(matches, key=lambda match: match.a)


def _by_composition(frames: Sequence[Frame]) -> dict[tuple[object, ...], list[int]]:
    groups: dict[tuple[object, ...], list[int]] = {}
    for i, frame in enumerate(frames):
        groups.setdefault((composition(frame), tuple(frame.pbc.tolist())), []).append(i)
    return groups


def is_copy(one: Frame, other: Frame, tolerance: float = 1e-3) -> bool:
    """Whether two frames are the same atoms in the same cell, up to atom order and translation of a molecule.

    Rotated and mirrored twins are not copies: symmetric strains of a crystal produce them on purpose.
    """
    from scipy.spatial import cKDTree

    periodic = bool(one.pbc.any())
    if composition(one) != composition(other) or (
        periodic and np.abs(one.cell - other.cell).max() > tolerance
    ):
        return False
    places = []
    for frame in (one, other):
        if periodic:
            from ase.geometry import wrap_positions

            inside = wrap_positions(frame.positions, frame.cell, frame.pbc, eps=1e-3)
        else:
            inside = frame.positions - frame.positions.mean(axis=0)
        # Elements as a fourth coordinate, far apart.
        places.append(np.column_stack([inside, 100.0 * frame.numbers]))
    distance, _ = cKDTree(places[0]).query(places[1], p=np.inf)
    return bool(distance.max() <= tolerance)


def _key(frame: Frame) -> np.ndarray:
    values = signature(frame)
    return np.array([part.mean() if len(part) else 0.0 for part in np.array_split(values, _PARTS)])


def _distances(positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray) -> np.ndarray:
    """(N, N) distances in Å to the nearest image."""
    vectors = positions[:, None] - positions[None]
    if pbc.any():
        from ase.geometry import complete_cell, minkowski_reduce

        # In a reduced cell rounding finds the nearest image, or one of nearly the same length.
        reduced = complete_cell(minkowski_reduce(cell, pbc)[0])
        fractional = vectors @ np.linalg.inv(reduced)
        vectors = (fractional - np.where(pbc, np.round(fractional), 0.0)) @ reduced
    return np.linalg.norm(vectors, axis=2)
