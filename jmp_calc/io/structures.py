"""Read structures from any file that ASE reads, plain or gzipped, with errors that say what is wrong and
where.

``path@index`` picks frames as in ASE (``run.traj@-1``, ``data.extxyz@0:10``). Gzipped text is decompressed
into
memory first: ASE seeks in the file, which is quadratic in a compressed stream. Nothing is changed in what is
read: constraints, tags, masses and momenta stay as the file has them.
"""

from __future__ import annotations

import gzip
import io
import os
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..checks import check_atoms, check_sound
from ..errors import BadInputError, BadStructureError, JMPError, UsageError

if TYPE_CHECKING:
    from ase import Atoms

Index = int | slice
FRAMES_TOGETHER, ATOMS_TOGETHER = 64, 2048
"""Frames, or atoms, that are evaluated before their results are written."""
_XYZ_SUFFIXES = (".xyz", ".extxyz")
_INDEX = re.compile(r"^(-?\d+|-?\d*:-?\d*(:-?\d*)?)$")


@dataclass(frozen=True)
class StructureRef:
    """A file and the frames wanted from it."""

    path: Path
    index: Index | None = None


def parse_structure(spec: str | os.PathLike[str]) -> StructureRef:
    """Split ``path@index``; an existing file whose name contains ``@`` is taken as it stands."""
    text = os.fspath(spec)
    if "@" not in text or os.path.exists(text):
        return StructureRef(Path(text))
    name, _, index = text.rpartition("@")
    return StructureRef(Path(name), parse_index(index, where=text))


def parse_index(text: str | int | slice, *, where: str | None = None) -> Index:
    """``"3"``, ``"-1"``, ``":"`` or ``"0:10:2"`` as int or slice; UsageError for anything else."""
    if isinstance(text, (int, slice)):
        return text
    if not _INDEX.match(text):
        raise UsageError(
            f"'{text}' is not a frame index.", where=where, hint="use @0, @-1, @: or @start:stop:step"
        )
    if ":" not in text:
        return int(text)
    parts = [int(part) if part else None for part in text.split(":")]
    if len(parts) == 3 and parts[2] == 0:
        raise UsageError(
            "A slice step of zero.", where=where, hint="use @start:stop:step with a step of 1 or more"
        )
    return slice(*parts)


def read_structure(spec: str | os.PathLike[str], *, allow_truncated: bool = False) -> Atoms:
    """One structure; without an index the last frame, as ASE does.

    Raises:
        BadInputError: file missing, empty, unreadable, of unknown format, truncated, or index out of range.
        BadStructureError: a structure that cannot be evaluated.
        UsageError: an index that selects several frames.
    """
    ref = parse_structure(spec)
    if isinstance(ref.index, slice):
        raise UsageError(
            "One structure is needed, the index selects a range.", where=str(spec), hint="use @0 or @-1"
        )
    index = -1 if ref.index is None else ref.index
    atoms = read_frames(ref.path, index=index, allow_truncated=allow_truncated)[0]
    check_sound(atoms, where=str(spec))
    return atoms


def read_frames(
    spec: str | os.PathLike[str], *, index: str | Index | None = None, allow_truncated: bool = False
) -> list[Atoms]:
    """All selected frames as a list (default all); errors as for read_structure."""
    return list(iter_frames(spec, index=index, allow_truncated=allow_truncated))


def iter_frames(
    spec: str | os.PathLike[str], *, index: str | Index | None = None, allow_truncated: bool = False
) -> Iterator[Atoms]:
    """Selected frames one by one (default all), without holding all of a long file in memory.

    ``allow_truncated`` drops the last frame of an (ext)xyz file that a killed job left incomplete.
    """
    ref = parse_structure(spec)
    wanted = parse_index(index, where=str(spec)) if index is not None else ref.index
    wanted = slice(None) if wanted is None else wanted
    path = _checked(ref.path)
    source = _open(path, allow_truncated=allow_truncated)
    count = 0
    try:
        for atoms in _ase_frames(source, path, wanted):
            count += 1
            yield atoms
    except IndexError as err:
        raise _out_of_range(path, wanted, source) from err
    except BadInputError:
        raise
    except Exception as err:  # ASE's readers raise anything; the cause stays attached
        raise _diagnose(path, source, wanted, err) from err
    if count == 0:
        raise _out_of_range(path, wanted, source)


def windows(frames: Iterable[Atoms]) -> Iterator[list[Atoms]]:
    """Frames in groups that are evaluated together; those before a frame that cannot be read are not lost."""
    window: list[Atoms] = []
    unreadable: JMPError | None = None
    try:
        for atoms in frames:
            window.append(atoms)
            if len(window) == FRAMES_TOGETHER or sum(map(len, window)) >= ATOMS_TOGETHER:
                yield window
                window = []
    except JMPError as error:
        unreadable = error
    if window:
        yield window
    if unreadable is not None:
        raise unreadable


def check_frames(spec: str | os.PathLike[str], *, index: str | Index | None = None) -> int:
    """The number of selected frames (default all), each of which a calculator could take; errors name the
    frame."""
    count = 0
    for count, atoms in enumerate(iter_frames(spec, index=index), start=1):
        try:
            check_atoms(atoms)
        except BadStructureError as error:
            raise BadStructureError(
                error.fact, where=f"{spec}, selected frame {count - 1}", hint=error.hint
            ) from error
    return count


def read_text(path: str | os.PathLike[str]) -> str:
    """Whole text of a file, gunzipped when its name ends in .gz; BadInputError when it cannot be."""
    target = _checked(Path(path))
    try:
        data = target.read_bytes()
        if target.suffix == ".gz":
            data = gzip.decompress(data)
        return data.decode("utf-8")
    except (OSError, EOFError, zlib.error) as err:
        raise BadInputError(
            "The gzip file is damaged or cut short.", where=str(path), hint="copy it again"
        ) from err
    except UnicodeDecodeError as err:
        raise BadInputError(
            "The file is not text.", where=str(path), hint="check that this is the right file"
        ) from err


def complete_xyz(text: str, *, where: str) -> str:
    """``text`` without an incomplete last frame; unchanged when every frame is complete.

    Raises:
        BadInputError: a frame in the middle, or the only frame, is malformed.
    """
    fault = xyz_fault(text)
    if fault is None:
        return text
    if not fault.at_end or fault.frame == 0:
        raise BadInputError(
            fault.fact, where=f"{where}, frame {fault.frame}, line {fault.line}", hint=fault.hint
        )
    return text[: fault.offset]


@dataclass(frozen=True)
class XYZFault:
    """The first malformed frame of an (ext)xyz text."""

    fact: str
    frame: int
    line: int
    offset: int
    at_end: bool

    @property
    def hint(self) -> str:
        """What to do about it."""
        if self.at_end and self.frame > 0:
            return f"--allow-truncated uses the first {self.frame} frame(s)"
        return "the number in a frame's first line must be its number of atom lines"


def xyz_fault(text: str) -> XYZFault | None:
    """Scan (ext)xyz text frame by frame (counts and numbers of columns only); None when it is sound."""
    lines = text.splitlines(keepends=True)
    position, offset, frame = 0, 0, 0
    while position < len(lines) and lines[position].strip():
        head = lines[position].strip()
        if not head.isdigit():
            fact = f"expected a number of atoms, found '{head[:40]}'"
            return XYZFault(fact, frame, position + 1, offset, at_end=False)
        n_atoms, body = int(head), lines[position + 2 : position + 2 + int(head)]
        columns = len(body[0].split()) if body else 0
        short = next((k for k, row in enumerate(body) if len(row.split()) < max(4, columns)), len(body))
        if short < n_atoms:
            last = position + 2 + short >= len(lines) - 1
            fact = f"the frame announces {n_atoms} atoms but has {short} complete atom lines"
            return XYZFault(fact, frame, position + 3 + short, offset, at_end=last)
        block = lines[position : position + 2 + n_atoms]
        position, offset, frame = position + 2 + n_atoms, offset + sum(map(len, block)), frame + 1
    return None


def _checked(path: Path) -> Path:
    try:
        if not path.exists():
            near = (
                sorted(p.name for p in path.parent.glob(f"{path.stem[:4]}*"))[:3]
                if path.parent.is_dir()
                else []
            )
            hint = f"in that folder: {', '.join(near)}" if near else "check the path"
            raise BadInputError("No such file.", where=str(path), hint=hint)
        if path.is_dir():
            raise BadInputError(
                "This is a directory, not a structure file.", where=str(path), hint="name a file in it"
            )
        if path.stat().st_size == 0:
            raise BadInputError(
                "The file is empty.", where=str(path), hint="was the job that wrote it killed?"
            )
        with open(path, "rb"):
            return path
    except OSError as err:
        fact = f"the file cannot be read: {err.strerror}"
        raise BadInputError(fact, where=str(path), hint="check permissions") from err


def _is_xyz(path: Path) -> bool:
    name = path.name.removesuffix(".gz")
    return name.endswith(_XYZ_SUFFIXES)


def _open(path: Path, *, allow_truncated: bool) -> str | None:
    """Text of the file when it has to be held in memory (gzip, or cut at the end), else None."""
    if _is_xyz(path) and allow_truncated:
        return complete_xyz(read_text(path), where=str(path))
    if path.suffix == ".gz" and not _binary(path):
        return read_text(path)
    return None


def _binary(path: Path) -> bool:
    return path.name.removesuffix(".gz").endswith((".traj", ".db", ".nc", ".npz"))


def _ase_frames(text: str | None, path: Path, index: Index) -> Iterator[Atoms]:
    """Frames by ASE; integers through ``read`` so that an index out of range is an IndexError."""
    import ase.io

    name = path.name.removesuffix(".gz")
    source: Any = str(path)
    form: str | None = "extxyz" if _is_xyz(path) else None
    if text is not None:
        source = io.StringIO(text)
        form = form or _text_format(name, text)
    elif path.suffix == ".gz":
        source = io.BytesIO(gzip.decompress(path.read_bytes()))
    if isinstance(index, int) and index < -1:  # ASE gives the first frame where there are fewer
        frames = ase.io.read(source, index=slice(index, None), format=form, do_not_split_by_at_sign=True)
        if len(frames) < -index:
            raise IndexError(index)
        yield frames[0]
    elif isinstance(index, slice):
        yield from ase.io.iread(source, index=index, format=form, do_not_split_by_at_sign=True)
    else:
        yield ase.io.read(source, index=index, format=form, do_not_split_by_at_sign=True)


def _text_format(name: str, text: str) -> str:
    """ASE's name of the format, from the file name without .gz, else from the text."""
    from ase.io import formats

    try:
        guess = str(formats.filetype(name, read=False, guess=False))
    except formats.UnknownFileTypeError:
        guess = ""
    return (
        guess
        if guess in formats.ioformats
        else str(formats.filetype(io.BytesIO(text.encode()[:50000]), read=True))
    )


def _out_of_range(path: Path, index: Index, text: str | None) -> BadInputError:
    try:
        found = f"the file has {sum(1 for _ in _ase_frames(text, path, slice(None)))} frame(s)"
    except Exception:  # counting is only for the message
        found = "the file has fewer frames"
    shown = f"{index}" if isinstance(index, int) else f"{index.start or ''}:{index.stop or ''}"
    return BadInputError(
        f"Frame index {shown} is out of range; {found}.", where=str(path), hint="counting starts at 0"
    )


def _diagnose(path: Path, text: str | None, index: Index, error: Exception) -> BadInputError:
    """The clearest message for a file on which ASE failed."""
    if _is_xyz(path):
        fault = xyz_fault(read_text(path) if text is None else text)
        if fault is not None:
            where = f"{path}, frame {fault.frame}, line {fault.line}"
            return BadInputError(fault.fact, where=where, hint=fault.hint)
    if isinstance(error.__cause__, StopIteration):  # how ASE's reader says that a frame does not exist
        return _out_of_range(path, index, text)
    if type(error).__name__ == "UnknownFileTypeError" or isinstance(error, UnicodeDecodeError):
        return BadInputError(
            "ASE does not recognise this as a structure file.",
            where=str(path),
            hint="use a known name (POSCAR, .cif, .xyz, .extxyz, .traj, .db) or convert it first",
        )
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return BadInputError(
        f"The file cannot be read: {first}.", where=str(path), hint="check that the file is complete"
    )
