"""What all data-set readers share: frames by number, published splits, arrays of one molecule, optional
packages.

A reader knows the sizes of its frames without building them, and builds a frame when it is asked for, so that
a set larger than memory can be trained on.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jmp_calc.errors import BadInputError, JMPError, UsageError

from ..data.frame import Frame

SEED = 42
"""Of every split of the official recipes (``datasets.md`` 0.3)."""


@contextmanager
def foreign(path: Path) -> Iterator[None]:
    """Whatever else a reader runs into in a damaged file becomes a BadInputError that names the file."""
    try:
        yield
    except (JMPError, MemoryError):
        raise
    except Exception as error:  # csv, json, h5py, numpy and zipfile raise anything for damaged input
        reason = error.strerror if isinstance(error, OSError) else None
        raise BadInputError(
            f"{path.name} cannot be read: {reason or repr(error)[:200]}.",
            where=str(path)[:200],
            hint="fetch it again",
        ) from error


class FrameSource(ABC):
    """Frames of one data set (or one of its molecules, tasks, parts) by number."""

    path: Path
    """The file that names the set."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> Frame: ...

    @property
    @abstractmethod
    def n_atoms(self) -> np.ndarray:
        """(frames,) int64, known without building the frames."""

    def __iter__(self) -> Iterator[Frame]:
        return (self.readable(i) for i in range(len(self)))

    def take(self, indices: np.ndarray) -> tuple[Frame, ...]:
        """The frames at ``indices``, shape (n,)."""
        return tuple(self.readable(int(i)) for i in indices)

    def readable(self, index: int) -> Frame:
        """One frame; BadInputError for whatever a damaged file makes of it."""
        with foreign(self.path):
            return self[index]


@dataclass(frozen=True, eq=False)
class Parts:
    """Frame numbers of a split, and in words how it was made."""

    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray
    how: str

    def __post_init__(self) -> None:
        everything = np.concatenate([self.train, self.valid, self.test])
        if len(np.unique(everything)) != len(everything):
            raise BadInputError(f"The split {self.how!r} puts a frame into two parts.")


class MoleculeFrames(FrameSource):
    """Frames of one molecule: arrays in eV and Å as they lie in memory."""

    def __init__(
        self,
        path: Path,
        group: str,
        numbers: np.ndarray,
        positions: np.ndarray,
        energies: np.ndarray,
        forces: np.ndarray,
    ) -> None:
        """Args:
        path: the file.
        group: name of the molecule.
        numbers: (N,).
        positions: (M, N, 3) Å.
        energies: (M,) eV, float64.
        forces: (M, N, 3) eV/Å, minus the gradient.
        """
        self.path, self.group = path, group
        self.numbers = np.asarray(numbers, dtype=np.int64)
        self._positions, self._energies, self._forces = positions, energies, forces

    def __len__(self) -> int:
        return len(self._positions)

    @property
    def n_atoms(self) -> np.ndarray:
        """(frames,) int64."""
        return np.full(len(self), len(self.numbers), dtype=np.int64)

    def __getitem__(self, index: int) -> Frame:
        return molecule_frame(
            self.numbers,
            self._positions[index],
            self.path.name,
            int(index),
            self.group,
            energy=float(self._energies[index]),
            forces=self._forces[index],
        )


def molecule_frame(
    numbers: np.ndarray,
    positions: np.ndarray,
    source: str,
    index: int,
    group: str,
    *,
    energy: float | None = None,
    forces: np.ndarray | None = None,
    identifier: str | None = None,
    targets: dict[str, float] | None = None,
) -> Frame:
    """A frame without a cell: numbers (N,), positions (N, 3) Å, energy eV, forces (N, 3) eV/Å."""
    return Frame(
        numbers=np.asarray(numbers, dtype=np.int64),
        positions=np.asarray(positions, dtype=np.float64),
        cell=np.zeros((3, 3)),
        pbc=np.zeros(3, dtype=bool),
        energy=energy,
        forces=None if forces is None else np.asarray(forces, dtype=np.float64),
        stress=None,
        group=group,
        source=source,
        index=index,
        identifier=identifier,
        targets=targets or {},
    )


def legacy_shuffle(count: int, seed: int = SEED) -> np.ndarray:
    """0 ... count-1 in the order that NumPy's legacy generator gives, shape (count,); the Generator API gives
    another."""
    order = np.arange(count)
    np.random.RandomState(seed).shuffle(order)
    return order


def shuffled_parts(
    count: int, n_train: int, n_valid: int, n_test: int | None = None, seed: int = SEED
) -> Parts:
    """Train, validation and test as consecutive slices of the legacy shuffle; ``n_test=None``: all that is
    left.

    BadInputError if there are fewer frames than the sizes need.
    """
    rest = count - n_train - n_valid
    if min(n_train, n_valid) < 1 or rest < (n_test or 0):
        raise BadInputError(
            f"{count} frames are too few for {n_train} to train and {n_valid} to validate on"
            + (f" and {n_test} to test on." if n_test else "."),
            hint="the data set is not complete; give the whole set, or other sizes",
        )
    order = legacy_shuffle(count, seed)
    stop = n_train + n_valid + (rest if n_test is None else n_test)
    how = f"RandomState({seed}) shuffle of {count}: {n_train} / {n_valid} / {stop - n_train - n_valid}"
    return Parts(order[:n_train], order[n_train : n_train + n_valid], order[n_train + n_valid : stop], how)


def optional(name: str) -> Any:
    """An optional package of the extra ``data``; UsageError with the command that installs it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UsageError(
            f"This data set needs the package {name}.", hint='pip install "jmp-calc[data]"'
        ) from error


def find_file(folder: Path, names: Sequence[str], what: str) -> Path:
    """The first of ``names`` (paths below ``folder``) that exists; ``folder`` may be the file itself.

    BadInputError listing the names that were looked for.
    """
    if folder.is_file() and any(folder.match(Path(name).name) for name in names):
        return folder
    for name in names:
        if (folder / name).is_file():
            return folder / name
    state = "is not there" if not folder.exists() else "has none of " + ", ".join(dict.fromkeys(names))
    raise BadInputError(
        f"{what} was not found: {folder} {state}.",
        where=str(folder),
        hint="give the folder of the data set with --data, see jmp-calc data list",
    )


def choose(name: str, known: Sequence[str], what: str) -> str:
    """``name`` in the spelling of ``known`` (case does not matter); UsageError with the nearest names."""
    import difflib

    spelled = {item.lower(): item for item in known}
    if name.lower() in spelled:
        return spelled[name.lower()]
    near = difflib.get_close_matches(name.lower(), spelled, n=2)
    hint = (
        f"did you mean {' or '.join(spelled[n] for n in near)}?"
        if near
        else f"choose one of {', '.join(known)}"
    )
    raise UsageError(f"There is no {what} {name!r}.", hint=hint)
