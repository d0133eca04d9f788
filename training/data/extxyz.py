"""A fast reader for extended XYZ, compressed or not, and the raw frame that all readers produce.

Compressed files are read forward once; ASE's own reader seeks backwards in them, which takes hours for
large ones. Values of the comment line stay text until a label is asked for.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from jmp_calc.errors import BadInputError

_MAGIC = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open, b"\xfd7": lzma.open}
_PAIR = re.compile(r"""([^\s=,]+)(?:\s*=\s*("(?:[^"\\]|\\.)*"|'[^']*'|\{[^}]*\}|\[[^\]]*\]|\S*))?""")


@dataclass(frozen=True, eq=False)
class RawFrame:
    """One structure with everything its file says; values of ``info`` may still be text."""

    numbers: np.ndarray
    """(N,) int64"""
    positions: np.ndarray
    """(N, 3) float64, Å (or the file's length unit)"""
    cell: np.ndarray
    """(3, 3) float64, rows are lattice vectors; zeros without a cell"""
    pbc: np.ndarray
    """(3,) bool"""
    index: int
    """Number of the frame in the file, from 0."""
    info: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)
    """Labels of an attached calculator, and in extxyz files the entries that ASE would put there."""


@dataclass(eq=False)
class RawStream:
    """The frames of a file one after the other; messages and position are up to date after each of them."""

    frames: Iterator[RawFrame] = field(default_factory=lambda: iter(()))
    messages: list[str] = field(default_factory=list)
    foreign_units: bool = False
    """The layout (rMD17, sGDML) is one that is normally not in eV and Å."""
    fraction: float | None = None
    """Share of the file that was read; None: not known."""


def open_bytes(path: Path) -> IO[bytes]:
    """The file as bytes, decompressed when its first bytes say that it is compressed."""
    with path.open("rb") as stream:
        return _opener(stream)(path, "rb")


def _opener(stream: IO[bytes]) -> Callable[..., IO[bytes]]:
    return cast(Callable[..., IO[bytes]], _MAGIC.get(stream.read(2), open))


def select(frames: Iterable[Any], selection: slice) -> Iterator[Any]:
    """Frames of a slice, one after the other when it only counts forward."""
    bounds = (selection.start, selection.stop, selection.step)
    if any(bound is not None and bound < 0 for bound in bounds):
        return iter(list(frames)[selection])
    return islice(frames, *bounds)


def read_extxyz(
    path: Path, selection: slice, allow_truncated: bool = False
) -> tuple[tuple[RawFrame, ...], tuple[str, ...]]:
    """Selected frames, and messages for the user; errors as those of ``stream_extxyz``."""
    stream = stream_extxyz(path, selection, allow_truncated)
    return tuple(stream.frames), tuple(stream.messages)


def stream_extxyz(path: Path, selection: slice, allow_truncated: bool = False) -> RawStream:
    """Selected frames, each parsed when it is asked for.

    Reading raises BadInputError, naming frame and line, for anything that is not extended XYZ and for a file
    whose last frame is cut off (unless allowed: then it is left out).
    """
    stream = RawStream(fraction=0.0)
    stream.frames = _frames(path, selection, allow_truncated, stream)
    return stream


def _frames(path: Path, selection: slice, allow_truncated: bool, stream: RawStream) -> Iterator[RawFrame]:
    with path.open("rb") as file:
        opener = _opener(file)
        file.seek(0)
        size = max(path.stat().st_size, 1)
        with file if opener is open else opener(file, "rb") as content:
            text = io.TextIOWrapper(io.BufferedReader(content, 1 << 20), encoding="utf-8")  # type: ignore[type-var]
            try:
                for block in select(_blocks(text, path, allow_truncated, stream.messages), selection):
                    try:
                        frame = _parse_block(block, path)
                    except _Truncated as error:
                        if not block.last:
                            raise BadInputError(str(error), where=f"{path} frame {block.index}") from None
                        if not allow_truncated:
                            raise _truncated_error(path, block.index, str(error)) from None
                        stream.messages.append(
                            f"{path.name}: the truncated last frame {block.index} was left out."
                        )
                        continue
                    stream.fraction = file.tell() / size
                    yield frame
            except UnicodeDecodeError as error:
                raise BadInputError(
                    f"{path.name} is not text, but its name says extended XYZ.",
                    where=str(path),
                    hint="give the file the suffix of its format (.traj, .db, .npz)",
                ) from error


class _Truncated(Exception):
    """A row of a frame does not have the columns that its header promises."""


@dataclass(eq=False)
class _Block:
    index: int
    line: int
    comment: str
    rows: list[str]
    last: bool = False


def _truncated_error(path: Path, index: int, fact: str) -> BadInputError:
    return BadInputError(
        f"The last frame of {path.name} is cut off: {fact}.",
        where=f"{path} frame {index}",
        hint="if the job that wrote it was killed, use the complete frames with --allow-truncated",
    )


def _blocks(text: Iterable[str], path: Path, allow_truncated: bool, messages: list[str]) -> Iterator[_Block]:
    """Frames as unparsed lines; the one before the end of the file is marked ``last``."""
    lines = _lines(text, path, allow_truncated)
    line, index = 0, 0
    previous: _Block | None = None
    for head in lines:
        line += 1
        if not head.strip():
            continue
        try:
            count = int(head)
        except ValueError:
            raise BadInputError(
                f"Expected the number of atoms of frame {index}, found {head.strip()[:60]!r}.",
                where=f"{path} line {line}",
                hint="the atom count of the frame before is wrong"
                if index
                else "is this an extended XYZ file?",
            ) from None
        if count <= 0:
            raise BadInputError(f"Frame {index} has {count} atoms.", where=f"{path} line {line}")
        comment = next(lines, None)
        rows = list(islice(lines, count))
        if comment is None or len(rows) < count:
            fact = f"{count} atoms announced, {len(rows)} found."
            if not allow_truncated:
                raise _truncated_error(path, index, fact)
            messages.append(f"{path.name}: the truncated last frame {index} was left out ({fact})")
            break
        if previous is not None:
            yield previous
        previous = _Block(index, line, comment, rows)
        line += 1 + count
        index += 1
    if previous is not None:
        previous.last = True
        yield previous


def _lines(text: Iterable[str], path: Path, allow_truncated: bool) -> Iterator[str]:
    """Lines until the end, or until a compressed stream breaks off (BadInputError unless allowed)."""
    iterator = iter(text)
    while True:
        try:
            line = next(iterator)
        except StopIteration:
            return
        except EOFError:
            if allow_truncated:
                return
            raise BadInputError(
                f"The compressed stream of {path.name} breaks off.",
                where=str(path),
                hint="use the complete frames with --allow-truncated",
            ) from None
        yield line


def _parse_block(block: _Block, path: Path) -> RawFrame:
    where = f"{path} frame {block.index} (line {block.line})"
    info = parse_comment(block.comment)
    columns = _columns(info.pop("Properties", info.pop("properties", "species:S:1:pos:R:3")), where)
    width = sum(columns_of for _, _, columns_of in columns)
    tokens = " ".join(block.rows).split()
    count = len(block.rows)
    if len(tokens) != count * width:
        for number, row in enumerate(block.rows):
            if len(row.split()) != width:
                raise _Truncated(f"atom {number} has {len(row.split())} columns, the header says {width}.")
    table = np.array(tokens, dtype=object).reshape(count, width)
    arrays: dict[str, np.ndarray] = {}
    start = 0
    for name, kind, size in columns:
        values = table[:, start : start + size]
        start += size
        try:
            arrays[name] = _typed(values, kind)
        except ValueError as error:
            raise BadInputError(f"Column {name!r} is not of type {kind!r}: {error}.", where=where) from None
    numbers = _numbers(arrays, where)
    positions = arrays.pop("pos", arrays.pop("positions", None))  # type: ignore[arg-type]
    if positions is None or positions.shape != (count, 3):
        raise BadInputError("There is no column pos:R:3.", where=where)
    cell, pbc = _cell_and_pbc(info, where)
    arrays = {name: array[:, 0] if array.shape[1] == 1 else array for name, array in arrays.items()}
    results: dict[str, Any] = {key: info[key] for key in ("energy", "free_energy", "stress") if key in info}
    if "forces" in arrays:
        results["forces"] = arrays["forces"]
    return RawFrame(numbers, positions, cell, pbc, block.index, info, arrays, results)


def parse_comment(comment: str) -> dict[str, str]:
    """Keys and (text) values of an extended XYZ comment line; a bare word means ``T``."""
    found = {}
    for key, value in _PAIR.findall(comment):
        if value[:1] in "\"'{[" and len(value) > 1:
            value = value[1:-1].replace('\\"', '"')
        found[key.strip("\"'")] = value if value else "T"
    return found


def as_floats(value: Any) -> np.ndarray:
    """Numbers of a label as float64, from an array, text (``"1 2 3"``) or ASE's ``_JSON`` text; else
    ValueError."""
    if isinstance(value, str):
        text = value.strip()
        if text.startswith("_JSON"):
            return np.asarray(json.loads(text[5:]), dtype=float)
        parts = re.findall(r"[^\s,\[\]]+", text)
        return np.array(parts, dtype=float) if len(parts) != 1 else np.array(float(parts[0]))
    return np.asarray(value, dtype=float)


def _columns(text: str, where: str) -> list[tuple[str, str, int]]:
    parts = text.split(":")
    try:
        return [(name, kind.upper(), int(size)) for name, kind, size in zip(*[iter(parts)] * 3, strict=True)]
    except ValueError:
        raise BadInputError(f"Properties={text!r} is not name:type:columns.", where=where) from None


def _typed(values: np.ndarray, kind: str) -> np.ndarray:
    if kind == "R":
        return values.astype(float)
    if kind == "I":
        return values.astype(float).astype(np.int64)
    if kind == "L":
        return np.isin(values.astype(str), ("T", "True", "true", "1"))
    return values


def _numbers(arrays: dict[str, np.ndarray], where: str) -> np.ndarray:
    from ase.data import atomic_numbers

    for name in ("Z", "numbers"):
        if name in arrays and "species" not in arrays:
            return arrays.pop(name)[:, 0].astype(np.int64)
    species = arrays.pop("species", None)
    if species is None:
        raise BadInputError("There is no column species:S:1.", where=where)
    symbols = species[:, 0]
    try:
        return np.array(
            [atomic_numbers[s] if s in atomic_numbers else int(s) for s in symbols], dtype=np.int64
        )
    except ValueError as error:
        raise BadInputError(f"Unknown element: {error}.", where=where) from None


def _cell_and_pbc(info: dict[str, Any], where: str) -> tuple[np.ndarray, np.ndarray]:
    lattice = info.pop("Lattice", info.pop("lattice", None))
    try:
        cell = np.zeros((3, 3)) if lattice is None else as_floats(lattice).reshape(3, 3)
    except ValueError:
        raise BadInputError(f"Lattice={lattice!r} is not nine numbers.", where=where) from None
    text = info.pop("pbc", None)
    if text is None:
        return cell, np.full(3, lattice is not None)
    flags = [flag in ("T", "True", "true", "1") for flag in re.findall(r"[^\s,]+", text)]
    if len(flags) not in (1, 3):
        raise BadInputError(f"pbc={text!r} is not three flags.", where=where)
    return cell, np.array(flags * (3 // len(flags)))
