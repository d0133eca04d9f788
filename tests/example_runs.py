"""An example, run as it is: every number comes out where it says."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

NUMBER = r"-?\d+(?:\.\d+)?(?:e-?\d+)?"
EXPECTED = re.compile(rf"({NUMBER})(?: [^\s()]+)? \(expect ({NUMBER}) to ({NUMBER})")
"""A number, its unit, and the span that an example states."""


def run_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Run ``examples/name`` and compare the numbers that it prints with what it says to expect."""
    path = Path(__file__).parents[1] / "examples" / name
    assert len(path.read_text(encoding="utf-8").splitlines()) < 60
    runpy.run_path(str(path), run_name="__main__")
    out = capsys.readouterr().out
    print(out)  # pytest shows it where something is wrong
    found = EXPECTED.findall(out)
    assert len(found) == out.count("(expect ") > 0
    assert [each for each in found if not float(each[1]) <= float(each[0]) <= float(each[2])] == []
