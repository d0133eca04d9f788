"""How deep the brackets of a JSON text are nested, before a parser recurses into them.

A parser that recurses as deep as the text says ends the process where a library (phonopy's, torch's compiler)
has raised Python's limit of recursion.
"""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np

MAX_NESTING = 64
"""Levels of brackets in a file that anybody may have written."""
# Possessive, and the closing quote optional: every string is scanned once, also one that never ends.
_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"?', re.DOTALL)


def deepest_nesting(text: str) -> int:
    """Levels of brackets outside of strings; takes time in proportion to the text."""
    bare = _STRING.sub("", text).encode("utf-8", "replace")
    letters = np.frombuffer(bare, dtype=np.uint8)
    opens = (letters == ord("[")) | (letters == ord("{"))
    closes = (letters == ord("]")) | (letters == ord("}"))
    levels = np.cumsum(opens.astype(np.int64) - closes)
    return max(0, int(levels.max(initial=0)))


def refuse_deep(text: str, most: int = MAX_NESTING) -> None:
    """ValueError for a text with more than ``most`` levels of brackets."""
    if (deepest := deepest_nesting(text)) > most:
        raise ValueError(f"{deepest} levels of brackets, at most {most} are allowed")


def shallow_json(text: str | bytes) -> Any:
    """The content of a JSON text; ValueError where it is none, or is nested deeply."""
    decoded = text.decode("utf-8") if isinstance(text, bytes) else text
    refuse_deep(decoded)
    return json.loads(decoded)
