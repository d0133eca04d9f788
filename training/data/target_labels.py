"""Targets as files hold them: which kind they are, and one label as a number, the name of a class, or a
vector."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from jmp_calc.errors import BadInputError
from jmp_calc.io.header import as_floats

TargetKind = Literal["scalar", "class", "vector"]
FEW = 10
"""Distinct whole numbers up to which a target may be meant as classes."""
_BOOLEANS = {
    "T": "T",
    "True": "T",
    "true": "T",
    "TRUE": "T",
    "F": "F",
    "False": "F",
    "false": "F",
    "FALSE": "F",
}


def kind_of_labels(labels: Sequence[Any], target: str) -> tuple[TargetKind, str]:
    """The kind to train on where the user does not say, and why: classes if all labels are text or booleans,
    else a scalar.

    Vectors and classes that are written as numbers are never assumed.
    """
    if labels and all(_is_word(label) for label in labels):
        return "class", f"{target}: the labels are text or booleans, so these are classes"
    numbers = {_number(label) for label in labels}
    if (
        None not in numbers
        and 2 <= len(numbers) <= FEW < len(labels)
        and all(float(n).is_integer() for n in numbers if n)
    ):
        return "scalar", (
            f"{target}: taken as a number, of which there are {len(numbers)} different ones; "
            "if they are classes: --target-kind class"
        )
    return "scalar", f"{target}: a number per structure"


def scalar_label(label: Any, target: str, where: str) -> float:
    """The number of a structure; BadInputError naming the place if it is none."""
    try:
        values = as_floats(label)
    except (ValueError, TypeError):
        raise BadInputError(
            f"The target {_short(label)!r} is not numeric.",
            where=where,
            hint="finetune takes names of classes with --target-kind class",
        ) from None
    if values.size != 1:
        hint = (
            "finetune takes vectors of three components with --target-kind vector" if values.size == 3 else ""
        )
        raise BadInputError(
            f"The target {target!r} has shape {values.shape}, not one number.", where=where, hint=hint
        )
    return float(values.reshape(()))


def class_label(label: Any, target: str, where: str) -> str | None:
    """The name of a class: text as it is, whole numbers without a point, booleans as T and F; None if it is
    empty or NaN.

    BadInputError naming the place for other numbers and for arrays.
    """
    if isinstance(label, bool | np.bool_):
        return "T" if label else "F"
    if np.size(label) != 1:
        raise BadInputError(f"The target {target!r} has shape {np.shape(label)}, not one class.", where=where)
    number = _number(label)
    if number is None:
        text = str(label).strip()
        return _BOOLEANS.get(text, text) or None
    if not math.isfinite(number):
        return None
    if not number.is_integer():
        raise BadInputError(
            f"The target {_short(label)!r} is no class: a number that is not whole.",
            where=where,
            hint="classes are text, booleans or whole numbers; a number needs --target-kind scalar",
        )
    return str(int(number))


def vector_label(label: Any, target: str, where: str) -> np.ndarray:
    """The vector (3,) of a structure; BadInputError naming the place if it is none."""
    try:
        values = as_floats(label)
    except (ValueError, TypeError):
        raise BadInputError(f"The target {_short(label)!r} is not numeric.", where=where) from None
    if values.size != 3:
        raise BadInputError(
            f"The target {target!r} has shape {values.shape}, not three components.", where=where
        )
    return values.reshape(3)


def target_labels(
    target: str | None, label: Any, kind: TargetKind, where: str
) -> tuple[dict[str, float], dict[str, str], dict[str, np.ndarray]]:
    """The label of the target as an entry of ``Frame.targets``, ``classes`` or ``vectors``, these of shape
    (3,); all empty if there is none."""
    if target is None or label is None:
        return {}, {}, {}
    if kind == "scalar":
        return {target: scalar_label(label, target, where)}, {}, {}
    if kind == "vector":
        return {}, {}, {target: vector_label(label, target, where)}
    name = class_label(label, target, where)
    return {}, {} if name is None else {target: name}, {}


def _is_word(label: Any) -> bool:
    """Whether a label is a boolean, or text that is not numeric."""
    if isinstance(label, bool | np.bool_):
        return True
    return isinstance(label, str) and not _is_numeric(label)


def _is_numeric(text: str) -> bool:
    try:
        as_floats(text)
    except (ValueError, TypeError):
        return False
    return True


def _number(label: Any) -> float | None:
    """A single number, None for anything else."""
    try:
        values = as_floats(label)
    except (ValueError, TypeError):
        return None
    return float(values.reshape(())) if values.size == 1 else None


def _short(label: Any) -> str:
    return str(label)[:60]
