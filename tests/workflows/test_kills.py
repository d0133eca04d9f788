"""Runs that are killed at random moments and go on: the same files, nothing twice (``tests/kills.py``)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.kills import CASES, Case, survives

QUICK = ("md bussi, compressed", "neb")


@pytest.mark.capability("C8")
@pytest.mark.parametrize("case", [case for case in CASES if case.name in QUICK], ids=lambda case: case.name)
def test_a_killed_run_goes_on(case: Case, tmp_path: Path) -> None:
    survives(case, tmp_path, 2, np.random.default_rng(1))


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_ten_kills_at_random_moments(case: Case, tmp_path: Path) -> None:
    survives(case, tmp_path, 10, np.random.default_rng(2))
