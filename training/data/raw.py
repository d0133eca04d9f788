"""Raw labelled frames from files in any format, read as every other command reads them.

Nothing here knows which key is a label: see :mod:`.labels`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jmp_calc.errors import BadInputError
from jmp_calc.io.files import Index, parse_index, shown_index
from jmp_calc.io.raw_frame import RawFrame, RawStream
from jmp_calc.io.reader import stream_file


@dataclass(frozen=True, eq=False)
class RawFile:
    """The frames of one file, and what to tell the user about reading them."""

    frames: tuple[RawFrame, ...]
    messages: tuple[str, ...] = ()
    foreign_units: bool = False
    """The layout (rMD17, sGDML) is one that is normally not in eV and Å."""


def read_raw(path: str | Path, *, index: str | Index = ":", allow_truncated: bool = False) -> RawFile:
    """Read the frames of ``path`` that ``index`` (``-1``, ``::10``) selects, in file order.

    Raises BadInputError for a file that is missing, a directory, empty, unreadable, binary garbage,
    truncated (unless allowed: then the complete frames are used), or an index out of range.
    """
    stream = stream_raw(path, index=index, allow_truncated=allow_truncated)
    raw = RawFile(tuple(stream.frames), tuple(stream.messages), stream.foreign_units)
    if not raw.frames:
        chosen = parse_index(index)
        if chosen == parse_index(":"):
            raise BadInputError(
                f"{Path(path).name} has no structures.", where=str(path), hint="is it the right file?"
            )
        raise BadInputError(
            f"{Path(path).name} has no frame {shown_index(chosen)!r}.",
            where=str(path),
            hint="count from 0; ':' is all",
        )
    return raw


def stream_raw(path: str | Path, *, index: str | Index = ":", allow_truncated: bool = False) -> RawStream:
    """The same frames one after the other, where the format allows it; errors of ``read_raw`` come when they
    are met."""
    return stream_file(Path(path), parse_index(index), allow_truncated=allow_truncated)
