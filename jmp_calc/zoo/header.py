"""The header of a ``.safetensors`` file, parsed and checked by ourselves before any tensor is read.

Layout: 8 bytes little-endian header length, a JSON object (tensor name -> dtype, shape, data_offsets; the key
``__metadata__`` holds strings), then the data. A header that is oversized, overlaps, leaves gaps, or
disagrees with the file's length is refused.

``__metadata__`` may hold the SHA-256 of the content under HASH_KEY: that of the file in which the 64 digits
of the hash itself are zeros, so that no byte of header or data is outside of it.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import ModelError
from ..io.nesting import refuse_deep

MAX_HEADER_BYTES = 1024**2
"""jmp-l has about 700 tensors and a header below 0.2 MB."""
MAX_RANK = 8
MAX_NAME = 256
"""Characters of a tensor's name."""
MAX_DIGITS = 20
"""Of a whole number: more than any of 64 bits."""
HASH_KEY = "jmp_calc_sha256"
NO_HASH = "0" * 64
"""Stands for the digits of the hash where it is computed."""
MAX_NESTING = 32
"""Levels of brackets in a header; the parser of some Python versions overflows its stack at many
thousands."""
DTYPES = {"F64": ("float64", 8), "F32": ("float32", 4), "F16": ("float16", 2), "BF16": ("bfloat16", 2),
          "I64": ("int64", 8), "I32": ("int32", 4), "I16": ("int16", 2), "I8": ("int8", 1), "U8": ("uint8",
          1),
          "BOOL": ("bool", 1)}  # fmt: skip


@dataclass(frozen=True)
class TensorEntry:
    """One tensor of the file: torch dtype name, shape, first byte in the file, bytes."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    size: int


@dataclass(frozen=True)
class Header:
    """Everything the header says, checked; the tensors in the order of their bytes."""

    metadata: dict[str, str]
    tensors: dict[str, TensorEntry]
    raw: bytes
    """As it stands in the file, with the length before it."""

    @property
    def recorded(self) -> str | None:
        """SHA-256 of the content that the writer noted; None: not recorded (before jmp-calc did so)."""
        return self.metadata.get(HASH_KEY)

    @property
    def hashed(self) -> bytes:
        """What the hash of the content begins with: the header without the digits of the hash."""
        return self.raw.replace((self.recorded or NO_HASH).encode(), NO_HASH.encode(), 1)


def read_header(file: BinaryIO, path: str | Path) -> Header:
    """Parse and check the header of an open ``.safetensors`` file; raises ModelError."""

    def error(fact: str) -> ModelError:
        return ModelError(
            f"Not a usable .safetensors file: {fact}.", where=str(path), hint="fetch or write it again"
        )

    total = os.fstat(file.fileno()).st_size
    file.seek(0)
    prefix = file.read(8)
    if len(prefix) < 8:
        raise error(f"it has only {total} bytes")
    length = int.from_bytes(prefix, "little")
    if length > MAX_HEADER_BYTES or length > total - 8 or length < 2:
        raise error(
            f"its header claims {length} bytes in a file of {total} (at most {MAX_HEADER_BYTES} are allowed)"
        )
    raw = file.read(length)
    try:
        data = plain_json(raw.decode("utf-8"))
    except ValueError as err:
        raise error(f"its header is not valid JSON ({err})") from err
    if not isinstance(data, dict):
        raise error("its header is not a JSON object")
    try:
        metadata = _metadata(data.pop("__metadata__", {}))
        tensors = {name: _entry(name, value, 8 + length) for name, value in data.items()}
        tensors = dict(sorted(tensors.items(), key=lambda item: (item[1].start, item[1].size)))
        _check_cover(tensors, 8 + length, total)
    except ValueError as err:
        raise error(str(err)) from err
    return Header(metadata, tensors, prefix + raw)


def _metadata(data: object) -> dict[str, str]:
    if not isinstance(data, dict) or not all(isinstance(value, str) for value in data.values()):
        raise ValueError("its __metadata__ is not an object of texts")
    if not re.fullmatch(r"[0-9a-f]{64}", data.get(HASH_KEY, NO_HASH)):
        raise ValueError(f"its {HASH_KEY} is no SHA-256 in hex digits")
    return data


def encode_header(shapes: Mapping[str, tuple[str, tuple[int, ...]]], metadata: dict[str, str]) -> bytes:
    """The first bytes of a file with these tensors (name -> torch dtype name, shape), data in this order."""
    codes = {name: (code, size) for code, (name, size) in DTYPES.items()}
    entries: dict[str, Any] = {"__metadata__": metadata}
    place = 0
    for name, (dtype, shape) in shapes.items():
        code, item = codes[dtype]
        end = place + math.prod(shape) * item
        entries[name] = {"dtype": code, "shape": list(shape), "data_offsets": [place, end]}
        place = end
    text = json.dumps(entries, separators=(",", ":"), allow_nan=False).encode("utf-8")
    text += b" " * (-len(text) % 8)  # readers expect aligned data
    return len(text).to_bytes(8, "little") + text


def plain_json(text: str) -> Any:
    """Parse JSON from a file that nobody vouches for, in time and memory that grow as the text does; raises
    ValueError."""
    refuse_deep(text, MAX_NESTING)
    data = json.loads(text, object_pairs_hook=_no_doubles, parse_constant=_no_constant, parse_int=_whole)
    json.dumps(data, ensure_ascii=False).encode("utf-8")  # UnicodeEncodeError: half a character
    return data


def _whole(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def _no_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key appears twice")
    return result


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


def _entry(name: str, value: object, base: int) -> TensorEntry:
    if len(name) > MAX_NAME:
        raise ValueError(f"the name of a tensor has {len(name)} characters")
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"the entry of tensor {name!r} is malformed")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise ValueError(f"tensor {name!r} has the unknown type {str(dtype)[:20]!r}")
    if not _naturals(shape) or len(shape) > MAX_RANK or not _naturals(offsets) or len(offsets) != 2:
        raise ValueError(f"tensor {name!r} has a malformed shape or position")
    kind, item = DTYPES[dtype]
    start, end = offsets
    if end - start != math.prod(shape) * item:
        raise ValueError(f"tensor {name!r} of shape {shape} and type {dtype} cannot have {end - start} bytes")
    return TensorEntry(kind, tuple(shape), base + start, end - start)


def _naturals(value: object) -> bool:
    return isinstance(value, list) and all(type(n) is int and 0 <= n < 2**62 for n in value)


def _check_cover(tensors: dict[str, TensorEntry], begin: int, end: int) -> None:
    """The tensors, in the order of their bytes, must fill the data region without overlap and without
    gaps."""
    for name, entry in tensors.items():
        if entry.start < begin:
            raise ValueError(f"tensor {name!r} overlaps another one")
        if entry.start > begin:
            raise ValueError(f"there is a gap of {entry.start - begin} bytes before tensor {name!r}")
        begin = entry.start + entry.size
    if begin != end:
        raise ValueError(f"its tensors need {begin} bytes, but the file has {end}")
