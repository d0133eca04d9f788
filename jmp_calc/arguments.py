"""Arguments of functions against their type hints: one sentence instead of an error from inside a library.

``plain`` is for the frozen dataclasses that hold the settings of a workflow; ``one_structure``,
``structure_list``, ``a_calculator`` and ``names`` are for what users hand over beside them.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import os
import sys
import types
import typing
from collections.abc import Iterable, Iterator
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Literal, Union

import numpy as np

from .errors import UsageError

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

_WORDS = {int: "a whole number", float: "a number", bool: "True or False", str: "text"}


def plain(settings: Any) -> None:
    """Check the numbers, texts and truth values of a frozen dataclass, and make plain ones of numpy's.

    Whole floats stand for whole numbers (``steps=1e5``). Fields of other types, such as tuples, are left to
    their own checks.

    Raises:
        UsageError: the first field whose value is of another type.
    """
    for name, field in _fields(type(settings)).items():  # type: ignore[arg-type]
        given = getattr(settings, name)
        taken = _taken(given, field, name)
        if taken is not given:
            object.__setattr__(settings, name, taken)


@dataclasses.dataclass(frozen=True)
class _Plain:
    """What a plain field may hold."""

    kinds: frozenset[type]
    wanted: str
    """In words."""


@functools.cache
def _fields(of: type[Any]) -> dict[str, _Plain]:
    """Fields whose type hints are plain: numbers, text, truth values, None and choices of texts."""
    found: dict[str, _Plain] = {}
    for base in reversed(of.__mro__):
        space = vars(sys.modules[base.__module__])
        for name, hint in inspect.get_annotations(base).items():
            try:
                parts = list(_parts(eval(hint, space) if isinstance(hint, str) else hint))
            except (NameError, TypeError):  # a name that only type checkers import
                parts = [None]
            found.pop(name, None)
            known = [part for part in parts if part is not None]
            if len(known) == len(parts):
                words = dict.fromkeys(word for _, word in known if word)
                found[name] = _Plain(frozenset(kind for kind, _ in known), " or ".join(words))
    own = {field.name for field in dataclasses.fields(of)}
    return {name: field for name, field in found.items() if name in own}


def _parts(hint: Any) -> Iterator[tuple[type, str] | None]:
    """Each alternative of a type hint as type and word; None for one that is not plain."""
    if typing.get_origin(hint) is Literal:
        yield from ((type(choice), str(choice)) for choice in typing.get_args(hint))
    elif typing.get_origin(hint) in (Union, types.UnionType):
        for part in typing.get_args(hint):
            yield from _parts(part)
    elif hint is types.NoneType:
        yield types.NoneType, ""
    else:
        yield (hint, _WORDS[hint]) if hint in _WORDS else None


def _taken(given: Any, field: _Plain, name: str) -> Any:
    """The plain value; UsageError where it is of none of the kinds."""
    kinds = field.kinds
    value = given.item() if isinstance(given, np.generic | np.ndarray) and given.ndim == 0 else given
    if isinstance(value, float) and float not in kinds and int in kinds and value.is_integer():
        value = int(value)
    number = isinstance(value, Real) and not isinstance(value, bool)
    fits = type(value) in kinds or (isinstance(value, str) and str in kinds)
    fits |= number and (float in kinds or (isinstance(value, Integral) and int in kinds))
    if not fits:
        raise UsageError(f"{name} must be {field.wanted}, got {_shown(given)}.")
    return value


def _shown(given: Any) -> str:
    text = repr(given)
    return text if len(text) <= 40 else f"an object of type {type(given).__name__}"


def one_structure(given: Any, name: str = "atoms") -> Atoms:
    """The ASE Atoms object; UsageError for anything else."""
    from ase import Atoms

    if isinstance(given, Atoms):
        return given
    raise UsageError(
        f"{name} must be one ASE Atoms object, got {_shown(given)}.",
        hint="ase.io.read(FILE) makes one of a file" if _is_path(given) else "give structures one by one",
    )


def structure_list(given: Any, name: str = "structures") -> list[Atoms]:
    """One structure or several as a list; UsageError for anything else."""
    from ase import Atoms

    if isinstance(given, Atoms):
        return [given]
    if _is_path(given) or not isinstance(given, Iterable):
        raise UsageError(
            f"{name} must be ASE Atoms objects, got {_shown(given)}.",
            hint="ase.io.read(FILE, ':') makes a list of a file"
            if _is_path(given)
            else "give a list of them",
        )
    found = list(given)
    for number, atoms in enumerate(found):
        if not isinstance(atoms, Atoms):
            raise UsageError(
                f"Structure {number} is of type {type(atoms).__name__}, not an ASE Atoms object.",
                hint="give one Atoms object or a list of them",
            )
    return found


def a_calculator(given: Any, name: str = "calc") -> Calculator:
    """The calculator; UsageError for its name, its class, or what cannot compute."""
    if isinstance(given, str):
        raise UsageError(
            f"{name} must be a calculator, got the text {given!r}.",
            hint=f"write {name}=JMPCalculator({given!r})",
        )
    if isinstance(given, type):
        raise UsageError(
            f"{name} must be a calculator, got the class {given.__name__}.", hint=f"write {given.__name__}()"
        )
    if not hasattr(given, "get_property") and not hasattr(given, "get_forces"):
        raise UsageError(
            f"{name} must be a calculator of ASE, got {_shown(given)}.",
            hint=f"such as {name}=JMPCalculator('jmp-xs')",
        )
    return typing.cast("Calculator", given)


def names(given: Any, name: str) -> tuple[str, ...]:
    """Texts or paths as texts, also of one alone, which is no list of letters; UsageError for anything
    else."""
    found = tuple(given) if isinstance(given, Iterable) and not _is_path(given) else (given,)
    if not all(isinstance(one, str | os.PathLike) for one in found):
        raise UsageError(f"{name} must be texts, got {_shown(given)}.")
    return tuple(os.fspath(one) for one in found)


def _is_path(given: Any) -> bool:
    return isinstance(given, str | bytes) or hasattr(given, "__fspath__")
