"""YAML as people mean it: text, numbers, true, false, lists and mappings, each as it is written.

YAML 1.1 reads 010 as 8, 1:30 as 90 and 2020-01-01 as a date, and keeps the last of two equal keys: all that
is refused with its line. So are aliases and tags, which let small files become large, and what nests deeply.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from ..errors import UsageError
from .regular import read_bounded

MAX_BYTES = 1 << 16
MAX_DEPTH = 16
_WHOLE = re.compile(r"[-+]?(0|[1-9][0-9]{0,19})")
_REAL = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")


def read_yaml(path: Path, what: str) -> Any:
    """The content of a YAML file; None for an empty one.

    Args:
        path: an ordinary file of at most 64 KiB.
        what: word for the file in messages, such as "configuration file".

    Raises:
        UsageError: unreadable, not YAML (with the line), or ambiguous.
    """
    try:
        text = read_bounded(path, MAX_BYTES).decode("utf-8-sig")
        _check_events(text)
        return yaml.load(text, _Loader)  # a SafeLoader
    except OSError as err:
        raise UsageError(f"The {what} cannot be read: {err.strerror}.", where=str(path)) from err
    except UnicodeDecodeError as err:
        raise UsageError(f"The {what} is not text.", where=str(path)) from err
    except yaml.YAMLError as err:
        mark = getattr(err, "problem_mark", None)
        place = f"{path}, line {mark.line + 1}" if mark else str(path)
        problem = getattr(err, "problem", None) or "not valid YAML"
        hint = "YAML indents with spaces, never tabs; a text that looks like something else stands in quotes"
        raise UsageError(f"YAML error: {problem}.", where=place, hint=hint) from err


def _check_events(text: str) -> None:
    """Refuse deep nesting, aliases and tags before anything is built from them."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise _error(f"more than {MAX_DEPTH} levels of brackets or indentation", event)
        if isinstance(event, yaml.AliasEvent):
            raise _error("aliases (*name) are not read", event)
        if (tag := getattr(event, "tag", None)) is not None:
            raise _error(f"tags ({str(tag)[:40]}) are not read", event)


def _error(problem: str, place: Any) -> yaml.MarkedYAMLError:
    """The error of an event or a node."""
    return yaml.MarkedYAMLError(problem=problem, problem_mark=place.start_mark)


class _Loader(yaml.SafeLoader):
    """Builds plain values, and none that stands for something else than it says."""

    def construct_mapping(self, node: yaml.Node, deep: bool = False) -> dict[Hashable, Any]:
        """As the base class, but a repeated key is an error."""
        seen: set[str] = set()
        for key, _ in getattr(node, "value", ()):
            name = str(key.value)
            if name in seen:
                raise _error(f"the key {name[:40]!r} stands there twice", key)
            seen.add(name)
        return super().construct_mapping(node, deep)  # type: ignore[arg-type]  # it checks the kind itself

    def number(self, node: yaml.ScalarNode) -> int | float:
        """A number in decimal digits."""
        text = str(node.value)
        if _WHOLE.fullmatch(text):
            return int(text)
        if text.lower().lstrip("+-") in (".inf", ".nan"):
            return float(text.replace(".", ""))
        if _REAL.fullmatch(text):
            return float(text)
        raise _error(f"{text[:40]} is no number in plain decimal digits", node)

    def date(self, node: yaml.ScalarNode) -> None:
        """Refused: an option takes none."""
        raise _error(f"{str(node.value)[:40]} would be a date; write a text in quotes", node)


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.number)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.number)
_Loader.add_constructor("tag:yaml.org,2002:timestamp", _Loader.date)
