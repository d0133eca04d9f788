"""Single frames whose labels do not belong to them: each is named."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..data.frame import Frame
from .findings import Finding, places
from .pairs import Pair, grouped, near_pairs

_DISTANCES = (1, 2)
_WORSE = 8.0
"""Times the usual misfit of a pair."""
_FAR = 6.0
"""Root mean square force over that of the next frame of the group."""
_LARGE = 5.0
"""eV/Å, root mean square: smaller ones occur in relaxations beside forces of nearly nothing."""
_EXPLAINED = 0.02
"""Share of the misfit that one factor may leave."""
_SHARE = 0.05
"""More frames than this share are no outliers."""
_MAX_PAIRS = 1500


def check_frames(frames: Sequence[Frame]) -> list[Finding]:
    """Frames with forces that no neighbour's energy confirms, or far larger or smaller than all others."""
    disagreeing: list[Frame] = []
    sized: list[Frame] = []
    for runs in grouped(frames).values():
        for run in runs:
            if len(run) >= 8:
                disagreeing += _disagreeing(run)
                sized += _of_other_size(run)
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


def _disagreeing(run: Sequence[Frame]) -> list[Frame]:
    """Frames whose pairs miss the energy by far more than those of other frames; the worst is taken out of
    the comparison before the next is judged."""
    pairs = [pair for d in _DISTANCES for pair in near_pairs([run], d, _MAX_PAIRS)]
    pairs = [pair for pair in pairs if not pair.strain.any() or pair.stress_work is not None]
    if len(pairs) < 12:
        return []
    place = {id(frame): i for i, frame in enumerate(run)}
    ends = np.array([(place[id(pair.one)], place[id(pair.other)]) for pair in pairs])
    work = np.array([pair.work + (pair.stress_work or 0.0) for pair in pairs])
    change = np.array([pair.energy_change for pair in pairs])
    misfit = np.square(change - work)
    floor = 0.1 * float(np.median(np.abs(change))) ** 2
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
        if _wrong_factor(run[worst], mine):
            found.append(run[worst])
        kept = ~own
        pairs = [pair for pair, is_own in zip(pairs, own.tolist(), strict=True) if not is_own]
        ends, misfit = ends[kept], misfit[kept]
        if len(misfit) < 12:
            break
    return found


def _wrong_factor(frame: Frame, pairs: Sequence[Pair]) -> bool:
    """Whether one factor on the forces of the frame, far from 1, makes all its pairs right."""
    if len(pairs) < 4:
        return False
    halves = [_half_works(frame, pair) for pair in pairs]
    own = np.array([half for half, _ in halves])
    rest = np.array([pair.energy_change - (pair.stress_work or 0.0) for pair in pairs])
    rest -= np.array([other for _, other in halves])
    factor = float(own @ rest) / max(float(own @ own), 1e-300)
    before, after = np.sum(np.square(rest - own)), np.sum(np.square(rest - factor * own))
    return bool(
        after < _EXPLAINED * before and (abs(factor) < 0.125 or factor > 8.0 or abs(factor + 1.0) < 0.3)
    )


def _half_works(frame: Frame, pair: Pair) -> tuple[float, float]:
    """eV of the work of a pair that come from the forces of the frame, and from those of its partner."""
    first, second = pair.forces
    halves = -0.5 * float(np.vdot(first, pair.step)), -0.5 * float(np.vdot(second, pair.step))
    return halves if pair.one is frame else halves[::-1]


def _of_other_size(run: Sequence[Frame]) -> list[Frame]:
    """The frame with the largest forces, where they are far from those of the next; only one can be told."""
    sizes = np.array([float(np.sqrt(np.mean(np.square(np.asarray(frame.forces))))) for frame in run])
    order = np.argsort(sizes)
    if sizes[order[-1]] > max(_FAR * sizes[order[-2]], _LARGE) and sizes[order[-2]] > 0:
        return [run[int(order[-1])]]
    return []
