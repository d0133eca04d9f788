"""One structure with a fault does not take the results of those that it is computed with."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from ase.calculators.calculator import SCFError

from jmp_calc.errors import BadStructureError
from jmp_calc.workflows.together import together


def halves(numbers: Sequence[int]) -> list[float]:
    if 0 in numbers:
        raise BadStructureError("zero")
    return [number / 2 for number in numbers]


def test_what_is_whole_is_computed_once() -> None:
    calls: list[int] = []

    def counted(numbers: Sequence[int]) -> list[float]:
        calls.append(len(numbers))
        return halves(numbers)

    assert list(together([2, 4, 6], counted)) == [1, 2, 3] and calls == [3]
    assert list(together([], counted)) == []


@pytest.mark.parametrize("numbers", [[2, 0, 6, 0], [0], [0, 2]])
def test_a_fault_stands_in_the_place_of_its_item(numbers: list[int]) -> None:
    found = list(together(numbers, halves))
    assert len(found) == len(numbers)
    for number, one in zip(numbers, found):
        assert isinstance(one, BadStructureError) if number == 0 else one == number / 2


def test_a_batch_that_alone_has_a_fault_costs_nothing() -> None:
    def single(numbers: Sequence[int]) -> list[float]:
        if len(numbers) > 1:
            raise NotImplementedError("one at a time")
        return halves(numbers)

    assert list(together([2, 4], single)) == [1, 2]


def test_a_calculation_that_failed_is_of_its_item() -> None:
    def unconverged(numbers: Sequence[int]) -> list[float]:
        if 0 in numbers:
            raise SCFError("not converged")
        return halves(numbers)

    first, second = together([0, 2], unconverged)
    assert isinstance(first, SCFError) and second == 1


def test_other_errors_are_not_of_an_item() -> None:
    with pytest.raises(ZeroDivisionError):
        list(together([1, 0], lambda numbers: [1 / number for number in numbers]))
