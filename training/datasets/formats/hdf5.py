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

_DAMAGE = (OSError, ValueError, AttributeError, KeyError, RuntimeError, TypeError, OverflowError)
"""What h5py raises for damaged files."""
_FREE_BYTES, _LARGEST_RATIO = 1 << 26, 20
"""Bytes that a data set may have beside so many times those of the file: compression makes no more of it."""


_MOST_HOPS = 8


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
        try:
            yield file
        except _DAMAGE as error:
            raise _damaged(error, str(path)) from error


def array(group: Any, key: str, path: Path, rows: Any = ...) -> np.ndarray:
    """``group[key][rows]``; BadInputError naming file, group and key if it is missing or damaged.

    ``key`` is one name even where it has dots and parentheses.
    """
    where = f"{path} group {group.name} key {key}"
    found = _data_set(group, key, path)
    try:
        return np.asarray(found[rows])
    except _DAMAGE as error:
        raise _damaged(error, where) from error


def shape(group: Any, key: str, path: Path) -> tuple[int, ...]:
    """Shape of ``group[key]`` without reading it; BadInputError if it is missing."""
    return tuple(int(n) for n in _data_set(group, key, path).shape)


def member(group: Any, name: str, path: Path, hops: int = 0) -> Any:
    """A group or data set that lies in this file; BadInputError for a link to another file or to nothing, a
    name that is not there, and damage.

    Links to other files could read anything that the user can; links inside the file are followed, as
    published files have them, but not in a circle.
    """
    import h5py

    where = f"{path} group {group.name} key {name}"
    if not isinstance(group, h5py.Group):
        raise BadInputError(f"{group.name} is no group.", where=where, hint="fetch the file again")
    try:
        link = group.get(name, getlink=True) if _is_link(group, name) else None
        if isinstance(link, h5py.ExternalLink) or hops > _MOST_HOPS:
            what = "a circle of links" if hops > _MOST_HOPS else "a link to another file"
            raise BadInputError(
                f"{name!r} is {what}, which is not followed.", where=where, hint="get it from its publisher"
            )
        if isinstance(link, h5py.SoftLink):
            start = group.file if link.path.startswith("/") else group
            return inner(start, link.path.strip("/"), path, hops + 1)
        if link is not None:
            return group[name]
    except _DAMAGE as error:
        raise _damaged(error, where) from error
    raise BadInputError(
        f"There is no data set {name!r}; there are {', '.join(sorted(group)[:8])}.",
        where=where,
        hint="is this the file of another data set?",
    )


def _is_link(group: Any, name: str) -> bool:
    """Whether a name is there, if only as a link to nothing."""
    return bool(group.id.links.exists(name.encode()))


def _data_set(group: Any, key: str, path: Path) -> Any:
    """A data set of numbers or texts of this file, not larger than the file could hold."""
    import h5py

    found = member(group, key, path)
    where = f"{path} group {group.name} key {key}"
    if not isinstance(found, h5py.Dataset):
        raise BadInputError(f"{key!r} is no data set.", where=where, hint="fetch the file again")
    if found.external or found.is_virtual:
        raise BadInputError(
            f"{key!r} has its numbers in another file.", where=where, hint="get the file from its publisher"
        )
    limit = _FREE_BYTES + _LARGEST_RATIO * path.stat().st_size if path.is_file() else None
    if limit is not None and found.nbytes > limit:
        raise BadInputError(
            f"{key!r} of shape {found.shape} is far larger than the file.", where=where, hint="fetch it again"
        )
    return found


def _damaged(error: Exception, where: str) -> BadInputError:
    return BadInputError(f"The data set cannot be read: {error}.", where=where, hint="fetch the file again")


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
                n_frames, n_atoms = group_size(inner(file, name, path), keys, path)
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
                group = inner(file, self.groups[number], self.path)
                self._loaded = (
                    number,
                    tuple(array(group, key, self.path) for key in vars(self._keys).values()),
                )
        return number, int(index - self._first[number]), self._loaded[1]


def inner(file: Any, name: str, path: Path, hops: int = 0) -> Any:
    """The group or data set at a path of several names, in this file; errors as those of ``member``."""
    found = file
    for part in name.split("/"):
        found = member(found, part, path, hops)
    return found


def group_size(group: Any, keys: Keys, path: Path) -> tuple[int, int]:
    """Frames and atoms of a group; BadInputError if an array is missing or the shapes do not agree."""
    n_atoms = (shape(group, keys.numbers, path) or (0,))[0]
    positions, energies, forces = (
        shape(group, key, path) for key in (keys.positions, keys.energy, keys.forces)
    )
    check_shapes(n_atoms, positions, energies, forces, f"{path} group {group.name}")
    return positions[0], n_atoms
