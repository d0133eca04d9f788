"""One data set of a pre-training: its statistics, and its frames as sequences that are made when asked
for."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np

from ..data.frame import Frame
from .pack import Packed, PackedSet


@dataclass(frozen=True, eq=False)
class SourceSet:
    """One data set: its frames, apart for training and validation, and the statistics of the training
    frames."""

    described: PackedSet
    """Head, linear references, licence and source."""
    train: Sequence[Frame]
    valid: Sequence[Frame]
    train_sizes: np.ndarray
    """(frames, 3) atoms, main edges, most main edges of one atom; may be a memory map."""
    valid_sizes: np.ndarray
    energy_std: float
    """eV: population standard deviation of the referenced total energies."""
    mean_atoms: float
    fingerprint: str
    """Hash of the frames and labels."""

    @property
    def name(self) -> str:
        """Name in the recipe."""
        return self.described.name

    @property
    def references(self) -> Mapping[int, float]:
        """Linear reference, eV by atomic number."""
        return self.described.references

    @property
    def force_rms(self) -> float:
        """eV/Å, by component."""
        return self.described.force_rms


class LazyFrames(Sequence[Frame]):
    """Frames that are made when they are asked for."""

    def frame(self, index: int) -> Frame:
        """One frame; ``index`` counts from 0."""
        raise NotImplementedError

    @overload
    def __getitem__(self, index: int) -> Frame: ...
    @overload
    def __getitem__(self, index: slice) -> list[Frame]: ...
    def __getitem__(self, index: int | slice) -> Frame | list[Frame]:
        if isinstance(index, slice):
            return [self.frame(i) for i in range(*index.indices(len(self)))]
        return self.frame(range(len(self))[index])


class Joined(LazyFrames):
    """Several sequences of frames, one after the other; frames are read when they are asked for."""

    def __init__(self, parts: Sequence[Sequence[Frame]]) -> None:
        self._parts = parts
        self._first = np.cumsum([0, *(len(part) for part in parts)]).tolist()

    def __len__(self) -> int:
        return int(self._first[-1])

    def frame(self, index: int) -> Frame:
        """One frame of the part that it is in."""
        part = bisect_right(self._first, index) - 1
        return self._parts[part][index - self._first[part]]


class PackedFrames(LazyFrames):
    """Some frames of a pack."""

    def __init__(self, packed: Packed, indices: np.ndarray) -> None:
        self._packed, self._indices = packed, indices

    def __len__(self) -> int:
        return len(self._indices)

    def frame(self, index: int) -> Frame:
        """One frame of those chosen."""
        return self._packed.frame(int(self._indices[index]))


class Part(LazyFrames):
    """Consecutive frames of another sequence."""

    def __init__(self, frames: Sequence[Frame], start: int, stop: int) -> None:
        self._frames, self._start, self._count = frames, start, stop - start

    def __len__(self) -> int:
        return self._count

    def frame(self, index: int) -> Frame:
        """One frame, counted from the first of the part."""
        return self._frames[self._start + index]
