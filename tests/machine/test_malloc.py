"""Memory of large arrays is kept by the process, unless that was forbidden."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

CODE = """
import resource, numpy as np
from jmp_calc.machine.malloc import keep_large_arrays
kept = keep_large_arrays()
def fill():
    np.ones(64 * 2**17)  # 64 MiB
fill()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    fill()
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's malloc has these limits")
def test_large_arrays_come_from_kept_memory() -> None:
    kept, faults = run()
    assert (kept, faults < 1000) == ("True", True)


def test_the_limits_can_be_left_alone() -> None:
    assert run(JMP_CALC_MALLOC="system")[0] == "False"


def run(**environment: str) -> tuple[str, int]:
    """Whether limits were raised, and page faults of five arrays of 64 MiB."""
    printed = subprocess.run(
        [sys.executable, "-c", CODE],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    return printed[0], int(printed[1])
