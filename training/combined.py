"""Settings that may be said twice: as an object and one by one."""

from __future__ import annotations

import dataclasses
import os
import reprlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from jmp_calc.errors import UsageError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    T = TypeVar("T", bound=DataclassInstance)


def combined(settings: T, given: Mapping[str, Any], name: str) -> T:
    """``settings`` with what was given one by one; None, and the default of a field, say nothing.

    UsageError where both say something and not the same; ``name`` is how the user calls the settings.
    """
    changes = {}
    for item in dataclasses.fields(settings):
        value, present, default = given.get(item.name), getattr(settings, item.name), _default(item)
        if value is None or _same(value, default):
            continue
        if not _same(present, default) and not _same(present, value):
            raise UsageError(
                f"{item.name} is said twice: {reprlib.repr(value)}, and {reprlib.repr(present)} in {name}.",
                hint="leave one of them out",
            )
        changes[item.name] = value
    return dataclasses.replace(settings, **changes)


def _default(item: dataclasses.Field[Any]) -> Any:
    return item.default_factory() if item.default_factory is not dataclasses.MISSING else item.default


def _same(a: Any, b: Any) -> bool:
    if a is b:
        return True
    if isinstance(a, (str, os.PathLike)) and isinstance(b, (str, os.PathLike)):
        return os.fspath(a) == os.fspath(b)
    return type(a) is type(b) and bool(a == b)
