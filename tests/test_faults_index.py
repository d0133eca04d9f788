"""tests/FAULTS.md names a test for every fault that must be survived, and the tests exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
RANGES = [(1, 12), (14, 34), (36, 40), (42, 71), (73, 74), (76, 82)]
DEMANDED = [number for first, last in RANGES for number in range(first, last + 1)]
"""Acceptance 7 of issue 3, fault 23, and training (issue 5)."""


def rows() -> Iterator[tuple[int, str, list[str]]]:
    """Number, fault and test ids of every line of the table."""
    for line in (TESTS / "FAULTS.md").read_text(encoding="utf-8").splitlines():
        if match := re.match(r"\| (\d+) \| (.+?) \| (.+) \|$", line):
            yield int(match[1]), match[2], re.findall(r"`([^`]+)`", match[3])


@cache
def defined_tests(file: str) -> frozenset[str]:
    """Names of the test functions that a file defines."""
    tree = ast.parse((TESTS.parent / file).read_text(encoding="utf-8"))
    return frozenset(
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    )


def test_every_demanded_fault_is_listed_once() -> None:
    assert [number for number, _, _ in rows()] == DEMANDED


@pytest.mark.parametrize(("number", "tests"), [(number, tests) for number, _, tests in rows()])
def test_every_named_test_exists(number: int, tests: list[str]) -> None:
    assert tests, f"fault {number} has no test"
    for identifier in tests:
        file, _, name = identifier.partition("::")
        assert (TESTS.parent / file).is_file(), identifier
        assert name in defined_tests(file), identifier
