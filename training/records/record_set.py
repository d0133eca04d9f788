"""Record sets: labelled frames in LMDB files, read one at a time, so that a set larger than memory can be
trained on.

A record set is a folder::

    set.json              statistics, counts, sources with hashes, names, fingerprint; written last
    sizes.npy             (n, 3) int32: atoms, main edges and most main edges of one atom (0: not known)
    records-0000.lmdb     records by number, 4 bytes, big-endian (record_format.py); further shards follow on

:mod:`.record_writer` makes one.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np

from jmp_calc.errors import BadInputError
from jmp_calc.io.lmdb import LmdbFile
from jmp_calc.io.nesting import shallow_json

from ..data.frame import Frame
from ..data.sources import SET_FILE
from .format import FORMAT_VERSION, Tables, decode
from .statistics import SetStatistics

SIZES_FILE = "sizes.npy"
_FORMAT = "jmp-calc record set"


@dataclass(frozen=True)
class SourceFile:
    """A file that frames came from."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Shard:
    """One LMDB file of a record set."""

    file: str
    count: int
    bytes: int
    """Size of the file."""
    sha256: str
    """Of its records, one after the other."""
    tables: dict[str, list[str]]
    """Names that its records refer to by number."""


@dataclass(frozen=True)
class SetInfo:
    """Content of set.json."""

    statistics: SetStatistics
    shards: tuple[Shard, ...]
    sources: tuple[SourceFile, ...]
    min_atoms: int
    """Smaller frames were left out."""
    left_out: dict[str, int]
    """Frames that were left out, by reason."""
    fingerprint: str
    """SHA-256 over the records and names of all shards."""

    def write(self, folder: Path) -> None:
        """Write set.json."""
        content = {"format": _FORMAT, "version": FORMAT_VERSION, **asdict(self)}
        (folder / SET_FILE).write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> SetInfo:
        """Read set.json; BadInputError if the folder is no (finished) record set, or one of another
        version."""
        path = folder / SET_FILE
        if not path.is_file():
            raise BadInputError(
                f"{folder} is not a finished record set: it has no {SET_FILE}.",
                where=str(folder),
                hint="make one with jmp-calc preprocess FILE -o DIR",
            )
        try:
            content = shallow_json(path.read_bytes())
            if content.pop("format") != _FORMAT:
                raise ValueError("another format")
            version = content.pop("version")
            if version != FORMAT_VERSION:
                raise BadInputError(
                    f"The record set has version {version}, not {FORMAT_VERSION}.",
                    where=str(path),
                    hint="write it again with jmp-calc preprocess",
                )
            return cls(
                **{
                    **content,
                    "statistics": SetStatistics.from_dict(content["statistics"]),
                    "shards": tuple(Shard(**entry) for entry in content["shards"]),
                    "sources": tuple(SourceFile(**entry) for entry in content["sources"]),
                }
            )
        except (
            OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError
        ) as error:  # fmt: skip
            raise _not_understood(path, error) from error


class RecordSet(Sequence[Frame]):
    """The frames of a record set by number; safe in forked and spawned workers, and constant in memory.

    Files are opened at the first read of each process.
    """

    def __init__(self, path: str | Path) -> None:
        """Open a record set.

        Args:
            path: the folder.

        Raises:
            BadInputError: it is no record set, not finished, cut off or changed.
        """
        self.path = Path(path)
        self.info = SetInfo.read(self.path)
        try:
            counts = [shard.count for shard in self.info.shards]
            self._first = [0, *np.cumsum(counts, dtype=np.int64).tolist()]
            self._files = [LmdbFile(self.path / Path(shard.file).name) for shard in self.info.shards]
            self._tables = [Tables.from_dict(shard.tables) for shard in self.info.shards]
        except (TypeError, ValueError, KeyError, OverflowError) as error:
            raise _not_understood(self.path / SET_FILE, error) from error
        for shard in self.info.shards:
            _check_size(self.path / shard.file, shard.bytes)
        self.sizes = _sizes(self.path / SIZES_FILE, len(self))
        """(n, 3) int32, a memory map: atoms, main edges, most main edges of one atom; edges are 0 where not
        known."""

    def __len__(self) -> int:
        return int(self._first[-1])

    @overload
    def __getitem__(self, index: int) -> Frame: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Frame, ...]: ...
    def __getitem__(self, index: int | slice) -> Frame | tuple[Frame, ...]:
        if isinstance(index, slice):
            return tuple(self.frame(i) for i in range(*index.indices(len(self))))
        return self.frame(index)

    def frame(self, index: int) -> Frame:
        """One frame, negative numbers from the end; IndexError outside the set, BadInputError for a damaged
        record."""
        number = index + len(self) if index < 0 else index
        if not 0 <= number < len(self):
            raise IndexError(f"frame {index} of a record set of {len(self)}")
        shard = bisect_right(self._first, number) - 1
        key = int(number) - self._first[shard]
        where = f"{self._files[shard].path} record {key}"
        data = self._files[shard].get(record_key(key))
        if data is None:
            raise BadInputError("The record is missing.", where=where, hint="write the record set again")
        return decode(data, self._tables[shard], where)

    @property
    def statistics(self) -> SetStatistics:
        """Counts, linear references and scales of the set."""
        return self.info.statistics

    @property
    def n_atoms(self) -> np.ndarray:
        """(n,) int32 atoms of every frame, without opening records."""
        atoms: np.ndarray = self.sizes[:, 0]
        return atoms

    def __reduce__(self) -> tuple[Any, ...]:
        return RecordSet, (self.path,)  # the memory map must not travel as an array


def _not_understood(path: Path, error: Exception) -> BadInputError:
    return BadInputError(
        f"{SET_FILE} cannot be understood: {error}.",
        where=str(path),
        hint="write the record set again with jmp-calc preprocess",
    )


def record_key(number: int) -> bytes:
    """Key of a record in its shard; in the order of numbers."""
    return number.to_bytes(4, "big")


def _check_size(path: Path, expected: int) -> None:
    found = path.stat().st_size if path.is_file() else None
    if found != expected:
        state = "is missing" if found is None else f"has {found} bytes instead of {expected}"
        raise BadInputError(
            f"{path.name} {state}.",
            where=str(path),
            hint="copy the whole record set again, or write it again with jmp-calc preprocess",
        )


def _sizes(path: Path, count: int) -> np.ndarray:
    try:
        sizes: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # numpy's parser of headers raises many kinds for damaged files
        raise BadInputError(f"The sizes of the frames cannot be read: {error}.", where=str(path)) from error
    if sizes.shape != (count, 3):
        raise BadInputError(f"{path.name} has shape {sizes.shape} for {count} records.", where=str(path))
    return sizes
