"""A journal keeps whole lines, whatever cut the last one short, and belongs to one run."""

from __future__ import annotations

from pathlib import Path

import pytest

from jmp_calc.errors import BadInputError, UsageError
from jmp_calc.io.journal import Journal


def test_records_are_read_back_exactly(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    journal = Journal(path, {"task": "relax"})
    journal.add("a", {"energy": 0.1 + 0.2})
    journal.add("b", [1, None])
    journal.add("a", {"energy": -1.0})
    for found in (journal, Journal(path, {"task": "relax"})):
        assert found.get("a") == {"energy": -1.0} and found.get("b") == [1, None]
        assert len(found) == 2 and "c" not in found


@pytest.mark.parametrize("cut", range(1, 30, 4))
def test_a_line_cut_short_is_taken_away(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "j.jsonl"
    journal = Journal(path, {})
    journal.add("a", 1)
    journal.add("b", "a record of some length, so that there is something to cut")
    path.write_bytes(path.read_bytes()[:-cut])
    again = Journal(path, {})
    assert again.get("a") == 1 and "b" not in again
    again.add("b", 2)
    assert Journal(path, {}).get("b") == 2


def test_an_empty_or_cut_first_line_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    path.write_bytes(b'{"identi')
    assert len(Journal(path, {"task": "relax"})) == 0


def test_results_of_another_run_are_refused_with_the_difference(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    Journal(path, {"task": "relax", "settings": {"fmax": 0.01}})
    with pytest.raises(UsageError, match=r"settings\.fmax was 0\.01, now it is 0\.02"):
        Journal(path, {"task": "relax", "settings": {"fmax": 0.02}})


def test_the_difference_is_found_inside_of_lists(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    Journal(path, {"potential": [{"sha256": "a", "dtype": "float32"}]})
    with pytest.raises(UsageError, match=r"potential\.dtype was 'float32', now it is 'float64'"):
        Journal(path, {"potential": [{"sha256": "a", "dtype": "float64"}]})


def test_foreign_lines_are_named(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    Journal(path, {})
    path.write_text(path.read_text() + "not ours\n")
    with pytest.raises(BadInputError, match="Line 2 is no record"):
        Journal(path, {})
