"""HDF5 files opened and checked the same way for every set; arrays are read only when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jmp_calc.errors import BadInputError

from ..base import FrameSource, optional


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """The file for reading; BadInputError if it is damaged or none."""
    h5py = optional("h5py")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise BadInputError(
            f"{path.name} is not a readable HDF5 file: {error}.", where=str(path), hint="fetch it again"
        ) from error
    with file:
        yield file


def array(group: Any, key: str, path: Path, rows: Any = ...) -> np.ndarray:
    """``group[key][rows]``; BadInputError naming file, group and key if it is missing or damaged.

    ``key`` is one name even where it has dots and parentheses.
    """
    where = f"{path} group {group.name} key {key}"
    if key not in group:
        raise BadInputError(
            f"There is no data set {key!r}; there are {', '.join(sorted(group)[:8])}.",
            where=where,
            hint="is this the file of another data set?",
        )
    try:
        return np.asarray(group[key][rows])
    except (OSError, ValueError, AttributeError) as error:
        raise BadInputError(
            f"The data set cannot be read: {error}.", where=where, hint="fetch the file again"
        ) from error


def shape(group: Any, key: str, path: Path) -> tuple[int, ...]:
    """Shape of ``group[key]`` without reading it; BadInputError if it is missing."""
    if key not in group:
        raise BadInputError(
            f"There is no data set {key!r}.",
            where=f"{path} group {group.name} key {key}",
            hint="is this the file of another data set?",
        )
    return tuple(group[key].shape)


def check_shapes(
    n_atoms: int, positions: tuple[int, ...], energies: tuple[int, ...], forces: tuple[int, ...], where: str
) -> None:
    """BadInputError unless (M, N, 3) positions and forces, M energies and N atoms belong together."""
    if (
        len(positions) != 3
        or positions[1:] != (n_atoms, 3)
        or forces != positions
        or energies[:1] != positions[:1]
    ):
        raise BadInputError(
            f"Shapes do not agree: {n_atoms} atoms, energies {energies}, positions {positions}, "
            f"forces {forces}.",
            where=where,
            hint="fetch the file again",
        )


@dataclass(frozen=True)
class Keys:
    """Names of the four arrays of a group."""

    numbers: str
    positions: str
    energy: str
    forces: str


class GroupedFrames(FrameSource):
    """Frames of a file with one group per molecule or reaction, of which one at a time is in memory."""

    def __init__(self, path: Path, groups: Sequence[str], keys: Keys) -> None:
        """``groups``: names of the groups in the order of the frames; their shapes are checked."""
        self.path, self.groups, self._keys = path, tuple(groups), keys
        counts, sizes = [], []
        with opened(path) as file:
            for name in self.groups:
                n_frames, n_atoms = group_size(file[name], keys, path)
                counts.append(n_frames)
                sizes.append(n_atoms)
        self._first = np.cumsum([0, *counts])
        self._sizes = np.repeat(np.array(sizes, dtype=np.int64), counts)
        self._loaded: tuple[int, tuple[np.ndarray, ...]] = (-1, ())

    def __len__(self) -> int:
        return int(self._first[-1])

    @property
    def n_atoms(self) -> np.ndarray:
        """(frames,) int64."""
        return self._sizes

    def row(self, index: int) -> tuple[int, int, tuple[np.ndarray, ...]]:
        """Number of the group, of the frame in it, and the group's numbers, positions, energies and
        forces."""
        number = int(np.searchsorted(self._first, index, side="right")) - 1
        if self._loaded[0] != number:
            with opened(self.path) as file:
                group = file[self.groups[number]]
                self._loaded = (
                    number,
                    tuple(array(group, key, self.path) for key in vars(self._keys).values()),
                )
        return number, int(index - self._first[number]), self._loaded[1]


def group_size(group: Any, keys: Keys, path: Path) -> tuple[int, int]:
    """Frames and atoms of a group; BadInputError if an array is missing or the shapes do not agree."""
    (n_atoms,) = shape(group, keys.numbers, path) or (0,)
    positions, energies, forces = (
        shape(group, key, path) for key in (keys.positions, keys.energy, keys.forces)
    )
    check_shapes(n_atoms, positions, energies, forces, f"{path} group {group.name}")
    return positions[0], n_atoms
