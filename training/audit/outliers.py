"""Single frames whose labels do not belong to them: each is named."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..data.frame import Frame
from .findings import Finding, places
from .pairs import Pair, grouped, make_pair, near_pairs

_DISTANCES = (1, 2)
_WORSE = 8.0
"""Times the usual misfit of a pair."""
_FAR = 6.0
"""Root mean square force over that of the next frame of the group."""
_CONFIRMED = 0.03
"""Share of the squared energy changes that right forces may miss, which fall steeply on the way: without the
forces of one of two frames it is a quarter where they are alike."""
_LARGE = 5.0
"""eV/Å, root mean square: smaller ones occur in relaxations beside forces of nearly nothing."""
_EXPLAINED = 0.05
"""Share of the misfit that one factor may leave."""
_ENOUGH = 8
"""Frames of the same atoms from which one of them can be told from the others."""
_SHARE = 0.05
"""More frames than this share are no outliers."""
_MAX_PAIRS = 1500
_AROUND = 4
"""Frames before and behind one with weak forces that are asked whether these fit."""
_UNEXPLAINED = 0.1
"""Share of the energy changes to a frame without forces that forces of its own would have to explain."""


def check_frames(frames: Sequence[Frame]) -> list[Finding]:
    """Frames with forces that no neighbour's energy confirms, or far larger or smaller than all others."""
    disagreeing: list[Frame] = []
    sized: list[Frame] = []
    for runs in grouped(frames).values():
        for run in runs:
            if len(run) >= _ENOUGH:
                sizes = np.array([_size(frame) for frame in run])
                disagreeing += _disagreeing(run, sizes)
                weak = _weak(run, sizes)
                disagreeing += [frame for frame in weak if all(frame is not known for known in disagreeing)]
                sized += _of_other_size(run, sizes)
    found = []
    if 0 < len(disagreeing) <= max(1, _SHARE * len(frames)):
        found.append(
            Finding(
                "warning",
                "frames_disagree",
                f"Energy and forces of {len(disagreeing)} frames do not fit those of the frames around them.",
                places(disagreeing, range(len(disagreeing))),
                "Look at them: another unit or sign, labels of another frame, or a failed calculation?",
            )
        )
    others = [frame for frame in sized if all(frame is not known for known in disagreeing)]
    if 0 < len(others) <= max(1, _SHARE * len(frames)):
        found.append(
            Finding(
                "warning",
                "force_outliers",
                f"The forces of {len(others)} frames are more than {_FAR:.0f} times those of all other "
                "frames of the same atoms.",
                places(others, range(len(others))),
                "Look at them: another unit, or a failed calculation?",
            )
        )
    return found


def _size(frame: Frame) -> float:
    """Root mean square of the components of the forces, eV/Å."""
    return float(np.sqrt(np.mean(np.square(np.asarray(frame.forces)))))


def _disagreeing(run: Sequence[Frame], sizes: np.ndarray) -> list[Frame]:
    """Frames whose pairs miss the energy by far more than those of other frames; the worst is taken out of
    the comparison before the next is judged. ``sizes``: (R,) eV/Å, of the forces of the run."""
    pairs = [pair for d in _DISTANCES for pair in near_pairs([run], d, _MAX_PAIRS)]
    pairs = [pair for pair in pairs if pair.is_complete]
    if len(pairs) < 12:
        return []
    place = {id(frame): i for i, frame in enumerate(run)}
    ends = np.array([(place[id(pair.one)], place[id(pair.other)]) for pair in pairs])
    work = np.array([pair.total_work for pair in pairs])
    change = np.array([pair.energy_change for pair in pairs])
    misfit = np.square(change - work)
    floor = 1e-3 * float(np.median(np.abs(change))) ** 2
    found = []
    for _ in range(int(_SHARE * len(run)) + 1):
        counts = np.bincount(ends.ravel(), minlength=len(run))
        score = np.bincount(ends.ravel(), np.repeat(misfit, 2), len(run)) / np.maximum(counts, 1)
        usual = float(np.median(score[counts > 0])) + floor
        score[counts < 2] = 0.0
        worst = int(np.argmax(score))
        if score[worst] < _WORSE**2 * usual:
            break
        own = np.any(ends == worst, axis=1)
        mine = [pair for pair, is_own in zip(pairs, own.tolist(), strict=True) if is_own]
        if _is_wrong(run, worst, mine, sizes):
            found.append(run[worst])
        kept = ~own
        pairs = [pair for pair, is_own in zip(pairs, own.tolist(), strict=True) if not is_own]
        ends, misfit = ends[kept], misfit[kept]
        if len(misfit) < 12:
            break
    return found


def _is_wrong(run: Sequence[Frame], i: int, pairs: Sequence[Pair], sizes: np.ndarray) -> bool:
    """Whether one factor on the forces of a frame, far from 1, makes all its pairs right and its forces as
    large as usual, and the nearest frames do not confirm them as they are: far ones are anharmonic."""
    factor = _wrong_factor(run[i], pairs)
    if factor is None or _confirmed(_pairs_around(run, i)):
        return False
    usual = float(np.median(sizes))
    return usual / _FAR < abs(factor) * float(sizes[i]) < usual * _FAR


def _confirmed(pairs: Sequence[Pair]) -> bool:
    """Whether the work of the shorter half of the pairs gives their energies nearly."""
    nearest = sorted(pairs, key=lambda pair: pair.length)[: (len(pairs) + 1) // 2]
    change = np.array([pair.energy_change for pair in nearest])
    misfit = change - np.array([pair.total_work for pair in nearest])
    return bool(pairs) and bool(np.sum(np.square(misfit)) < _CONFIRMED * np.sum(np.square(change)))


def _wrong_factor(frame: Frame, pairs: Sequence[Pair]) -> float | None:
    """The factor on the forces of the frame, far from 1, that makes all its pairs right; None: there is
    none."""
    if len(pairs) < 4:
        return None
    own = np.array([_half_work(frame, pair) for pair in pairs])
    rest = _left_for(pairs, own)
    factor = float(own @ rest) / max(float(own @ own), 1e-300)
    before, after = np.sum(np.square(rest - own)), np.sum(np.square(rest - factor * own))
    is_far = abs(factor) < 0.125 or factor > 8.0 or abs(factor + 1.0) < 0.3
    return factor if is_far and after < _EXPLAINED * before else None


def _half_work(frame: Frame, pair: Pair) -> float:
    """eV of the work of a pair that come from the forces of the frame."""
    return -0.5 * float(np.vdot(pair.forces[0 if pair.one is frame else 1], pair.step))


def _left_for(pairs: Sequence[Pair], own: np.ndarray) -> np.ndarray:
    """eV (P,) of the energy changes that remain for the forces of a frame, whose works are ``own``."""
    return np.array([pair.energy_change - pair.total_work for pair in pairs]) + own


def _of_other_size(run: Sequence[Frame], sizes: np.ndarray) -> list[Frame]:
    """The frame with the largest forces, where they are far from those of the next and the energies around it
    do not confirm them, as at the start of a relaxation; only one can be told."""
    order = np.argsort(sizes)
    largest = int(order[-1])
    if sizes[largest] <= max(_FAR * sizes[order[-2]], _LARGE) or sizes[order[-2]] == 0:
        return []
    return [] if _confirmed(_pairs_around(run, largest)) else [run[largest]]


def _weak(run: Sequence[Frame], sizes: np.ndarray) -> list[Frame]:
    """Frames with forces far smaller than usual that the energies around them contradict.

    Alone they cannot be told: minima and perfect lattices have small forces.
    """
    weak = np.flatnonzero(sizes * _FAR < np.median(sizes))
    if len(weak) > max(1, _SHARE * len(run)):
        return []
    around = ((i, _pairs_around(run, i)) for i in weak.tolist())
    return [run[i] for i, pairs in around if _is_wrong(run, i, pairs, sizes) or _lacks_forces(run[i], pairs)]


def _pairs_around(run: Sequence[Frame], i: int) -> list[Pair]:
    """The pairs of a frame with those before and behind it."""
    near = [j for j in range(i - _AROUND, i + _AROUND + 1) if j != i and 0 <= j < len(run)]
    pairs = (make_pair(run[min(i, j)], run[max(i, j)]) for j in near)
    return [pair for pair in pairs if pair is not None and pair.is_near and pair.is_complete]


def _lacks_forces(frame: Frame, pairs: Sequence[Pair]) -> bool:
    """Whether a frame has no forces at all and the energies to those around it need some."""
    if np.any(frame.forces) or len(pairs) < 4:
        return False
    change = np.array([pair.energy_change - (pair.stress_work or 0.0) for pair in pairs])
    rest = _left_for(pairs, np.zeros(len(pairs)))
    return bool(np.sum(np.square(rest)) > _UNEXPLAINED * np.sum(np.square(change)))
