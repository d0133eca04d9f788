"""A fast reader for (extended) XYZ, packed or not: the same frames for every command.

Packed files are read forward once; ASE's own reader seeks backwards in them, which takes hours for large
ones. Empty lines between frames are allowed. Values of the comment line stay text until a label is asked for.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BadInputError
from .complete import is_cut_number
from .files import DAMAGED_PACKING, LONGEST_LINE, Index, damaged_packing, open_bytes, select
from .header import cell_and_pbc, header_entries
from .raw_frame import RawFrame, RawStream

ISOTOPES = {"D": 2.014, "T": 3.016}
"""Symbols of hydrogen isotopes, and their masses in u."""
_MOST_ATOMS = 1 << 40
_FALLBACK = "species:S:1:pos:R:3"
"""Columns of a plain XYZ file; more of them are not read."""


def read_extxyz(
    path: Path, index: Index, allow_truncated: bool = False
) -> tuple[tuple[RawFrame, ...], tuple[str, ...]]:
    """Selected frames, and messages for the user; errors as those of ``stream_extxyz``."""
    stream = stream_extxyz(path, index, allow_truncated)
    return tuple(stream.frames), tuple(stream.messages)


def stream_extxyz(path: Path, index: Index, allow_truncated: bool = False) -> RawStream:
    """Selected frames, each parsed when it is asked for.

    Reading raises BadInputError, naming frame and line, for anything that is not extended XYZ and for a file
    whose last frame is cut off (unless allowed: then it is left out).
    """
    stream = RawStream(fraction=0.0)
    stream.frames = _frames(path, index, allow_truncated, stream)
    return stream


def _frames(path: Path, index: Index, allow_truncated: bool, stream: RawStream) -> Iterator[RawFrame]:
    with open_bytes(path, longest_line=LONGEST_LINE) as content:
        text = io.TextIOWrapper(content, encoding="utf-8-sig")
        try:
            for block in select(_blocks(text, path, allow_truncated, stream.messages), index):
                try:
                    frame = block.frame or _parse_block(block, path)
                except _Truncated as error:
                    raise BadInputError(
                        f"A row is too short: {error}",
                        where=f"{path} frame {block.index}",
                        hint="the number in a frame's first line must be its number of atom lines",
                    ) from None
                stream.fraction = content.fraction
                yield frame
        except UnicodeDecodeError as error:
            raise BadInputError(
                f"{path.name} is not text in UTF-8, but its name says extended XYZ.",
                where=str(path),
                hint="write it in UTF-8, or give the file the suffix of its format (.traj, .db, .npz)",
            ) from error
        except DAMAGED_PACKING as error:
            raise damaged_packing(path) from error


class _Truncated(Exception):
    """A row of a frame does not have the columns that its header promises."""


@dataclass(eq=False)
class _Block:
    index: int
    line: int
    comment: str
    rows: list[str]
    vectors: list[str] = field(default_factory=list)
    """Lines ``VEC1 x y z`` behind the atoms: cell vectors of plain XYZ files."""
    frame: RawFrame | None = None
    """The parsed frame: of the last one only, which may be cut off."""


def _truncated_error(path: Path, index: int, fact: str) -> BadInputError:
    hint = "--allow-truncated uses the complete frames before it" if index else "write the file again"
    return BadInputError(
        f"The last frame of {path.name} is cut off: {fact}", where=f"{path} frame {index}", hint=hint
    )


def _left_out(path: Path, index: int, fact: str) -> str:
    return f"{path.name}: the truncated last frame {index} was left out ({fact[:-1]})."


def _blocks(text: Iterable[str], path: Path, allow_truncated: bool, messages: list[str]) -> Iterator[_Block]:
    """Frames as unparsed lines; the last one parsed, and left out if it is cut off and that is allowed."""
    lines = _lines(text, path, allow_truncated)
    line, index = 0, 0
    previous: _Block | None = None
    for head in lines:
        line += 1
        if not head.strip():
            continue
        if previous is not None and head.lstrip().startswith("VEC"):
            previous.vectors.append(head)
            continue
        count = _count(head, index, f"{path} line {line}")
        comment = next(lines, None)
        rows = list(islice(lines, count))
        if comment is None or len(rows) < count:
            fact = f"{count} atoms announced, {len(rows)} found."
            if not allow_truncated or index == 0:
                raise _truncated_error(path, index, fact)
            messages.append(_left_out(path, index, fact))
            break
        if previous is not None:
            yield previous
        previous = _Block(index, line, comment, rows)
        line += 1 + count
        index += 1
    if previous is not None:
        try:
            previous.frame = _parse_block(previous, path)
            if not previous.vectors and is_cut_number(previous.rows):
                raise _Truncated("a number of the last row has fewer decimals than those before it.")
        except _Truncated as error:
            if not allow_truncated or previous.index == 0:
                raise _truncated_error(path, previous.index, str(error)) from None
            messages.append(_left_out(path, previous.index, str(error)))
            return
        yield previous


def _count(head: str, index: int, where: str) -> int:
    """The number of atoms that a frame announces; BadInputError if it is none."""
    digits = head.strip()
    if not (digits.isascii() and digits.isdigit() and len(digits) < 20):
        raise BadInputError(
            f"Expected the number of atoms of frame {index}, found {digits[:60]!r}.",
            where=where,
            hint="the atom count of the frame before is wrong" if index else "is this an extended XYZ file?",
        )
    if not 0 < int(digits) < _MOST_ATOMS:
        raise BadInputError(f"Frame {index} has {int(digits)} atoms.", where=where)
    return int(digits)


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
    info = header_entries(block.comment, where)
    properties = info.pop("Properties", info.pop("properties", None))
    columns = _columns(_FALLBACK if properties is None else properties, where)
    arrays = _arrays(block, columns, exact=properties is not None, where=where)
    numbers = _numbers(arrays, where)
    positions = arrays.pop("pos", arrays.pop("positions", None))  # type: ignore[arg-type]
    if positions is None or positions.shape != (len(block.rows), 3) or positions.dtype != float:
        raise BadInputError("There is no column pos:R:3.", where=where)
    cell, pbc = cell_and_pbc(info, where)
    if block.vectors:
        cell, pbc = _from_vectors(block.vectors, where)
    arrays = {name: array[:, 0] if array.shape[1] == 1 else array for name, array in arrays.items()}
    results: dict[str, Any] = {key: info[key] for key in ("energy", "free_energy", "stress") if key in info}
    if "forces" in arrays:
        results["forces"] = arrays["forces"]
    return RawFrame(numbers, positions, cell, pbc, block.index, dict(info), arrays, results)


def _columns(text: str, where: str) -> list[tuple[str, str, int]]:
    """Name, type and number of columns of each property; BadInputError for anything else."""
    parts = text.split(":")
    columns = list(zip(parts[::3], (kind.upper() for kind in parts[1::3]), parts[2::3]))
    if len(parts) % 3 or not all(
        kind in ("R", "I", "S", "L") and size.isascii() and size.isdigit() and 0 < len(size) < 7 and int(size)
        for _, kind, size in columns
    ):
        raise BadInputError(f"Properties={text[:200]!r} is not name:type:columns.", where=where)
    names = [name for name, _, _ in columns]
    if len(set(names)) < len(names):
        raise BadInputError(f"Properties={text[:200]!r} names a column twice.", where=where)
    return [(name, kind, int(size)) for name, kind, size in columns]


def _arrays(
    block: _Block, columns: list[tuple[str, str, int]], *, exact: bool, where: str
) -> dict[str, np.ndarray]:
    """Columns (N, size) by name; _Truncated where a row has not as many (without ``exact``: fewer)."""
    width, count = sum(size for _, _, size in columns), len(block.rows)
    tokens = " ".join(block.rows).split()
    if len(tokens) != count * width or not exact:
        rows = [row.split() for row in block.rows]
        for number, row in enumerate(rows):
            if len(row) < width or (exact and len(row) != width):
                raise _Truncated(f"atom {number} has {len(row)} columns, the header says {width}.")
        tokens = [token for row in rows for token in row[:width]]
    table = np.array(tokens, dtype=object).reshape(count, width)
    arrays: dict[str, np.ndarray] = {}
    start = 0
    for name, kind, size in columns:
        try:
            arrays[name] = _typed(table[:, start : start + size], kind)
        except ValueError as error:
            raise BadInputError(
                f"Column {name!r} is not of type {kind!r}: {str(error)[:100]}.", where=where
            ) from None
        start += size
    return arrays


def _typed(values: np.ndarray, kind: str) -> np.ndarray:
    if kind == "R":
        return values.astype(float)
    if kind == "I":
        numbers = values.astype(float)
        if not (np.abs(numbers) < 2**53).all():
            raise ValueError("a number is too large")
        return numbers.astype(np.int64)
    if kind == "L":
        flags = [str(value).lower() in ("t", "true", "1") for value in values.ravel()]
        return np.array(flags).reshape(values.shape)
    return values


def _numbers(arrays: dict[str, np.ndarray], where: str) -> np.ndarray:
    """Atomic numbers (N,); D and T become hydrogen with their masses. BadInputError for what is no
    element."""
    given = [arrays.pop(name)[:, 0] for name in ("Z", "numbers") if name in arrays]
    species = arrays.pop("species", None)
    if species is None and not given:
        raise BadInputError("There is no column species:S:1.", where=where)
    numbers = None if species is None else _elements(species[:, 0], arrays, where)
    for other in given:
        if numbers is not None and not np.array_equal(numbers, other):
            raise BadInputError("The columns of symbols and of atomic numbers differ.", where=where)
        numbers = other.astype(np.int64) if other.dtype != object else _elements(other, arrays, where)
    assert numbers is not None
    return numbers


def _elements(symbols: np.ndarray, arrays: dict[str, np.ndarray], where: str) -> np.ndarray:
    from ase.data import atomic_masses, atomic_numbers

    known: dict[str, int] = {}
    for symbol in set(symbols.tolist()):
        name = symbol.capitalize()
        if name in atomic_numbers or name in ISOTOPES:
            known[symbol] = atomic_numbers.get(name, 1)
        elif symbol.isascii() and symbol.isdigit() and len(symbol) < 4:
            known[symbol] = int(symbol)
        else:
            atom = int(np.flatnonzero(symbols == symbol)[0])
            raise BadInputError(
                f"Atom {atom} is {symbol[:40]!r}, which is no element.",
                where=where,
                hint="write symbols such as Fe, not labels such as Fe1",
            )
    numbers = np.array([known[symbol] for symbol in symbols], dtype=np.int64)
    heavy = np.array([ISOTOPES.get(symbol.capitalize(), 0.0) for symbol in symbols])
    if heavy.any() and "masses" not in arrays and (numbers < len(atomic_masses)).all():
        arrays["masses"] = np.where(heavy > 0, heavy, atomic_masses[numbers])[:, None]
    return numbers


def _from_vectors(lines: list[str], where: str) -> tuple[np.ndarray, np.ndarray]:
    """Cell and periodicity of lines ``VEC1 x y z``."""
    cell, pbc = np.zeros((3, 3)), np.zeros(3, dtype=bool)
    for line in lines:
        words = line.split()
        try:
            axis = ("VEC1", "VEC2", "VEC3").index(words[0])
            cell[axis] = [float(word) for word in words[1:]]
        except ValueError:
            raise BadInputError(f"{line.strip()[:60]!r} is no cell vector.", where=where) from None
        pbc[axis] = True
    return cell, pbc
