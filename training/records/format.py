"""One labelled frame as bytes: a fixed header and flat little-endian arrays, readable without executing
anything.

Header, 40 bytes::

    0   u32  CRC-32 of all bytes after it          16  u16  head: 0 none, else its place in the table + 1
    4   u32  N, atoms                              18  u16  zero
    8   u16  flags, see below                      20  u32  group: place in the table of groups
    10  u16  T, scalar targets                     24  u32  source: place in the table of files
    12  u16  I, bytes of the identifier            28  u32  zero
    14  u16  zero                                  32  u64  number of the frame in its file

Flags: 1 energy, 2 forces, 4 stress, 8 tags, 16 fixed atoms, 32 cell, 64, 128 and 256 periodic along a, b and
    c, 512 identifier. Then, each only if its flag is set (positions, numbers: always)::

    energy f64, eV | cell 9 f64, Å | targets T f64 | positions 3N f32, Å | forces 3N f32, eV/Å | stress 9 f32,
    eV/Å^3 | target names T u16, places in the table | tags N i16 | numbers N u8 | fixed ceil(N/8), bits from
    the highest | identifier UTF-8

Names lie in tables of the whole set. Positions in single precision are exact to 4e-6 Å up to 100 Å from the
origin.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jmp_calc.errors import BadInputError

from ..data.frame import Frame

FORMAT_VERSION = 1
_HEADER = struct.Struct("<IIHHHHHHIIIQ")
_ENERGY, _FORCES, _STRESS, _TAGS, _FIXED, _CELL, _PERIODIC, _IDENTIFIER = (
    1,
    2,
    4,
    8,
    16,
    32,
    (64, 128, 256),
    512,
)
_U16 = 1 << 16


class NameTable:
    """Names by number, in order of appearance."""

    def __init__(self, names: list[str] | None = None, limit: int = 1 << 32) -> None:
        self.names: list[str] = []
        self._limit = limit
        self._numbers: dict[str, int] = {}
        for name in names or []:
            self.number(name)

    def number(self, name: str) -> int:
        """The number of a name, which is added if it is new; BadInputError if there are too many."""
        if name not in self._numbers:
            if len(self.names) == self._limit:
                raise BadInputError(f"There are more than {self._limit} different names such as {name!r}.")
            self._numbers[name] = len(self.names)
            self.names.append(name)
        return self._numbers[name]

    def name(self, number: int) -> str:
        """The name; IndexError if there is none."""
        return self.names[number]


@dataclass(frozen=True)
class Tables:
    """Names that records refer to by number."""

    groups: NameTable = field(default_factory=NameTable)
    sources: NameTable = field(default_factory=NameTable)
    heads: NameTable = field(default_factory=lambda: NameTable(limit=_U16 - 1))
    targets: NameTable = field(default_factory=lambda: NameTable(limit=_U16))

    def to_dict(self) -> dict[str, list[str]]:
        """Lists for JSON."""
        return {name: table.names for name, table in vars(self).items()}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Tables:
        """From ``to_dict``."""
        return cls(
            **{name: NameTable(list(content[name])) for name in ("groups", "sources", "heads", "targets")}
        )


class DoesNotFitError(BadInputError):
    """One frame has a value that the layout cannot hold; others may fit."""


def encode(frame: Frame, tables: Tables) -> bytes:
    """The record of a frame.

    DoesNotFitError for values that the layout cannot hold (tags, numbers, infinite f32); BadInputError for
    labels that no record has (classes, vectors).
    """
    for kind, labels in (("class", frame.classes), ("vector", frame.vectors)):
        for name in labels:
            raise BadInputError(
                f"The label {name!r} is a {kind}, which a record set cannot hold.",
                where=frame.where,
                hint="train on the files themselves with --target",
            )
    flags = _CELL * bool(np.any(frame.cell))
    flags |= sum(flag for flag, periodic in zip(_PERIODIC, frame.pbc.tolist(), strict=True) if periodic)
    parts: list[bytes] = []

    def add(flag: int, label: str, value: Any, kind: str) -> None:
        nonlocal flags
        if value is not None:
            flags |= flag
            parts.append(_bytes(value, label, kind, frame.where))

    identifier = None if frame.identifier is None else frame.identifier.encode()
    add(_ENERGY, "energy", frame.energy, "<f8")
    add(0, "cell", frame.cell if flags & _CELL else None, "<f8")
    add(0, "targets", list(frame.targets.values()) or None, "<f8")
    add(0, "positions", frame.positions, "<f4")
    add(_FORCES, "forces", frame.forces, "<f4")
    add(_STRESS, "stress", frame.stress, "<f4")
    add(0, "target names", [tables.targets.number(name) for name in frame.targets] or None, "<u2")
    add(_TAGS, "tags", frame.tags, "<i2")
    add(0, "atomic numbers", frame.numbers, "u1")
    add(_FIXED, "fixed", None if frame.fixed is None else np.packbits(frame.fixed), "u1")
    if identifier is not None:
        flags |= _IDENTIFIER
        parts.append(identifier)
    try:
        header = _HEADER.pack(
            0,
            frame.n_atoms,
            flags,
            len(frame.targets),
            len(identifier or b""),
            0,
            0 if frame.head is None else tables.heads.number(frame.head) + 1,
            0,
            tables.groups.number(frame.group),
            tables.sources.number(frame.source),
            0,
            frame.index,
        )
    except struct.error as error:
        raise DoesNotFitError(f"The frame does not fit into a record: {error}.", where=frame.where) from error
    body = header[4:] + b"".join(parts)
    return struct.pack("<I", zlib.crc32(body)) + body


def decode(data: bytes, tables: Tables, where: str) -> Frame:
    """The frame of a record; BadInputError naming ``where`` if it is damaged."""
    if len(data) < _HEADER.size or zlib.crc32(memoryview(data)[4:]) != int.from_bytes(data[:4], "little"):
        raise BadInputError(
            "The record is damaged (its checksum is wrong).",
            where=where,
            hint="write the record set again with jmp-calc preprocess",
        )
    _, n, flags, n_targets, n_identifier, _, head, _, group, source, _, index = _HEADER.unpack_from(data)
    place = _HEADER.size

    def take(kind: str, count: int) -> np.ndarray:
        nonlocal place
        values = np.frombuffer(data, dtype=kind, count=count, offset=place)
        place += values.nbytes
        return values

    def vectors(present: int) -> np.ndarray | None:
        return take("<f4", 3 * n).reshape(n, 3).astype(np.float64) if present else None

    energy = float(take("<f8", 1)[0]) if flags & _ENERGY else None
    cell = take("<f8", 9).reshape(3, 3).copy() if flags & _CELL else np.zeros((3, 3))
    values = take("<f8", n_targets).tolist()
    positions = take("<f4", 3 * n).reshape(n, 3).astype(np.float64)
    forces = vectors(flags & _FORCES)
    stress = take("<f4", 9).reshape(3, 3).astype(np.float64) if flags & _STRESS else None
    names = [tables.targets.name(number) for number in take("<u2", n_targets)]
    tags = take("<i2", n).astype(np.int64) if flags & _TAGS else None
    numbers = take("u1", n).astype(np.int64)
    fixed = np.unpackbits(take("u1", -(-n // 8)), count=n).astype(bool) if flags & _FIXED else None
    return Frame(
        numbers=numbers,
        positions=positions,
        cell=cell,
        pbc=np.array([bool(flags & flag) for flag in _PERIODIC]),
        energy=energy,
        forces=forces,
        stress=stress,
        group=tables.groups.name(group),
        source=tables.sources.name(source),
        index=index,
        tags=tags,
        head=None if head == 0 else tables.heads.name(head - 1),
        fixed=fixed,
        identifier=data[place : place + n_identifier].decode() if flags & _IDENTIFIER else None,
        targets=dict(zip(names, values, strict=True)),
    )


def _bytes(value: Any, label: str, kind: str, where: str) -> bytes:
    """Little-endian bytes; DoesNotFitError, naming the label, if a number does not survive the conversion."""
    array = np.asarray(value)
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):
            converted = array.astype(kind)
        kept = bool(np.isfinite(converted).all())
    else:
        converted = array.astype(kind)
        kept = bool((converted == array).all())
    if not kept:
        raise DoesNotFitError(
            f"A value of the {label} does not fit into a record ({array.dtype} to {kind}).",
            where=where,
            hint="atomic numbers up to 255, tags between -32768 and 32767, finite labels; --on-bad skip "
            "leaves such frames out",
        )
    return converted.tobytes()
