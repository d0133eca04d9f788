"""The command line leaves numpy one thread, before numpy is there."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from jmp_calc.machine.blas import VARIABLE

PROGRAM = f"""
import os, sys
from jmp_calc.cli.main import main
assert "numpy" not in sys.modules
sys.argv[1:] = ["--version"]
try:
    main()
except SystemExit:
    pass
print(os.environ["{VARIABLE}"])
"""


@pytest.mark.parametrize(("given", "found"), [(None, "1"), ("3", "3")])
def test_numpy_has_one_thread_unless_the_user_says_otherwise(given: str | None, found: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    environment |= {} if given is None else {VARIABLE: given}
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, text=True, capture_output=True, check=True
    )
    assert run.stdout.split()[-1] == found
