"""A batch with a fault is computed one by one, so that one structure does not take the others' results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from ase.calculators.calculator import CalculatorError

from ..errors import JMPError

T = TypeVar("T")
R = TypeVar("R")


def together(items: Sequence[T], compute: Callable[[Sequence[T]], Sequence[R]]) -> Iterator[R | Exception]:
    """The result of each item, or in its place why there is none.

    Args:
        items: structures, or what stands for them.
        compute: results in the order of the items; a fault in it (JMPError, NotImplementedError, a
            CalculatorError of ASE) is one of an item, and other errors go through.
    """
    try:
        found = compute(items)
    except (JMPError, NotImplementedError, CalculatorError) as error:
        if len(items) == 1:
            yield error
            return
    else:
        yield from found
        return
    for item in items:
        yield from together([item], compute)
