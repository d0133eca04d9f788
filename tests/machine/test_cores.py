"""Cores are those that this process may use."""

from __future__ import annotations

import sys

import pytest

from tests.programs import run


@pytest.mark.skipif(not hasattr(__import__("os"), "sched_setaffinity"), reason="no affinity on this system")
def test_a_process_that_is_bound_to_one_core_has_one() -> None:
    text = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
    text += "from jmp_calc.machine.cores import available_cores; print(available_cores())"
    assert run([sys.executable, "-c", text]).stdout.strip() == "1"
