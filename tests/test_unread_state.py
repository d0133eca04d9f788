"""Charge and unpaired electrons of a structure, by whatever key a file has for them."""

from __future__ import annotations

from typing import Any

import pytest
from ase.build import molecule

from jmp_calc.errors import BadStructureError
from jmp_calc.unread import total_state


@pytest.mark.parametrize(
    ("info", "state"),
    [
        ({}, (0, None)),
        ({"charge": 0, "spin": 1}, (0, 0)),
        ({"total_charge": "1"}, (1, None)),
        ({"Charge": -1, "multiplicity": 2}, (-1, 1)),
        ({"spin": 2}, (0, 2)),
        ({"spin": 3}, (0, 2)),
        ({"uhf": 2}, (0, 2)),
        ({"total_spin": 1}, (0, 2)),
        ({"charge": 1, "uhf": 0}, (1, None)),
        ({"charge": None, "spin": ""}, (0, None)),
    ],
)
def test_keys_of_files(info: dict[str, Any], state: tuple[int, int | None]) -> None:
    assert total_state(info, molecule("O2").numbers) == state


@pytest.mark.parametrize(
    "info", [{"charge": 0.5}, {"charge": "x"}, {"multiplicity": 2}, {"uhf": 1}, {"mult": 0}]
)
def test_states_that_cannot_be(info: dict[str, Any]) -> None:
    with pytest.raises(BadStructureError):
        total_state(info, molecule("O2").numbers)
