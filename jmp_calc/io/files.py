"""Files of structures before anything is read from them: whether they can be read, which frames are wanted,
how they are unpacked.

Frames are picked with ``path@index``: ``@0``, ``@-1``, ``@:``, ``@::10``, ``@5:20``. Files packed with gzip,
bzip2 or xz are recognised by their first bytes and unpacked no further than a sound file would need.
"""

from __future__ import annotations

import bz2
import glob
import gzip
import io
import lzma
import os
import re
import stat
import tempfile
import warnings
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any, TypeVar

from ..errors import BadInputError, JMPWarning, UsageError
from .summary import SUMMARY_FILE

Index = int | slice
T = TypeVar("T")

PACKED_SUFFIXES = (".gz", ".bz2", ".xz")
LONGEST_LINE = 1 << 20
"""Bytes of one line of a text file; a header that is longer is no header."""
UNPACKED_FREELY, UNPACKED_RATIO = 100 << 20, 60
"""A packed file may unpack to so many bytes, or to so many times its size: text of atoms shrinks 3 to 20
times."""
DAMAGED_PACKING = (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)
_MAGIC: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7z": lzma.open}
_INDEX = re.compile(r"-?\d{1,18}|(-?\d{1,18})?:(-?\d{1,18})?(:(-?\d{1,18})?)?")


# ---- which file, which frames ---------------------------------------------------------------------------


@dataclass(frozen=True)
class StructureRef:
    """A file and the frames wanted from it."""

    path: Path
    index: Index | None = None


def parse_structure(spec: str | os.PathLike[str]) -> StructureRef:
    """Split ``path@index``; a file, or a pattern of files, whose name contains ``@`` is taken as it stands.

    UsageError for an index that is none.
    """
    text = os.fspath(spec)
    if "@" not in text or os.path.exists(text) or (glob.has_magic(text) and glob.glob(text)):
        return StructureRef(Path(text))
    name, _, index = text.rpartition("@")
    return StructureRef(Path(name), parse_index(index, where=text))


def parse_index(text: str | Index, *, where: str | None = None) -> Index:
    """``"3"``, ``"-1"``, ``":"``, ``"::10"`` or ``"5:20"`` as int or slice; UsageError for anything else."""
    if isinstance(text, (int, slice)):
        return text
    text = text.strip()
    if not _INDEX.fullmatch(text):
        raise UsageError(
            f"{text[:60]!r} is not a frame index.",
            where=where,
            hint="write a number or start:stop:step, such as 0, -1, : or ::10",
        )
    if ":" not in text:
        return int(text)
    parts = [int(part) if part else None for part in text.split(":")]
    if len(parts) == 3 and parts[2] == 0:
        raise UsageError("A slice step of zero.", where=where, hint="use start:stop:step with another step")
    return slice(*parts)


def shown_index(index: Index) -> str:
    """The index as it is written after ``@``."""
    if isinstance(index, int):
        return str(index)
    parts = [index.start, index.stop] + ([] if index.step is None else [index.step])
    return ":".join("" if part is None else str(part) for part in parts)


def select(frames: Iterable[T], index: Index) -> Iterator[T]:
    """The frames of an index, one after the other as far as it only counts forward; none where there are too
    few."""
    if isinstance(index, int):
        if index >= 0:
            return islice(frames, index, index + 1)
        last = deque(frames, maxlen=-index)
        return islice(last, 1 if len(last) == -index else 0)
    bounds = (index.start, index.stop, index.step)
    if any(bound is not None and bound < 0 for bound in bounds):
        return iter(list(frames)[index])
    return islice(frames, *bounds)


def find_files(given: Sequence[str | Path], suffixes: Sequence[str]) -> tuple[Path, ...]:
    """Files as given, those that match a pattern (``run*/OUTCAR``), and of each folder those with one of the
    ``suffixes``, packed or not; patterns and folders by name.

    Raises:
        BadInputError: a file that is not there, a pattern or folder without files.
        UsageError: a file that is given twice, also by a packed copy.
    """
    found: list[Path] = []
    for path in map(Path, given):
        if path.is_dir():
            found += _inside(path, suffixes)
        elif glob.has_magic(str(path)) and not os.path.exists(path):
            matches = [Path(p) for p in sorted(glob.glob(str(path), recursive=True)) if os.path.isfile(p)]
            if not matches:
                raise BadInputError("No file matches the pattern.", where=str(path), hint="check the pattern")
            found += matches
        else:
            found.append(check_file(path))
    refuse_doubles(found)
    return tuple(found)


def _inside(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """The files of a folder, by name; a warning where its subfolders have more, BadInputError where there are
    none."""

    def of(entries: Iterable[Path]) -> list[Path]:
        return [path for path in entries if path.is_file() and suffix(path) in suffixes]

    entries = sorted(folder.iterdir())
    inside = of(entries)
    below = next((path for sub in _looked_into(entries) for path in of(sorted(sub.iterdir()))), None)
    pattern = ""
    if below is not None:
        packing = below.suffix if below.suffix.lower() in PACKED_SUFFIXES else ""
        pattern = f"'{folder}/**/*{suffix(below)}{packing}' (in quotes)"
    if not inside:
        raise BadInputError(
            f"The folder has no file {', '.join('*' + s for s in suffixes)}.",
            where=str(folder),
            hint=f"for those of its subfolders give {pattern}" if pattern else "name other files one by one",
        )
    if below is not None:
        text = f"{folder}: files of its subfolders are left out (first: {below}); for them give {pattern}."
        warnings.warn(JMPWarning(text), stacklevel=4)
    return inside


def _looked_into(entries: Iterable[Path]) -> Iterator[Path]:
    """The folders among them that can be read, are not hidden, and are no results of a command."""
    for entry in entries:
        readable = entry.is_dir() and os.access(entry, os.R_OK | os.X_OK)
        if readable and not entry.name.startswith(".") and not (entry / SUMMARY_FILE).exists():
            yield entry


def find_structures(given: Sequence[str], suffixes: Sequence[str]) -> tuple[str, ...]:
    """The files of ``find_files``, each with the ``@index`` that was given with it; a file may come twice
    with different ones. The same errors."""
    return tuple(spec for specs in find_each(given, suffixes) for spec in specs)


def find_each(given: Sequence[str], suffixes: Sequence[str]) -> list[list[str]]:
    """The same, apart for each of ``given``."""
    by_index: dict[str, list[Path]] = {}
    each: list[list[str]] = []
    for ref in map(parse_structure, given):
        index = "" if ref.index is None else f"@{shown_index(ref.index)}"
        paths = find_files([ref.path], suffixes)
        each.append([f"{path}{index}" for path in paths])
        by_index.setdefault(index, []).extend(paths)
    for paths_with_index in by_index.values():
        refuse_doubles(paths_with_index)
    return each


def refuse_doubles(paths: Iterable[Path]) -> None:
    """UsageError, naming it, for a file that is among others twice, or once as it is and once packed."""
    seen: dict[Path, Path] = {}
    for path in paths:
        place = path.resolve()
        other = seen.setdefault(place.with_name(unpacked_name(place)), path)
        if other is path:
            continue
        if other.resolve() == place:
            raise UsageError("A file was given twice.", where=str(path), hint="its frames would count double")
        names = " and ".join(sorted((other.name, path.name)))
        raise UsageError(
            f"{names} are a file and its packed copy: its frames would count double.",
            where=str(path.parent),
            hint="leave one of them out, or rename it if it is another file",
        )


def suffix(path: Path) -> str:
    """Lower-case suffix without that of the packing: ``.xyz`` of ``run.XYZ.gz``; "" without one."""
    return Path(unpacked_name(path)).suffix.lower()


def unpacked_name(path: Path) -> str:
    """Name of the file without the suffix of its packing."""
    return path.stem if path.suffix.lower() in PACKED_SUFFIXES else path.name


# ---- whether it can be read -------------------------------------------------------------------------------


def check_file(path: Path) -> Path:
    """The path itself; BadInputError if there is no file that can be read, with the reason."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        raise BadInputError("No such file.", where=str(path), hint=_neighbours(path)) from None
    except (OSError, ValueError) as error:  # a name too long, a folder that is closed, a zero byte
        raise _unreadable(path, error) from error
    if stat.S_ISDIR(mode):
        raise BadInputError(
            "This is a directory, not a structure file.", where=str(path), hint="name a file in it"
        )
    if not stat.S_ISREG(mode):
        raise BadInputError(
            f"This is {_kind(mode)}, not a file.", where=str(path), hint="write the data to a file first"
        )
    try:
        with open(path, "rb") as stream:
            empty = not stream.read(1)
    except OSError as error:
        raise _unreadable(path, error) from error
    if empty:
        raise BadInputError("The file is empty.", where=str(path), hint="was the job that wrote it killed?")
    return path


def _neighbours(path: Path) -> str:
    """Files of similar names beside one that is not there."""
    try:
        names = sorted(p.name for p in path.parent.iterdir() if p.name.startswith(path.stem[:4]))[:3]
    except OSError:
        names = []
    return f"in that folder: {', '.join(names)}" if names else "check the path"


def _kind(mode: int) -> str:
    kinds = ((stat.S_ISFIFO, "a named pipe"), (stat.S_ISSOCK, "a socket"))
    return next((name for test, name in kinds if test(mode)), "a device")


def _unreadable(path: Path, error: OSError | ValueError) -> BadInputError:
    reason = getattr(error, "strerror", None) or str(error)
    shown = str(path) if len(str(path)) <= 200 else f"{str(path)[:200]}…"
    return BadInputError(
        f"The file cannot be read: {reason}.", where=shown, hint="check path and permissions"
    )


# ---- unpacking --------------------------------------------------------------------------------------------


class BoundedBytes(io.RawIOBase):
    """Unpacked bytes of a file: of a packed one no more than a sound one holds, of text no endless line.

    Reading further raises BadInputError: what a small file unpacks to, or a line without an end, is refused
    before it fills the memory.
    """

    def __init__(self, path: Path, *, longest_line: int | None) -> None:
        self._path, self._longest = path, longest_line
        self._file = path.open("rb")
        start = self._file.read(3)
        opener = next((opener for magic, opener in _MAGIC.items() if start.startswith(magic)), None)
        self._file.seek(0)
        self._source: IO[bytes] = self._file if opener is None else opener(self._file, "rb")
        self._size = max(os.fstat(self._file.fileno()).st_size, 1)
        self._most = None if opener is None else max(UNPACKED_FREELY, UNPACKED_RATIO * self._size)
        self._read = self._line = 0

    @property
    def fraction(self) -> float:
        """Share of the file that was read, as it lies on disk."""
        return min(self._file.tell() / self._size, 1.0)

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill ``buffer``; the number of bytes.

        Raises:
            BadInputError: more than the limits of the file.
        """
        chunk = self._source.read(len(buffer))
        buffer[: len(chunk)] = chunk
        self._read += len(chunk)
        if self._most is not None and self._read > self._most:
            raise BadInputError(
                f"The packed file unpacks to more than {self._most >> 20} MB.",
                where=str(self._path),
                hint="unpack it first if that is right",
            )
        if self._longest is not None:
            end = max(chunk.rfind(b"\n"), chunk.rfind(b"\r"))
            self._line = len(chunk) - end - 1 + (self._line if end < 0 else 0)
            if self._line > self._longest:
                raise BadInputError(
                    f"A line is longer than {self._longest >> 20} MB.",
                    where=str(self._path),
                    hint="is this a text file?",
                )
        return len(chunk)

    def close(self) -> None:
        """Close the file."""
        self._source.close()
        self._file.close()
        super().close()


class UnpackedStream(io.BufferedReader):
    """Buffered bytes of a file, unpacked; ``fraction`` of it was read."""

    def __init__(self, path: Path, *, longest_line: int | None = None) -> None:
        self._bounded = BoundedBytes(path, longest_line=longest_line)
        super().__init__(self._bounded, 1 << 18)

    @property
    def fraction(self) -> float:
        """Share of the file that was read."""
        return self._bounded.fraction


def open_bytes(path: Path, *, longest_line: int | None = None) -> UnpackedStream:
    """The file as bytes, unpacked when its first bytes say that it is packed; bounds as in BoundedBytes."""
    return UnpackedStream(path, longest_line=longest_line)


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """The file itself, or a plain copy of its unpacked content that is removed afterwards.

    BadInputError for packing that is damaged, cut short, or holds another packed file.
    """
    if path.suffix.lower() not in PACKED_SUFFIXES:
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / path.stem
        try:
            with open_bytes(path) as packed, plain.open("wb") as copy:
                start = packed.read(1 << 18)
                if start.startswith(tuple(_MAGIC)):
                    raise BadInputError("The file is packed twice.", where=str(path), hint="unpack it first")
                while start:
                    copy.write(start)
                    start = packed.read(1 << 18)
        except DAMAGED_PACKING as error:
            raise damaged_packing(path) from error
        yield plain


def damaged_packing(path: Path) -> BadInputError:
    """The error for a packed file that breaks off or does not unpack."""
    return BadInputError(
        "The packed file is damaged or cut short.", where=str(path), hint="copy or download it again"
    )
