"""Arrays by name in one growing file, each of them complete or not there, whatever ends the process.

The first line is JSON and says to what the records belong. Every record is its length and checksum, its name
and its arrays; a record that was cut short is taken away when the file is opened again.
"""

from __future__ import annotations

import io
import json
import os
import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BadInputError, UsageError
from .nesting import shallow_json
from .summary import plain, write_bytes_atomic

STATE = "computed.state"
"""Name of the file in the folder of a run."""
FORMAT = "jmp-calc records 1"
ANEW = "start anew in another folder (or with --overwrite)"
_HEAD = struct.Struct("<IIH")
"""Bytes of the arrays, their checksum, bytes of the name."""
LONGEST_HEADER = 100 << 20


class RecordFile:
    """Arrays by name; ``put`` returns when they are on the disk."""

    def __init__(self, path: Path, places: dict[str, tuple[int, int]], end: int) -> None:
        """Use ``fresh`` or ``resumed``."""
        self.path, self._places, self._end = path, places, end

    @classmethod
    def fresh(cls, path: Path, belongs: Mapping[str, Any]) -> RecordFile:
        """A new file, in place of an old one; ``belongs``: plain data that name the run."""
        header = json.dumps({"format": FORMAT, "belongs": plain(belongs)}).encode() + b"\n"
        write_bytes_atomic(path, header)
        return cls(path, {}, len(header))

    @classmethod
    def resumed(cls, path: Path, belongs: Mapping[str, Any]) -> RecordFile:
        """The file as a run left it.

        Raises:
            UsageError: it belongs to another run. BadInputError: it is no such file.
        """
        with path.open("rb") as file:
            line = file.readline(LONGEST_HEADER)
            saved = _belongs(line, path)
            now = json.loads(json.dumps(plain(belongs)))
            wrong = [name for name in {**saved, **now} if saved.get(name) != now.get(name)]
            if wrong:
                raise UsageError(
                    f"What this folder holds belongs to another run: other {', '.join(wrong)}.",
                    where=str(path),
                    hint=f"give the same structure and model, or {ANEW}",
                )
            places, end = {}, len(line)
            for name, start, length in _sound_records(file):
                places[name], end = (start, length), start + length
        os.truncate(path, end)
        return cls(path, places, end)

    def __len__(self) -> int:
        return len(self._places)

    def get(self, name: str) -> dict[str, np.ndarray] | None:
        """The arrays of a record; None: there is none."""
        if name not in self._places:
            return None
        start, length = self._places[name]
        with self.path.open("rb") as file:
            file.seek(start)
            payload = file.read(length)
        with np.load(io.BytesIO(payload), allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}

    def put(self, records: Mapping[str, Mapping[str, Any]]) -> None:
        """Append records and force them to the disk; a later record of the same name counts."""
        with self.path.open("r+b") as file:
            file.seek(self._end)
            for name, arrays in records.items():
                buffer, key = io.BytesIO(), name.encode()
                np.savez(buffer, allow_pickle=False, **{word: np.asarray(a) for word, a in arrays.items()})
                payload = buffer.getvalue()
                file.write(_HEAD.pack(len(payload), zlib.crc32(key + payload), len(key)) + key + payload)
                self._places[name] = (file.tell() - len(payload), len(payload))
            file.flush()
            os.fsync(file.fileno())
            self._end = file.tell()


def _belongs(line: bytes, path: Path) -> dict[str, Any]:
    """What the first line says; BadInputError where it says nothing."""
    try:
        head = shallow_json(line)
        if head["format"] != FORMAT:
            raise ValueError("format")
        return dict(head["belongs"])
    except (ValueError, KeyError, TypeError) as err:
        raise BadInputError("This is no sound state of a run.", where=str(path), hint=ANEW) from err


def _sound_records(file: io.BufferedReader) -> Iterator[tuple[str, int, int]]:
    """Name, place and length of the records from here on, up to the first that is not whole."""
    while True:
        head = file.read(_HEAD.size)
        if len(head) < _HEAD.size:
            return
        length, checksum, key_length = _HEAD.unpack(head)
        key, payload = file.read(key_length), file.read(length)
        if len(payload) < length or zlib.crc32(key + payload) != checksum:
            return
        yield key.decode(), file.tell() - length, length
