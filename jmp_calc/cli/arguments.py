"""Options that are arguments of a public function: their text stands once, in the docstring of the function.

    PHONONS = Arguments("workflows.phonon.phonons", "phonons", PhononSettings)

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
    return ast.get_docstring(_definition(module, name)) or ""


_MISSING = ast.ClassDef("Missing", bases=[], keywords=[], body=[], decorator_list=[])


@functools.cache
def _definition(module: str, name: str) -> ast.FunctionDef | ast.ClassDef:
    """The code of a function, class or method; an empty class where sources are missing."""
    full = f"{__package__.rpartition('.')[0]}.{module}"
    spec = find_spec(full)
    loader: Any = None if spec is None else spec.loader
    source = loader.get_source(full) if hasattr(loader, "get_source") else None
    found: ast.FunctionDef | ast.ClassDef | ast.Module = ast.parse(source or "")
    for part in name.split("."):
        named = (node for node in found.body if isinstance(node, ast.FunctionDef | ast.ClassDef))
        found = next((node for node in named if node.name == part), _MISSING)
    assert isinstance(found, ast.FunctionDef | ast.ClassDef)
    return found


class Arguments:
    """The arguments of one public function as options of a command."""

    def __init__(self, module: str, name: str, settings: type | None = None) -> None:
        """``settings``: where the defaults stand; None: in the signature, and so in the docstring."""
        self._place, self._settings = (module, name), settings

    @functools.cached_property
    def _entries(self) -> Mapping[str, Explained]:
        return explained_arguments(_docstring(*self._place))

    @functools.cached_property
    def _defaults(self) -> Mapping[str, Any]:
        if self._settings is not None:
            return {field.name: field.default for field in fields(self._settings)}
        return {name: _literal(entry.default) for name, entry in self._entries.items()}

    def help(self, argument: str) -> str:
        """The text of an argument as a sentence, with other arguments named as options."""
        text = self._entries.get(argument, Explained("", "")).text
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


class Fields:
    """The fields of a dataclass of settings as options that say nothing where they are not given.

    Text and default stand once, below the field; they are read from the source.
    """

    def __init__(self, module: str, name: str) -> None:
        self._place = module, name

    @functools.cached_property
    def _entries(self) -> Mapping[str, Explained]:
        body = _definition(*self._place).body
        entries = {}
        for field, text in zip(body, body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
                default = "" if field.value is None else ast.unparse(field.value)
                entries[ast.unparse(field.target)] = Explained(ast.literal_eval(text.value), default)
        return entries

    def help(self, field: str) -> str:
        """The first sentence below a field, and its default."""
        entry = self._entries.get(field, Explained("", ""))
        sentence, _, _ = " ".join(entry.text.split()).partition(". ")
        text, _, unset = sentence.removesuffix(".").replace("``", "").partition("; None: ")
        value = _literal(entry.default)
        default = unset if value is None else "" if value in (False, ()) else f"{value}"
        return f"{text[:1].upper()}{text[1:]}." + (f"  [default: {default}]" if default else "")

    def option(self, *names: str, field: str, **attributes: Any) -> Callable[[F], F]:
        """``click.option`` with the help of a field; ``attributes`` as click's, they win."""
        default = False if attributes.get("is_flag") else None
        return click.option(*names, **{"help": self.help(field), "default": default, **attributes})


class InSection(click.Option):
    """An option under a heading of ``--help``."""

    def __init__(self, *args: Any, section: str, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.section = section


def format_sections(
    command: click.Command,
    ctx: click.Context,
    formatter: click.HelpFormatter,
    shared: Mapping[str, str],
    rest: str,
) -> None:
    """Write the options of a command under the headings of their sections.

    ``shared``: headings of options that all commands have, by name; the others of them are under ``rest``.
    """
    options = [parameter for parameter in command.get_params(ctx) if isinstance(parameter, click.Option)]
    sections: dict[str, list[tuple[str, str]]] = {
        option.section: [] for option in options if isinstance(option, InSection)
    }
    for option in options:
        own = option.section if isinstance(option, InSection) else shared.get(option.name or "", rest)
        record = option.get_help_record(ctx)
        if record is not None:
            sections.setdefault(own, []).append(record)
    for title, records in sections.items():
        with formatter.section(title):
            formatter.write_dl(records)


def _literal(text: str) -> Any:
    """The value of a default as it is written; None where it is no literal."""
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return None
