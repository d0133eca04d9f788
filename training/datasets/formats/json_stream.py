"""JSON arrays of gigabytes, one item at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from jmp_calc.errors import BadInputError
from jmp_calc.io.files import open_bytes
from jmp_calc.io.nesting import refuse_deep

_CHUNK = 1 << 16
_LONGEST = 1 << 26
"""Characters of one item; the largest framework of QMOF has 400,000."""
_BLANK = " \t\r\n"


class _Text:
    """A stream with as much of it in ``buffer`` as the next value needs."""

    def __init__(self, stream: IO[bytes], where: str) -> None:
        import codecs

        self._stream, self._decode = stream, codecs.getincrementaldecoder("utf-8")()
        self.where, self.buffer, self._ended = where, "", False
        self._decoder = json.JSONDecoder()
        self._is_shallow = False
        """Whether the brackets in the buffer have been counted."""

    def peek(self) -> str:
        """The next character that is not blank ("" at the end)."""
        while True:
            self.buffer = self.buffer.lstrip(_BLANK)
            if self.buffer or not self._more(_CHUNK):
                return self.buffer[:1]

    def skip(self, wanted: str) -> None:
        """Step over one character; BadInputError if it is another one."""
        found = self.peek()
        if found != wanted:
            raise self.error(f"expected {wanted!r}, found {found!r}" if found else "it breaks off")
        self.buffer = self.buffer[1:]

    def value(self) -> Any:
        """The next complete value."""
        self.peek()
        size = _CHUNK
        while True:
            try:
                if not self._is_shallow:
                    refuse_deep(self.buffer)
                    self._is_shallow = True
                value, end = self._decoder.raw_decode(self.buffer)
            except json.JSONDecodeError as error:
                if len(self.buffer) > _LONGEST:
                    raise self.error(f"a value is longer than {_LONGEST >> 20} MB") from None
                if not self._more(size):
                    raise self.error(error.msg) from None
            except (RecursionError, ValueError) as error:  # nested without end, numbers of 5000 digits
                raise self.error(str(error)) from error
            else:
                # A number at the end of the buffer may go on in the next chunk.
                if end < len(self.buffer) or not self._more(size):
                    self.buffer = self.buffer[end:]
                    return value
            size *= 2

    def error(self, fact: str) -> BadInputError:
        """The file is not what it says."""
        return BadInputError(
            f"The JSON cannot be read: {fact}.", where=self.where, hint="fetch the file again"
        )

    def _more(self, size: int) -> bool:
        if self._ended:
            return False
        try:
            data = self._stream.read(size)
            self._is_shallow = False
            self.buffer += self._decode.decode(data, final=not data)
        except (OSError, EOFError, UnicodeDecodeError) as error:
            raise self.error(str(error)) from error
        self._ended = not data
        return bool(data)


def stream_array(path: Path) -> Iterator[Any]:
    """Items of the array that a (packed) JSON file consists of; BadInputError if it is none or breaks off."""
    with open_bytes(path) as stream:
        yield from _items(_Text(stream, str(path)))


def stream_object(path: Path, row_key: str) -> Iterator[tuple[str, Any]]:
    """(key, value) of the object that a (packed) JSON file consists of; the array under ``row_key`` item by
    item."""
    with open_bytes(path) as stream:
        text = _Text(stream, str(path))
        text.skip("{")
        while text.peek() != "}":
            key = text.value()
            text.skip(":")
            if key == row_key:
                yield from ((key, item) for item in _items(text))
            else:
                yield key, text.value()
            if text.peek() != "}":
                text.skip(",")


def _items(text: _Text) -> Iterator[Any]:
    text.skip("[")
    while text.peek() != "]":
        yield text.value()
        if text.peek() != "]":
            text.skip(",")
    text.skip("]")
