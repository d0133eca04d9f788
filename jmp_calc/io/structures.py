"""Structures from any file, for commands and Python: one frame, several, or one after the other.

``path@index`` picks frames as in ASE (``run.traj@-1``, ``data.extxyz@0:10``). Constraints, tags, masses and
momenta stay as the file has them.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..checks import check_atoms, check_sound
from ..errors import BadInputError, JMPError, JMPWarning, UsageError
from .files import Index, find_each, parse_index, parse_structure, shown_index
from .raw_frame import to_atoms
from .reader import stream_file
from .stated_units import check_stated_units

if TYPE_CHECKING:
    from ase import Atoms

Structure = TypeVar("Structure", bound=Sized)

FRAMES_TOGETHER, ATOMS_TOGETHER = 64, 2048
"""Frames, or atoms, that are evaluated before their results are written."""


@dataclass(frozen=True)
class PickedFrame:
    """One structure of a file, and which of its frames it is."""

    atoms: Atoms
    path: Path
    number: int
    """From 0."""
    count: int | None
    """Frames of the file; None: not counted, since the frame was counted from the start."""

    def __str__(self) -> str:
        """``frame 60 of 61``."""
        return f"frame {self.number}" + ("" if self.count is None else f" of {self.count}")

    @property
    def message(self) -> str | None:
        """Which frame was taken; None where there is no other, or nobody looked."""
        return None if self.count == 1 else f"{self.path}: {self} (counted from 0)"


@dataclass(frozen=True)
class NamedFrame:
    """One of the structures selected from a file; ``str`` names both for messages."""

    atoms: Atoms
    spec: str
    """The file as it was given, with its index."""
    number: int
    """Among those selected, from 0."""

    def __len__(self) -> int:
        return len(self.atoms)

    def __str__(self) -> str:
        return f"{self.spec}, selected frame {self.number}"


def pick_structure(spec: str | os.PathLike[str], *, allow_truncated: bool = False) -> PickedFrame:
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
    ((number, atoms),) = _frames(ref.path, index, allow_truncated=allow_truncated)
    check_sound(atoms, where=f"{ref.path}, frame {number}")
    return PickedFrame(atoms, ref.path, number, number - index if index < 0 else None)


def read_structure(spec: str | os.PathLike[str], *, allow_truncated: bool = False) -> Atoms:
    """The structure of ``pick_structure``; the same errors."""
    return pick_structure(spec, allow_truncated=allow_truncated).atoms


def read_frames(
    spec: str | os.PathLike[str], *, index: str | Index | None = None, allow_truncated: bool = False
) -> list[Atoms]:
    """All selected frames as a list (default all); errors as for read_structure."""
    return list(iter_frames(spec, index=index, allow_truncated=allow_truncated))


def iter_frames(
    spec: str | os.PathLike[str], *, index: str | Index | None = None, allow_truncated: bool = False
) -> Iterator[Atoms]:
    """Selected frames one by one (default all), without holding all of a long file in memory.

    ``allow_truncated`` drops the last frame of a file that a killed job left incomplete, with a JMPWarning.
    Labels of files that are normally in other units (rMD17, sGDML) are left out, with a JMPWarning.
    UsageError for an index beside that of the file.
    """
    ref = parse_structure(spec)
    if index is not None:
        refuse_two(spec, index)
    wanted = parse_index(index, where=str(spec)) if index is not None else ref.index
    wanted = slice(None) if wanted is None else wanted
    return (atoms for _, atoms in _frames(ref.path, wanted, allow_truncated=allow_truncated))


def refuse_two(spec: str | os.PathLike[str], index: str | Index) -> None:
    """UsageError for an index beside that of FILE@INDEX."""
    if parse_structure(spec).index is not None:
        raise UsageError(
            f"The file has an index of its own beside the index {shown_index(parse_index(index))}.",
            where=str(spec),
            hint="give one of them",
        )


def given_structures(
    given: str | os.PathLike[str] | Atoms | Sequence[str | os.PathLike[str] | Atoms],
    suffixes: Sequence[str],
    index: str | None = None,
) -> tuple[str | Atoms, ...]:
    """Files (also of patterns and folders), each with its ``@index``, and structures in memory, in order.

    Raises:
        BadInputError: files that are not there. UsageError: a file that is given twice, or with an index of
            its own beside ``index``.
    """
    listed: Any = given
    items = [listed] if isinstance(given, str | os.PathLike) or hasattr(given, "positions") else list(listed)
    names = [os.fspath(item) for item in items if not hasattr(item, "positions")]
    specs = find_each(names, suffixes)
    if index is not None:
        for spec in chain.from_iterable(specs):
            refuse_two(spec, index)
    files = iter(specs)
    found: list[str | Atoms] = []
    for item in items:
        found += [item] if hasattr(item, "positions") else next(files)
    return tuple(found)


def iter_named(
    specs: Sequence[str], *, index: str | Index | None = None, allow_truncated: bool = False
) -> Iterator[NamedFrame]:
    """The frames of ``iter_frames`` of one file after the other, each with its name."""
    files = [iter_frames(spec, index=index, allow_truncated=allow_truncated) for spec in specs]
    for spec, frames in zip(specs, files, strict=True):
        for number, atoms in enumerate(frames):
            yield NamedFrame(atoms, spec, number)


def _frames(path: Path, index: Index, *, allow_truncated: bool) -> Iterator[tuple[int, Atoms]]:
    """Number and structure of the selected frames; BadInputError if there is none."""
    stream = stream_file(path, index, allow_truncated=allow_truncated)
    found = False
    for raw in stream.frames:
        found = True
        where = f"{path}, frame {raw.index}"
        check_stated_units(raw.info, {"length": 1.0}, where=where, hint="write positions and cell in Å")
        if stream.foreign_units and raw.results:
            stream.messages[:] = [_left_out(path, raw.results)]
            raw = replace(raw, results={})
        yield raw.index, to_atoms(raw, where)
    for message in stream.messages:
        warnings.warn(JMPWarning(message), stacklevel=2)
    if not found:
        raise _out_of_range(path, index, allow_truncated)


def _left_out(path: Path, labels: Iterable[str]) -> str:
    return (
        f"{path}: its {', '.join(labels)} are left out, since files of this layout (rMD17, sGDML) are seldom "
        "in eV and Å; finetune and evaluate take them with --energy-unit and --forces-unit."
    )


def _out_of_range(path: Path, index: Index, allow_truncated: bool) -> BadInputError:
    if index == slice(None):
        return BadInputError("The file has no structure.", where=str(path), hint="check that it is complete")
    try:
        frames = stream_file(path, slice(None), allow_truncated=allow_truncated).frames
        count = f"The file has {sum(1 for _ in frames)} frame(s)"
    except JMPError:  # counting is only for the message
        count = "The file has fewer frames"
    return BadInputError(
        f"Frame index {shown_index(index)} is out of range. {count}.",
        where=str(path),
        hint="counting starts at 0",
    )


def windows(frames: Iterable[Structure]) -> Iterator[list[Structure]]:
    """Frames, whose length is their number of atoms, in groups that are evaluated together; those before a
    frame that cannot be read are not lost."""
    window: list[Structure] = []
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


def check_frames(
    spec: str | os.PathLike[str],
    *,
    index: str | Index | None = None,
    also: Callable[[Atoms], None] | None = None,
) -> int:
    """The number of selected frames (default all), each of which a calculator could take; errors name the
    frame.

    ``also``: what else is to be checked of each.

    Raises:
        BadStructureError: naming the frame. JMPError: of ``also``.
    """
    count = 0
    for count, atoms in enumerate(iter_frames(spec, index=index), start=1):
        try:
            check_atoms(atoms)
            if also is not None:
                also(atoms)
        except JMPError as error:
            where = f"{spec}, selected frame {count - 1}"
            raise type(error)(error.fact, where=where, hint=error.hint) from error
    return count
