"""Brackets of a JSON text are counted before a parser recurses into them."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator

import pytest

from jmp_calc.io.nesting import MAX_NESTING, deepest_nesting, shallow_json


@pytest.fixture
def deep_recursion() -> Iterator[None]:
    """As phonopy and torch leave it in a process."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(10**6)
    yield
    sys.setrecursionlimit(before)


@pytest.mark.parametrize(
    ("text", "levels"),
    [
        ("1", 0),
        ('{"a": [1, [2]]}', 3),
        ('"[[[["', 0),
        (r'["\"[[", "]]", "\\"]', 1),
        ("[1], [2]", 1),
        ('"[[[ without an end', 0),
        ("[[[", 3),
    ],
)
def test_brackets_in_strings_do_not_count(text: str, levels: int) -> None:
    assert deepest_nesting(text) == levels


@pytest.mark.usefixtures("deep_recursion")
@pytest.mark.parametrize("text", ["[" * 10**6, '{"a": ' * 10**5, '["]",' * 10**5])
def test_a_deep_text_is_refused_where_python_would_recurse(text: str) -> None:
    with pytest.raises(ValueError, match="levels of brackets"):
        shallow_json(text)


def test_other_texts_are_read_as_json_reads_them() -> None:
    text = json.dumps({"é[": [1, 2.5, None, {"b": "\\"}]})
    assert shallow_json(text) == shallow_json(text.encode()) == json.loads(text)
    assert shallow_json("[" * MAX_NESTING + "]" * MAX_NESTING)


def test_counting_takes_time_in_proportion() -> None:
    began = time.process_time()
    deepest_nesting('"\\' * 10**6 + '["a", "' * 10**6)
    assert time.process_time() - began < 5.0
