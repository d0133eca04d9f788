"""Strict conversion of JSON data to our frozen dataclasses.

Every value is checked against the field's type hint; unknown keys are refused with the nearest known name, so
a file cannot carry settings that nobody reads.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Iterable
from typing import Any, Literal, TypeVar, Union

from ..errors import ModelError

T = TypeVar("T")


def parse(kind: type[T], data: object, where: str) -> T:
    """An instance of the dataclass ``kind`` from a JSON object.

    Args:
        kind: a dataclass whose fields are numbers, strings, literals, tuples, dicts or dataclasses.
        data: what json.loads returned.
        where: path of the object for messages, such as "config".

    Raises:
        ModelError: unknown or missing key, wrong type, or a number that is not finite.
    """
    if not isinstance(data, dict):
        raise _error(where, "an object", data)
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for key in data:
        if key not in fields:
            near = difflib.get_close_matches(str(key), fields, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(fields)}"
            raise ModelError(f"Unknown key {key!r}.", where=where, hint=hint)
    hints = typing.get_type_hints(kind)
    values = {}
    for name, field in fields.items():
        if name in data:
            values[name] = _value(hints[name], data[name], f"{where}.{name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ModelError(f"The key {name!r} is missing.", where=where)
    return kind(**values)


def first_five(names: Iterable[str]) -> str:
    """The first five names, and how many more there are."""
    listed = list(names)
    return ", ".join(listed[:5]) + (f" and {len(listed) - 5} more" if len(listed) > 5 else "")


def _value(hint: Any, data: object, where: str) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return data
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return parse(hint, data, where)
    if origin is Literal:
        if not isinstance(data, str) or data not in args:
            raise _error(where, f"one of {', '.join(map(str, args))}", data)
        return data
    if origin in (Union, types.UnionType):
        if data is None and type(None) in args:
            return None
        kinds = [arg for arg in args if arg is not type(None)]
        # Of several scalars the one that the value is.
        return _value(next((kind for kind in kinds if type(data) is kind), kinds[0]), data, where)
    if origin is tuple:
        if not isinstance(data, list | tuple):
            raise _error(where, "a list", data)
        return tuple(_value(args[0], item, f"{where}[{i}]") for i, item in enumerate(data))
    if origin is dict:
        if not isinstance(data, dict):
            raise _error(where, "an object", data)
        return {_key(args[0], k, where): _value(args[1], v, f"{where}.{k}") for k, v in data.items()}
    return _scalar(hint, data, where)


def _scalar(hint: type, data: object, where: str) -> Any:
    if hint is float and isinstance(data, int | float) and not isinstance(data, bool):
        if not math.isfinite(data):
            raise _error(where, "a finite number", data)
        return float(data)
    if type(data) is not hint:
        raise _error(
            where, {int: "an integer", str: "a text", bool: "true or false"}.get(hint, "a number"), data
        )
    return data


def _key(hint: type, key: object, where: str) -> Any:
    if hint is not int:
        return key
    try:
        return int(str(key))
    except ValueError:
        raise _error(where, "an integer as key", key) from None


def _error(where: str, wanted: str, data: object) -> ModelError:
    shown = repr(data)
    return ModelError(
        f"Expected {wanted}, found {shown[:40] + '…' if len(shown) > 40 else shown}.", where=where
    )
