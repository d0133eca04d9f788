"""Options that are arguments of a public function: their text stands once, in the docstring of the function.

    PHONONS = Arguments("workflows.phonons", "phonons", PhononSettings)

    @PHONONS.option("--displacement", "--amplitude", argument="displacement", type=float)

The docstring is read from the source, so that ``--help`` imports neither torch nor ASE. The default stands
once too, in the settings.
"""

from __future__ import annotations

import ast
import functools
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from importlib.util import find_spec
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

_ENTRY = re.compile(r"(?P<indent> *)(?P<name>\w+): (?P<text>.*)")
DEFAULT = " Default: "
"""What follows in an entry of ``Args:`` is the default as Python writes it; an option shows its own."""


@dataclass(frozen=True)
class Explained:
    """One entry of ``Args:``."""

    text: str
    """Whole sentences without the default."""
    default: str
    """As Python writes it, or "" where the argument has none."""


def explained_arguments(docstring: str) -> dict[str, Explained]:
    """The entries under ``Args:`` of a docstring, each one ``name: text. Default: value.``"""
    _, _, section = inspect.cleandoc(docstring).partition("Args:\n")
    entries: dict[str, str] = {}
    name = ""
    for line in section.splitlines():
        entry = _ENTRY.fullmatch(line)
        if entry and len(entry["indent"]) == 4:
            name = entry["name"]
            entries[name] = entry["text"]
        elif line.startswith(" " * 8) and name:
            entries[name] += " " + line.strip()
        else:
            break
    parts = {name: text.partition(DEFAULT) for name, text in entries.items()}
    return {name: Explained(text, default.rstrip(".")) for name, (text, _, default) in parts.items()}


@functools.cache
def _docstring(module: str, name: str) -> str:
    """Of a function or method ("Class.method") of a module of this package; "" where sources are missing."""
    full = f"{__package__.rpartition('.')[0]}.{module}"
    spec = find_spec(full)
    loader: Any = None if spec is None else spec.loader
    source = loader.get_source(full) if hasattr(loader, "get_source") else None
    body: list[ast.stmt] = ast.parse(source or "").body
    found: ast.FunctionDef | ast.ClassDef | None = None
    for part in name.split("."):
        named = (node for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef))
        found = next((node for node in named if node.name == part), None)
        body = [] if found is None else found.body
    return "" if found is None else ast.get_docstring(found) or ""


class Arguments:
    """The arguments of one public function as options of a command."""

    def __init__(self, module: str, name: str, settings: type) -> None:
        self._place = module, name
        self._defaults: Mapping[str, Any] = {field.name: field.default for field in fields(settings)}

    def help(self, argument: str) -> str:
        """The text of an argument as a sentence, with other arguments named as options."""
        text = explained_arguments(_docstring(*self._place)).get(argument, Explained("", "")).text
        for name in self._defaults:
            text = text.replace(f"``{name}``", "--" + name.replace("_", "-"))
        return text[:1].upper() + text[1:].replace("``", "")

    def option(self, *names: str, argument: str, **attributes: Any) -> Callable[[F], F]:
        """``click.option`` with the help and the default of an argument; ``attributes`` as click's, they
        win."""
        default = attributes.get("default", self._defaults[argument])
        shown = default is not None and not isinstance(default, bool)
        given = {"help": self.help(argument), "default": default, "show_default": shown, **attributes}
        return click.option(*names, **given)
