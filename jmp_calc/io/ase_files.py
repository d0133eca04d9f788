"""Frames of every file that ASE reads, with what ASE passes over in silence: files that were cut short,
counts that no file of that size can hold, charges in the input of other programs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import BadInputError, BadStructureError, JMPWarning
from .apart import images_apart
from .cif import largest_expansion
from .complete import check_complete
from .files import Index, select, unpacked, unpacked_name
from .images import images

if TYPE_CHECKING:
    from ase import Atoms

LARGEST_WHOLE = 4 << 30
"""Bytes of a file that ASE can only read as a whole."""
_ONE_BY_ONE_HERE = ("traj", "db")
_ONE_BY_ONE = (*_ONE_BY_ONE_HERE, "netcdftrajectory", "vasp-out", "vasp-xml", "bundletrajectory")
_HARMLESS = frozenset(
    {
        "aims",
        "cif",
        "cube",
        "gen",
        "json",
        "mol",
        "proteindatabank",
        "sdf",
        "vasp",
        "vasp-out",
        "vasp-xdatcar",
    }
) | {"vasp-xml", "xsf"}
"""Formats whose readers need no more than seconds for small files, whatever is in them."""
_SMALL, _MOST_EXPANDED = 64 << 10, 2000
"""Bytes, and sites times operations of a CIF file, up to which such a file is read in this process."""


def known_by_name(path: Path) -> bool:
    """Whether ASE has a format for files of that name: ``OUTCAR``, ``XDATCAR``."""
    from ase.io.formats import UnknownFileTypeError, filetype

    try:
        filetype(unpacked_name(path), read=False, guess=False)
    except UnknownFileTypeError:
        return False
    return True


def ase_frames(path: Path, index: Index, *, allow_truncated: bool = False) -> Iterator[tuple[int, Atoms]]:
    """Number and structure of the selected frames.

    Raises BadInputError for a file of unknown format, or that is damaged, cut short (unless allowed: then its
    complete frames are read) or of a size beyond its format; BadStructureError for disordered structures.
    """
    with unpacked(path) as source:
        form = _format(source, path)
        _check_size(source, form, path)
        check_complete(source, form, path, allow_truncated=allow_truncated)
        try:
            yield from select(enumerate(_images(source, form)), index)
        except BadStructureError as error:
            where = str(path) if error.where is None else f"{path}, {error.where}"
            raise BadStructureError(error.fact, where=where, hint=error.hint) from error
        except (BadInputError, JMPWarning):
            raise
        # ASE's readers raise whatever their parsers raise: every one means that the file is not what it says.
        except Exception as error:
            raise _unreadable(path, form, error) from error


def _format(source: Path, path: Path) -> str:
    """ASE's name of the format, by the name of the file or its first bytes."""
    from ase.io.formats import UnknownFileTypeError, filetype, ioformats

    try:
        form = str(filetype(str(source)))
    except UnknownFileTypeError as error:
        form = ""
        cause: Exception | None = error
    else:
        cause = None
    if form in ioformats and ioformats[form].can_read:
        return form
    raise BadInputError(
        "ASE does not recognise this as a structure file.",
        where=str(path),
        hint="use a known name (POSCAR, .cif, .xyz, .extxyz, .traj, .db, .npz) or convert it first",
    ) from cause


def _check_size(source: Path, form: str, path: Path) -> None:
    """BadInputError for a text file with zero bytes, or a file too large to be read as a whole."""
    from ase.io.formats import ioformats

    if form == "cif" or not (ioformats[form].isbinary or form == "db"):
        with source.open("rb") as stream:
            if b"\0" in stream.read(1 << 16):
                raise BadInputError(
                    f"The file is not text, but its name or start says {form}.",
                    where=str(path),
                    hint="check that this is the right file",
                )
    size = source.stat().st_size
    if form not in _ONE_BY_ONE and size > LARGEST_WHOLE:
        raise BadInputError(
            f"A {form} file of {size >> 30} GB is too large to be read as a whole.",
            where=str(path),
            hint="convert it to extxyz, which is read frame by frame",
        )


def _images(source: Path, form: str) -> Iterator[Atoms]:
    """The structures, read here where the reader is known to end soon."""
    if form in _ONE_BY_ONE_HERE or (
        form in _HARMLESS and source.stat().st_size <= _SMALL and not _is_expanding(source, form)
    ):
        return images(source, form)
    return images_apart(source, form)


def _is_expanding(source: Path, form: str) -> bool:
    """Whether a small CIF file has so many sites and operations that ASE compares for minutes."""
    if form != "cif":
        return False
    try:
        return largest_expansion(source) > _MOST_EXPANDED
    except Exception:  # said again, with its reason, where the structures are read
        return False


def _unreadable(path: Path, form: str, error: Exception) -> BadInputError:
    """The clearest message for a file on which ASE failed."""
    word = str(error.args[0]) if isinstance(error, KeyError) and error.args else ""
    if word in ("D", "T") or "label D" in word or "label T" in word:
        return BadInputError(
            f"The file has deuterium or tritium, for which {form} files have no element.",
            where=str(path),
            hint="write H; extended XYZ files take D and T, or masses",
        )
    if word and " " not in word:
        fact = f"The file cannot be read as {form}: {word[:60]!r} is no element or key that ASE knows."
    else:
        first = (str(error).strip().splitlines() or [""])[0][:200].rstrip(".")
        fact = f"The file cannot be read as {form}: {type(error).__name__}{': ' if first else ''}{first}."
    return BadInputError(fact, where=str(path), hint="check that the file is complete and what it says it is")
