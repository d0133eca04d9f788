"""`import jmp_calc` and `jmp-calc --help` answer at once: torch and ASE are loaded when they are needed."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

HEAVY = ["torch", "ase", "scipy", "phonopy", "matplotlib", "jmp_calc.training"]
COMMANDS = {
    "import": ["-c", "import jmp_calc; assert jmp_calc.__version__"],
    "help": ["-c", "import sys; sys.argv[1:] = ['--help']; from jmp_calc.cli.main import main; main()"],
}


def seconds(arguments: list[str]) -> float:
    """Wall time of one run of this Python with `arguments`."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


@pytest.mark.parametrize("command", COMMANDS)
def test_starts_in_half_a_second(command: str) -> None:
    """Best of several, so that a busy machine does not decide."""
    assert min(seconds(COMMANDS[command]) for _ in range(5)) < 0.5


@pytest.mark.parametrize("command", COMMANDS)
def test_loads_nothing_heavy(command: str) -> None:
    flag, code = COMMANDS[command]
    listing = f"import atexit, sys; atexit.register(lambda: print('LOADED', *sys.modules)); {code}"
    out = subprocess.run([sys.executable, flag, listing], check=True, capture_output=True, text=True).stdout
    loaded = set(out.split("LOADED", 1)[1].split())
    assert loaded.isdisjoint(HEAVY)


def test_unknown_name_is_an_attribute_error() -> None:
    import jmp_calc

    with pytest.raises(AttributeError, match="no attribute 'relaxx'"):
        _ = jmp_calc.relaxx
    assert set(jmp_calc.__all__) <= set(dir(jmp_calc))
