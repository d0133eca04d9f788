"""docs/capabilities.md says what the tests prove, and every row is proved or has a reason."""

from __future__ import annotations

from collections import Counter

import pytest

from tests import capabilities
from tests.capabilities import Row, rows


def test_the_page_is_up_to_date() -> None:
    assert capabilities.PAGE.read_text(encoding="utf-8") == capabilities.page(), (
        "run: python -m tests.capabilities"
    )


def test_the_rows_are_those_of_the_four_tables() -> None:
    counts = Counter(row.name[0] for row in rows())
    assert counts == {"A": 17, "B": 15, "C": 21, "D": 19}
    for letter, count in counts.items():
        assert [row.name for row in rows() if row.name[0] == letter] == [
            f"{letter}{n}" for n in range(1, count + 1)
        ]
    assert {row.aim for row in rows()} == {"M", "L", "S"} and all(row.what for row in rows())


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.name)
def test_every_row_is_proved_or_has_a_reason(row: Row) -> None:
    proved = row.name in capabilities.proofs()
    assert proved or row.missing, f"{row.name} ({row.what}): mark a test, or say why there is none"
    assert not (proved and row.missing), f"{row.name} is proved: take its reason out"


def test_markers_name_rows_that_there_are() -> None:
    assert set(capabilities.proofs()) <= {row.name for row in rows()}


def test_what_everybody_has_is_here() -> None:
    assert not [row.name for row in rows() if row.aim == "M" and row.missing]
