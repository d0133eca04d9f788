"""Training and validation frames: contiguous blocks of every group, so that neighbours in time stay together.

A random split of a trajectory puts a near copy of most validation frames into the training set and measures
nothing.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Sequence

import numpy as np

from jmp_calc.errors import UsageError

from .copies import EXACT, find_matches
from .frame import Frame

Split = tuple[tuple[Frame, ...], tuple[Frame, ...]]


def split_frames(frames: Sequence[Frame], valid_fraction: float, seed: int = 0) -> Split:
    """Training and validation frames, both in file order; the same input and seed give the same split.

    Every group (source and ``config_type``) gives about ``valid_fraction`` of its frames, in one to five
    blocks. With two frames or more neither part is empty (unless the fraction is 0). A validation frame with
    an element that no training frame has, or with an exact twin among them, goes to training. UsageError
    unless 0 <= valid_fraction < 1.
    """
    if not 0.0 <= valid_fraction < 1.0:
        raise UsageError(f"The validation fraction is {valid_fraction}, not between 0 and 1.")
    groups: dict[tuple[str, str], list[int]] = {}
    for position, frame in enumerate(frames):
        groups.setdefault((frame.source, frame.group), []).append(position)
    chosen: set[int] = set()
    owed = 0.0
    for name, members in groups.items():
        owed += valid_fraction * len(members)
        # The carried remainder gives small groups their share of the total.
        take = min(int(owed + 0.5), len(members) - (len(groups) == 1))
        if take > 0:
            owed -= take
            rng = np.random.default_rng([seed, zlib.crc32("/".join(name).encode())])
            chosen.update(members[i] for i in _blocks(len(members), take, rng))
    if not chosen and valid_fraction > 0 and len(frames) > 1:
        chosen = {max(groups.values(), key=len)[-1]}
    return _apply(frames, _keep_elements(frames, chosen))


def every_nth(frames: Sequence[Frame], n: int, offset: int | None = None) -> Split:
    """Every ``n``-th frame for validation (the last of each ``n`` unless ``offset`` says), the others for
    training.

    Raises:
        UsageError: nothing is left to train on.
    """
    if n < 2:
        raise UsageError(
            f"Every {n}-th frame for validation leaves nothing to train on.", hint="use 2 or more"
        )
    start = n - 1 if offset is None else offset
    return _apply(frames, {i for i in range(len(frames)) if i % n == start % n})


def _apply(frames: Sequence[Frame], chosen: set[int]) -> Split:
    """The two parts; a validation frame with a twin in the training part moves there, unless all have one."""
    train = [i for i in range(len(frames)) if i not in chosen]
    valid = sorted(chosen)
    twins = {match.a for match in find_matches([frames[i] for i in valid], [frames[i] for i in train], EXACT)}
    if len(twins) < len(valid):
        train = sorted(train + [valid[k] for k in twins])
        valid = [i for k, i in enumerate(valid) if k not in twins]
    return tuple(frames[i] for i in train), tuple(frames[i] for i in valid)


def _blocks(count: int, take: int, rng: np.random.Generator) -> list[int]:
    """``take`` of ``count`` positions in up to five blocks, one in each equal stretch of the group."""
    number = min(5, max(1, take // 10), max(1, count // 2))
    picked: list[int] = []
    for block in range(number):
        start, stop = block * count // number, (block + 1) * count // number
        size = (block + 1) * take // number - block * take // number
        first = start + int(rng.integers(0, max(1, stop - start - size + 1)))
        picked.extend(range(first, min(first + size, stop)))
    return picked


def _keep_elements(frames: Sequence[Frame], chosen: set[int]) -> set[int]:
    known = {int(z) for i, frame in enumerate(frames) if i not in chosen for z in np.unique(frame.numbers)}
    kept = set(chosen)
    for i in sorted(chosen):
        elements = {int(z) for z in np.unique(frames[i].numbers)}
        if not elements <= known and len(kept) > 1:
            known |= elements
            kept.discard(i)
    return _replaced_if_unseen(frames, kept) if len(kept) == 1 else kept


def _replaced_if_unseen(frames: Sequence[Frame], kept: set[int]) -> set[int]:
    """The single validation frame, or instead the last frame whose elements all occur in other frames."""
    counts = Counter(int(z) for frame in frames for z in np.unique(frame.numbers))

    def common(i: int) -> bool:
        return all(counts[int(z)] > 1 for z in np.unique(frames[i].numbers))

    (only,) = kept
    return kept if common(only) else {next((i for i in reversed(range(len(frames))) if common(i)), only)}
