"""``--config FILE``: options from YAML. The command line wins; unknown keys and wrong types are errors."""

from __future__ import annotations

import difflib
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import click

from ..errors import UsageError

_NOT_IN_FILES = ("config", "help", "struct_option")


class CommandWithSections(click.Command, ABC):
    """A command whose configuration files may have sections beside options."""

    @abstractmethod
    def options_of_sections(
        self, context: click.Context, content: dict[Any, Any], path: Path
    ) -> dict[Any, Any]:
        """Options by name, from the content of a file."""


def load_config(path: Path, command: click.Command, context: click.Context) -> dict[str, Any]:
    """Checked values by parameter name.

    Raises:
        UsageError: unreadable file, YAML error (with its line), unknown key, repeated key or wrong type.
    """
    keys = _option_names(command)
    values: dict[str, Any] = {}
    content = _read_mapping(path)
    if isinstance(command, CommandWithSections):
        content = command.options_of_sections(context, content, path)
    for key, value in content.items():
        name = str(key).replace("-", "_")
        if name not in keys:
            near = difflib.get_close_matches(name, keys, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"known keys: {', '.join(sorted(keys))}"
            raise UsageError(f"Unknown key '{key}'.", where=str(path), hint=hint)
        parameter = keys[name]
        values[str(parameter.name)] = _checked(parameter, value, context, where=f"{path}, key '{key}'")
    return values


def _option_names(command: click.Command) -> dict[str, click.Parameter]:
    """Every spelling of every option, without dashes, and the names of arguments."""
    names: dict[str, click.Parameter] = {}
    for parameter in command.params:
        if parameter.name in _NOT_IN_FILES or parameter.name is None:
            continue
        spellings = [parameter.name, *(opt.lstrip("-") for opt in parameter.opts if opt.startswith("--"))]
        names.update({spelling.replace("-", "_"): parameter for spelling in spellings})
    return names


def _read_mapping(path: Path) -> dict[Any, Any]:
    from ..io.plain_yaml import read_yaml

    data = read_yaml(path, "configuration file")
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise UsageError("The configuration file is not a list of 'key: value' lines.", where=str(path))
    return data


def _checked(parameter: click.Parameter, value: Any, context: click.Context, *, where: str) -> Any:
    """``value`` when the option accepts it; YAML lists become words for options that take one text, and one
    text a list for options that may be repeated."""
    if value is None:
        raise UsageError("The key has no value.", where=where, hint="leave the key out, or give it one")
    if parameter.multiple and parameter.nargs > 1:
        return _groups(parameter, value, where=where)
    if isinstance(value, str) and (parameter.multiple or parameter.nargs == -1):
        value = [value]
    is_flag = isinstance(parameter.type, click.types.BoolParamType)
    whole = isinstance(parameter.type, click.types.IntParamType)
    scalars = value if isinstance(value, list) else [value]
    wrong = next((item for item in scalars if not _is_scalar(item, is_flag=is_flag, whole=whole)), None)
    if isinstance(value, list) and None not in scalars and not parameter.multiple and parameter.nargs == 1:
        value = " ".join(str(item) for item in value)
    try:
        if wrong is not None or None in scalars:
            raise click.BadParameter(
                f"{str(wrong)[:40]!r} is not {'true or false' if is_flag else f'a {parameter.type.name}'}"
            )
        parameter.type_cast_value(context, value)
    except click.BadParameter as err:
        raise UsageError(
            f"Wrong type: {err.message.rstrip('.')}.", where=where, hint=f"expected {parameter.type.name}"
        ) from err
    return value


def _groups(parameter: click.Parameter, value: Any, *, where: str) -> list[tuple[str, ...]]:
    """The values of an option that takes several words each time: lists of them, or one list."""
    listed = value if isinstance(value, list) else [value]
    groups = listed if any(isinstance(item, list) for item in listed) else [listed]
    for group in groups:
        words = group if isinstance(group, list) else [group]
        if len(words) != parameter.nargs or not all(_is_scalar(w, is_flag=False, whole=False) for w in words):
            raise UsageError(
                f"Wrong type: {str(group)[:40]!r} is no list of {parameter.nargs} words.",
                where=where,
                hint=f"such as [[{', '.join(['…'] * parameter.nargs)}]]",
            )
    return [tuple(map(str, group)) for group in groups]


def _is_scalar(item: Any, *, is_flag: bool, whole: bool) -> bool:
    """Whether a value of a file can be one value of an option."""
    if isinstance(item, str):
        return "\0" not in item and not is_flag
    if whole and type(item) is float:
        return False
    return isinstance(item, int | float) and isinstance(item, bool) == is_flag


def _apply(context: click.Context, parameter: click.Parameter, path: Path | None) -> None:
    if path is not None:
        context.default_map = {**(context.default_map or {}), **load_config(path, context.command, context)}


config_option = click.option(
    "--config",
    type=click.Path(path_type=Path),
    is_eager=True,
    expose_value=False,
    callback=_apply,
    help="YAML file with options (keys as on the command line); the command line wins.",
)
