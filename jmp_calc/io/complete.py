"""Whether files of other programs are whole: ASE reads what a killed job left of them without a word.

Formats that say how they end are refused when they do not, unless cut files are allowed; outputs of jobs that
ended early are told, since all that can be read of them may be complete.
"""

from __future__ import annotations

import re
import struct
import warnings
from collections.abc import Callable, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

from ..errors import BadInputError, JMPWarning
from .nesting import shallow_json

_CLOSED = {
    "vasp-xml": b"</modeling>",
    "sdf": b"M  END",
    "mol": b"M  END",
    "turbomole": b"$end",
    "res": b"END",
}
"""Without this text near its end a file of that format was cut short."""
_ENDED = {
    "vasp-out": b"General timing",
    "espresso-out": b"JOB DONE",
    "gaussian-out": b"Normal termination",
    "orca-output": b"ORCA TERMINATED NORMALLY",
    "aims-output": b"Have a nice day",
}
"""Without this text the job that wrote the file did not come to its end."""
_ROWS_LAST = frozenset({"vasp", "vasp-xdatcar", "xsf", "xyz", "gen", "aims"})
"""Formats whose last line is a row of an atom."""
_PRINTED, _ROWS = 5, 4096
"""Decimals that programs write and people do not, and bytes in which the last rows are."""
_TAIL = 1 << 20
_SMALLEST_ATOM = 4
"""Bytes that an atom takes at least in a text file."""
_MOST_HEADER = 1 << 20
_ULM_GROWTH = 42


def check_complete(source: Path, form: str, path: Path, *, allow_truncated: bool) -> None:
    """BadInputError for a file that was cut short (where that is not allowed) or announces more than it can
    hold; JMPWarning for the output of a job that did not end.

    source: the file, unpacked; form: ASE's name of its format; path: the file to name.
    """
    if form in _ENDED and _ENDED[form] not in _tail(source):
        warnings.warn(
            JMPWarning(
                f"{path.name} does not end as the output of a finished job: its last frame may be missing or "
                "not complete."
            ),
            stacklevel=2,
        )
    last_rows = _tail(source)[-_ROWS:].decode("latin-1").splitlines(keepends=True)[-4:]
    if form in _ROWS_LAST and is_cut_number(last_rows):
        fact: str | None = "a number of its last row has fewer decimals than those before it"
    else:
        fact = _missing(source, form)
    if fact is not None and not allow_truncated:
        raise BadInputError(
            f"{path.name} is cut off, its last frame is not complete: {fact}.",
            where=str(path),
            hint="--allow-truncated uses the complete frames before it",
        )
    if form in _COUNTS:
        _check_count(_COUNTS[form](source), source, path)
    if form == "vasp" and _has_row_too_many(source):
        raise BadInputError(
            "More atoms have coordinates than the line of numbers announces.",
            where=str(path),
            hint="correct the line with the numbers of atoms",
        )


def _missing(source: Path, form: str) -> str | None:
    """What is missing of a file of that format; None: nothing."""
    if form in _CLOSED and _CLOSED[form] not in _tail(source):
        return f"the end ({_CLOSED[form].decode()}) is missing"
    return _CHECKS[form](source) if form in _CHECKS else None


def _tail(source: Path) -> bytes:
    with source.open("rb") as stream:
        stream.seek(max(source.stat().st_size - _TAIL, 0))
        return stream.read()


def is_cut_number(rows: Sequence[str]) -> bool:
    """Whether the last row of a file has no line break, and ends with a number of fewer decimals than all
    rows before it, which have as many as a program writes."""
    if len(rows) < 2 or rows[-1].endswith(("\n", "\r")) or not rows[-1].strip():
        return False
    *before, last = (_decimals(row) for row in rows)
    return before[0] >= _PRINTED and len(set(before)) == 1 and last < before[0]


def _decimals(row: str) -> int:
    """Decimals of the last number of a row; -1 where that is no decimal number."""
    match = re.search(r"\.(\d*)\s*$", row[-100:])
    return len(match[1]) if match else -1


def _pdb(source: Path) -> str | None:
    """Atoms without an END behind them: ASE drops them, or takes what there is as all."""
    tail = _tail(source)
    end = max(tail.rfind(b"\nEND"), -1)
    atom = max(tail.rfind(b"\nATOM"), tail.rfind(b"\nHETATM"))
    return "no END follows the last atoms" if end < atom else None


def _gromacs(source: Path) -> str | None:
    lines = source.read_text("utf-8", "replace").splitlines()
    count = _whole_number(lines[1]) if len(lines) > 1 else None
    if count is None or len(lines) >= count + 3:
        return None
    return f"{count} atoms announced, {max(len(lines) - 3, 0)} found"


def _xdatcar(source: Path) -> str | None:
    """Lines behind the last ``Direct configuration``, of which every atom has one."""
    tail, count = _tail(source).decode("utf-8", "replace").rstrip().splitlines(), _poscar_count(source)
    marks = [number for number, line in enumerate(tail) if line.startswith("Direct configuration")]
    found = len(tail) - marks[-1] - 1 if marks else 0
    if count is None or not marks or found >= count:
        return None
    return f"{count} atoms announced, {found} found"


def _traj(source: Path) -> str | None:
    """What is wrong with the table of frames of an ASE trajectory; BadInputError for one that cannot be."""
    size = source.stat().st_size
    with source.open("rb") as stream:
        head = stream.read(48)
        if len(head) < 48 or head[:8] not in (b"- of Ulm", b"AFFormat"):
            return None  # ASE says so
        count, table = struct.unpack("<2q", head[32:48])
        capacity = 1
        while capacity < count:
            capacity *= _ULM_GROWTH
        if not (count >= 0 and 48 <= table <= size - 8 * count):
            return "the table of frames lies outside the file"
        stream.seek(table)
        offsets = struct.unpack(f"<{count}q", stream.read(8 * count))
        end = table + 8 * capacity
        for number, offset in enumerate(offsets):
            if not 48 <= offset <= size - 8:
                return f"frame {number} lies outside the file"
            stream.seek(offset)
            (length,) = struct.unpack("<q", stream.read(8))
            if not 0 <= length <= size - offset - 8:
                return f"frame {number} lies outside the file"
            _check_arrays(stream.read(min(length, _MOST_HEADER + 1)), number, size, source)
            end = max(end, offset + 8 + length)
    return "data of another frame follow the last one" if count and size > end else None


def _check_arrays(text: bytes, number: int, size: int, source: Path) -> None:
    """BadInputError for arrays of a frame that a file of this size cannot hold."""
    try:
        if len(text) > _MOST_HEADER:
            raise ValueError(f"its header has more than {_MOST_HEADER >> 20} MB")
        for shape, kind, offset in _arrays(shallow_json(text)):
            count = 1
            for length in shape:
                count *= int(length)
            width = int(re.sub(r"\D", "", str(kind)) or 1) // 8 or 1
            if min(shape, default=1) < 0 or count * width > size or not 0 <= int(offset) <= size:
                raise ValueError(f"an array of shape {str(tuple(shape))[:60]} is larger than the file")
    except (ValueError, TypeError, RecursionError) as error:
        raise BadInputError(
            f"Frame {number} is damaged: {str(error)[:100]}.", where=str(source), hint="copy the file again"
        ) from error


def _arrays(content: Any) -> list[Any]:
    """All entries ``{"ndarray": [shape, dtype, offset]}``."""
    if not isinstance(content, dict):
        return []
    if "ndarray" in content:
        return [content["ndarray"]]
    return [array for value in content.values() for array in _arrays(value)]


def _check_count(count: int | None, source: Path, path: Path) -> None:
    if count is not None and count * _SMALLEST_ATOM > source.stat().st_size:
        raise BadInputError(
            f"{count} atoms are announced, more than the file can hold.",
            where=str(path),
            hint="check the line with the numbers of atoms",
        )


def _poscar_count(source: Path) -> int | None:
    """The number of atoms that a POSCAR announces, None where the line is not understood."""
    with source.open(encoding="utf-8", errors="replace") as stream:
        lines = [stream.readline(_MOST_HEADER) for _ in range(7)]
    words = lines[5].split("!")[0].split()
    if not words or _whole_number(words[0]) is None:
        words = lines[6].split("!")[0].split()
    counts = [_whole_number(word) for word in words]
    return None if None in counts else sum(count or 0 for count in counts)


def _has_row_too_many(source: Path) -> bool:
    """Whether three numbers follow directly behind the last atom of a POSCAR: a blank line or a word comes
    before velocities."""
    count = _poscar_count(source)
    if count is None:
        return False
    with source.open(encoding="utf-8", errors="replace") as stream:
        lines = (line.split() for line in iter(lambda: stream.readline(_MOST_HEADER), ""))
        head = [next(lines, []) for _ in range(8)]  # one more where no line names the elements
        rest = chain(head[7:] if head[5] and _whole_number(head[5][0]) is None else head[6:], lines)
        mode = next(rest, [])
        if mode and mode[0][0].lower() == "s":  # selective dynamics
            next(rest, None)
        row = next(islice(rest, count, None), [])
    return len(row) >= 3 and all(re.fullmatch(r"[-+]?\d*\.?\d+(?:[eE][-+]?\d+)?", word) for word in row[:3])


def _second_line_count(source: Path) -> int | None:
    with source.open(encoding="utf-8", errors="replace") as stream:
        return _whole_number([stream.readline(_MOST_HEADER) for _ in range(2)][1])


def _whole_number(text: str) -> int | None:
    text = text.strip()
    return int(text) if re.fullmatch(r"\d{1,4000}", text) else None


_CHECKS: dict[str, Callable[[Path], str | None]] = {
    "proteindatabank": _pdb,
    "gromacs": _gromacs,
    "vasp-xdatcar": _xdatcar,
    "traj": _traj,
}
_COUNTS: dict[str, Callable[[Path], int | None]] = {
    "vasp": _poscar_count,
    "vasp-xdatcar": _poscar_count,
    "gromacs": _second_line_count,
}
"""Numbers of atoms for which ASE makes room before it reads them."""
