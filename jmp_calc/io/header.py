"""Comment lines of extended XYZ: keys and values in one pass over the line, and what values mean.

Values stay text until they are asked for: training reads labels with :func:`as_floats`, structures get what
:func:`typed_value` makes of them (as ASE does).
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from ..errors import BadInputError
from .nesting import shallow_json

_BLANK = re.compile(r"\s")
_KEY_END = re.compile(r"[\s=]")
_NOT_BLANK = re.compile(r"\S")
_QUOTED = {'"': re.compile(r'["\\]'), "'": re.compile(r"['\\]")}
_BRACKETS = {"{": re.compile(r"[{}]"), "[": re.compile(r"[\[\]]")}
_FLAGS = {"t": True, "true": True, "1": True, "p": True, "f": False, "false": False, "0": False}
_OTHER_CELLS = {
    "cell",
    "unitcell",
    "box",
    "latticevectors",
    "cellvectors",
    "cellparameters",
    "simulationcell",
}
_OTHER_PBC = {"periodic", "periodicity", "pbcs", "boundary", "boundaries", "boundaryconditions", "bc"}
"""Keys, without ``_`` and ``-``, that look like the cell and the periodicity and are not read as such."""
_BOOLEANS = {"T": True, "True": True, "TRUE": True, "true": True}
_BOOLEANS |= {"F": False, "False": False, "FALSE": False, "false": False}


def parse_comment(comment: str) -> dict[str, str]:
    """Keys and (text) values of an extended XYZ comment line; a bare word means ``T``, ``key=`` and
    ``key=""`` are empty.

    Blanks around ``=`` are allowed; what follows ``key=`` and a blank is the next key if it has an ``=`` of
    its own.
    """
    return dict(_Comment(comment).pairs())


def header_entries(comment: str, where: str) -> dict[str, str]:
    """Keys and values of the comment line of a frame; BadInputError for a key of extended XYZ that is given
    twice with different values."""
    pairs = _Comment(comment).pairs()
    entries = dict(pairs)
    if len(entries) < len(pairs) and {"properties", "lattice"} & {key.lower() for key in entries}:
        for key, value in pairs:
            if value != entries[key]:
                raise BadInputError(
                    f"The key {key!r} is given twice, as {value[:40]!r} and {entries[key][:40]!r}.",
                    where=where,
                )
    return entries


class _Comment:
    """A comment line and the place that was read; each character is looked at a bounded number of times."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0
        self.open: set[str] = set()
        """Delimiters that were found without their end: not looked for again."""

    def pairs(self) -> list[tuple[str, str]]:
        found = []
        while self._skip_blanks():
            if self.text[self.at] == "=":  # a value without a key: free text
                self.at += 1
                continue
            key = self._key()
            self._skip_blanks()
            if self.text[self.at : self.at + 1] != "=":
                found.append((key, "T"))
                continue
            self.at += 1
            found.append((key, "" if self._is_empty() else self._value()))
        return found

    def _skip_blanks(self) -> bool:
        """Go to the next character that is not blank; False at the end."""
        match = _NOT_BLANK.search(self.text, self.at)
        self.at = len(self.text) if match is None else match.start()
        return match is not None

    def _key(self) -> str:
        quoted = self._delimited() if self.text[self.at] in _QUOTED else None
        if quoted is not None:
            return quoted
        match = _KEY_END.search(self.text, self.at)
        start, self.at = self.at, len(self.text) if match is None else match.start()
        return self.text[start : self.at].strip("\"',")

    def _is_empty(self) -> bool:
        """Whether a key has no value: a blank and then the end of the line or the next ``key=``."""
        start = self.at
        if not self._skip_blanks():
            return True
        if self.at == start or self.text[self.at] in (*_QUOTED, *_BRACKETS):
            return False
        end = _KEY_END.search(self.text, self.at)
        after = None if end is None else _NOT_BLANK.search(self.text, end.start())
        return after is not None and after.group() == "=" and end is not None and end.start() > self.at

    def _value(self) -> str:
        delimited = self._delimited() if self.text[self.at] in (*_QUOTED, *_BRACKETS) else None
        if delimited is not None:
            return delimited
        match = _BLANK.search(self.text, self.at)
        start, self.at = self.at, len(self.text) if match is None else match.start()
        return self.text[start : self.at]

    def _delimited(self) -> str | None:
        """Content of the quotes or brackets that begin here; None where they do not end."""
        opening = self.text[self.at]
        if opening in self.open:
            return None
        found = self._quoted(opening) if opening in _QUOTED else self._bracketed(opening)
        if found is None:
            self.open.add(opening)
        return found

    def _quoted(self, quote: str) -> str | None:
        parts, at = [], self.at + 1
        while (match := _QUOTED[quote].search(self.text, at)) is not None:
            parts.append(self.text[at : match.start()])
            if match.group() == quote:
                self.at = match.end()
                return "".join(parts)
            parts.append(self.text[match.end() : match.end() + 1])  # the character behind a backslash
            at = match.end() + 1
        return None

    def _bracketed(self, opening: str) -> str | None:
        depth = 0
        for match in _BRACKETS[opening].finditer(self.text, self.at):
            depth += 1 if match.group() == opening else -1
            if depth == 0:
                start, self.at = self.at, match.end()
                return self.text[start + 1 : self.at - 1]
        return None


def as_floats(value: Any) -> np.ndarray:
    """Numbers of a label as float64, from an array, text (``"1 2 3"``) or ASE's ``_JSON`` text; else
    ValueError."""
    if isinstance(value, str):
        text = value.strip()
        if text.startswith("_JSON"):
            return np.asarray(shallow_json(text[5:]), dtype=float)
        parts = re.findall(r"[^\s,\[\]]+", text)
        return np.array(parts, dtype=float) if len(parts) != 1 else np.array(float(parts[0]))
    return np.asarray(value, dtype=float)


def typed_value(text: str) -> Any:
    """A value of a comment line as ASE gives it: a number, a boolean, an array of either, JSON, or the
    text."""
    if text.startswith("_JSON"):
        try:
            return shallow_json(text[5:])
        except (ValueError, RecursionError):
            return text
    words = re.findall(r"[^\s,]+", text)
    if not words:
        return text
    if all(word in _BOOLEANS for word in words):
        flags = [_BOOLEANS[word] for word in words]
        return flags[0] if len(flags) == 1 else flags
    for kind in (int, float):
        try:
            numbers = np.array(words, dtype=kind)
        except (ValueError, OverflowError):
            continue
        return numbers[0] if len(numbers) == 1 else numbers
    return text


def cell_and_pbc(info: dict[str, str], where: str) -> tuple[np.ndarray, np.ndarray]:
    """Take cell (3, 3) in Å, rows are vectors, and periodicity (3,) out of a comment line.

    Without ``pbc`` a lattice is periodic; BadInputError for a lattice or flags that cannot be understood.
    """
    names = {key.lower(): key for key in reversed(list(info))}
    _check_other_names(info, names, where)
    lattice, text = (info.pop(names[key]) if key in names else None for key in ("lattice", "pbc"))
    cell = np.zeros((3, 3))
    if lattice is not None:
        try:
            cell = as_floats(lattice).reshape(3, 3)
        except (ValueError, RecursionError):
            raise BadInputError(f"Lattice={lattice[:60]!r} is not nine numbers.", where=where) from None
    if text is None:
        return cell, np.full(3, lattice is not None)
    flags = _flags(text)
    if flags is None:
        raise BadInputError(
            f"pbc={text[:60]!r} is not three flags.", where=where, hint='write pbc="T T F", T for periodic'
        )
    return cell, flags


def _flags(text: str) -> np.ndarray | None:
    """Three flags from ``T T F``, ``ttf``, ``True,False,True``, ``1 0 0`` or one flag for all; None: not
    that."""
    words = re.findall(r"[^\s,\[\]()]+", text.lower())
    if len(words) == 1 and re.fullmatch(r"[tfp]{3}|[01]{3}", words[0]):
        words = list(words[0])
    if len(words) not in (1, 3) or any(word not in _FLAGS for word in words):
        return None
    flags = [_FLAGS[word] for word in words]
    return np.array(flags * (3 // len(flags)))


def _check_other_names(info: dict[str, str], names: dict[str, str], where: str) -> None:
    """BadInputError for a cell or periodicity under a name that is not read, and that would change the
    structure."""
    for key, value in info.items():
        name = key.lower().replace("_", "").replace("-", "")
        if name in _OTHER_CELLS and "lattice" not in names and _count_of_numbers(value) in (3, 6, 9):
            raise BadInputError(
                f"The key {key!r} looks like a cell, which is read from Lattice alone.",
                where=where,
                hint='write Lattice="ax ay az bx by bz cx cy cz", or name the key otherwise',
            )
        flags = _flags(value) if name in _OTHER_PBC and "pbc" not in names else None
        if flags is not None and not (flags == ("lattice" in names)).all():
            raise BadInputError(
                f"The key {key!r} looks like the periodicity, which is read from pbc alone.",
                where=where,
                hint='write pbc="T T F", T for periodic, or name the key otherwise',
            )


def _count_of_numbers(text: str) -> int:
    try:
        return int(as_floats(text).size)
    except (ValueError, TypeError, RecursionError):
        return 0
