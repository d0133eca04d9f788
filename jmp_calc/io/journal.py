"""Results of a long run, a line each, in a file that only grows: what a killed process leaves can be used.

A line is a JSON record with a key. It is forced to disk before the next one is computed upon it; one that was
cut short by a kill is taken away when the file is opened again. The first line says what the run computes:
results of anything else are not taken for its own.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import BadInputError, UsageError


class Journal:
    """The records of a run by their keys; the last one of a key counts."""

    def __init__(self, path: Path, identity: Mapping[str, Any]) -> None:
        """Open or begin the file; the caller holds its folder.

        Args:
            path: the file.
            identity: plain data: everything on which the records depend.

        Raises:
            UsageError: the file holds the results of another run. BadInputError: a line that is none of ours.
        """
        self.path = path
        self._places: dict[str, tuple[int, int]] = {}
        if not path.exists():
            path.write_bytes(b"")
        self._keep_whole_lines()
        self._read(json.loads(json.dumps(identity)))

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[str]:
        """The keys, in the order of their last records."""
        return iter(self._places)

    def get(self, key: str) -> Any:
        """The last record of a key; KeyError where there is none."""
        start, length = self._places[key]
        with open(self.path, "rb") as stream:
            stream.seek(start)
            return json.loads(stream.read(length))["record"]

    def add(self, key: str, record: Any) -> None:
        """Append a record (plain data), and force it to disk."""
        self._append({"key": key, "record": record})

    def _append(self, line: Mapping[str, Any]) -> None:
        data = json.dumps(line, allow_nan=False).encode() + b"\n"
        with open(self.path, "ab") as stream:
            start = stream.tell()
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        if "key" in line:
            self._place(line["key"], start, len(data))

    def _place(self, key: str, start: int, length: int) -> None:
        self._places.pop(key, None)
        self._places[key] = start, length

    def _keep_whole_lines(self) -> None:
        """Take away what follows the last end of a line."""
        with open(self.path, "r+b") as stream:
            whole = 0
            for line in stream:
                whole += len(line) if line.endswith(b"\n") else 0
            stream.truncate(whole)

    def _read(self, identity: Any) -> None:
        with open(self.path, "rb") as stream:
            first = stream.readline()
            found = self._parsed(first, 1).get("identity") if first else None
            if not first:
                self._append({"identity": identity})
                return
            if found != identity:
                raise UsageError(
                    f"The folder holds the results of another run{_difference(found, identity)}.",
                    where=str(self.path),
                    hint="choose another folder, or --overwrite",
                )
            start = len(first)
            for number, line in enumerate(stream, start=2):
                key = self._parsed(line, number).get("key")
                self._place(str(key), start, len(line))
                start += len(line)

    def _parsed(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            found = json.loads(line)
        except ValueError as error:
            raise self._damaged(number) from error
        if not isinstance(found, dict):
            raise self._damaged(number)
        return found

    def _damaged(self, number: int) -> BadInputError:
        return BadInputError(
            f"Line {number} is no record of a run.",
            where=str(self.path),
            hint="remove that line, or begin again with --overwrite",
        )


def _difference(found: Any, wanted: Any, name: str = "") -> str:
    """Words for the first entry in which two identities differ."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in (*wanted, *found):
            if found.get(key) != wanted.get(key):
                return _difference(found.get(key), wanted.get(key), f"{name}.{key}" if name else str(key))
    if isinstance(found, list) and isinstance(wanted, list) and len(found) == len(wanted):
        for number, (one, other) in enumerate(zip(found, wanted, strict=True)):
            if one != other:
                return _difference(one, other, name if len(found) == 1 else f"{name}.{number}")
    return f": {name} was {found!r}, now it is {wanted!r}" if name else ""
