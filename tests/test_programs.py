"""Programs of tests end with all that they started."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.programs import environment, gone, run, started

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

FORKS = """
import os, sys, time
child = os.fork()
if child == 0:
    time.sleep(600)
print(child, flush=True)
if sys.argv[1] == "waits":
    time.sleep(600)
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
@pytest.mark.parametrize("how", ["waits", "ends"])
def test_what_a_program_forked_does_not_outlive_the_test(how: str) -> None:
    with started([sys.executable, "-c", FORKS, how]) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        assert Path(f"/proc/{child}").exists()
        if how == "ends":
            assert process.wait(60) == 0
    assert gone(child, within_s=5.0)


def test_a_program_that_takes_too_long_is_killed() -> None:
    began = time.monotonic()
    with pytest.raises(subprocess.TimeoutExpired):
        run([sys.executable, "-c", FORKS, "waits"], within_s=0.5)
    assert time.monotonic() - began < 60


def test_exit_code_output_and_environment() -> None:
    program = "import os, sys; print(os.environ['WORD'], 'HOME' in os.environ); sys.exit('no')"
    done = run([sys.executable, "-c", program], env=environment(WORD="yes", HOME=None))
    assert (done.returncode, done.stdout, done.stderr) == (1, "yes False\n", "no\n")
