"""Plugin of pytest: ASE's tests find JMPCalculator where they look for EMT.

    JMP_CALC_SUITE_MODEL=run/best.safetensors pytest -p tests.ase_suite.swap --pyargs ase.test.md.test_md

``ase.calculators.emt.EMT``, and ``asap3.EMT``, become a JMPCalculator with the model of that file, before any
test imports them.
Every test ends as one JSON line in JMP_CALC_SUITE_RECORD: its id, its outcome, its seconds, and how often it
evaluated the network, so that tests that only look at Atoms can be counted apart.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import ase.calculators.emt
import pytest
from ase import Atoms
from ase.calculators.calculator import all_changes

from jmp_calc import JMPCalculator
from jmp_calc.errors import JMPWarning
from tests.ase_suite.cases import ASE_TESTS, EXCLUDED

MODEL, RECORD = "JMP_CALC_SUITE_MODEL", "JMP_CALC_SUITE_RECORD"
"""Variables of the environment: file of the fitted model, and of the outcomes."""


class EMT(JMPCalculator):
    """JMPCalculator under EMT's name, made without settings."""

    evaluations: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__(os.environ[MODEL], device="cpu", dtype="float64")

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Count, and compute."""
        EMT.evaluations += 1
        with warnings.catch_warnings():  # ASE's tests make errors of those on strange surroundings
            warnings.simplefilter("ignore", JMPWarning)
            super().calculate(atoms, properties, system_changes)


def pytest_configure(config: pytest.Config) -> None:
    """Put it in EMT's place, and in that of ASAP's, the same potential compiled."""
    ase.calculators.emt.EMT = EMT
    asap = ModuleType("asap3")
    asap.__spec__ = ModuleSpec("asap3", loader=None)
    asap.EMT, asap.__version__ = EMT, "JMPCalculator"  # type: ignore[attr-defined]
    sys.modules["asap3"] = asap


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is excluded, and name exclusions of nothing."""
    ids = {item: short_id(item) for item in items}
    unused = [pattern for pattern in EXCLUDED if not any(fnmatchcase(name, pattern) for name in ids.values())]
    excluded = [item for item in items if any(fnmatchcase(ids[item], pattern) for pattern in EXCLUDED)]
    config.hook.pytest_deselected(items=excluded)
    items[:] = [item for item in items if item not in set(excluded)]
    print(f"\nunused exclusions: {', '.join(unused) or 'none'}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Count the evaluations of one test."""
    EMT.evaluations = 0
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Iterator[None]:
    """Write the outcome of a test that has run, or that could not begin."""
    report = yield
    if report.when == "call" or (report.when == "setup" and not report.passed):
        words = {
            "id": short_id(item),
            "outcome": report.outcome,
            "seconds": round(report.duration, 2),
        }
        words |= {
            "evaluations": EMT.evaluations,
            "why": "" if report.passed else last_line(report.longreprtext),
        }
        with Path(os.environ[RECORD]).open("a") as record:
            print(json.dumps(words), file=record)
    return report


def short_id(item: pytest.Item) -> str:
    """``md/test_md.py::test_md``: the id below ase/test, wherever ASE is installed."""
    return f"{item.path.relative_to(ASE_TESTS).as_posix()}::{item.nodeid.split('::', 1)[1]}"


def last_line(text: str) -> str:
    """What an error says, in one line."""
    lines = [line for line in text.splitlines() if line.startswith("E ")] or text.splitlines()[-1:]
    return lines[0].lstrip("E ").strip()[:200] if lines else ""
