"""The group itself: start-up, unknown commands, errors without tracebacks, exit codes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest

from jmp_calc.cli import main as cli_main
from jmp_calc.cli.main import COMMANDS, report
from jmp_calc.errors import (
    BadInputError,
    GuardError,
    JMPError,
    ModelError,
    NotConvergedError,
    OutOfMemoryError,
    UsageError,
)
from jmp_calc.machine.signals import Interrupted
from tests.programs import JMP_CALC, environment
from tests.programs import run as run_program


def shell(*words: object, **variables: str) -> subprocess.CompletedProcess[str]:
    """The real program in its own process."""
    return run_program([*JMP_CALC, *words], env=environment(**variables), within_s=120)


def test_help_is_fast_and_imports_nothing_heavy() -> None:
    code = (
        "import sys; from jmp_calc.cli.main import cli\ntry: cli.main(['--help'])\nexcept SystemExit: pass\n"
    )
    code += "print([m for m in ('torch', 'ase', 'numpy', 'phonopy') if m in sys.modules])"
    shell("--help")  # warm the disk cache
    best = min(_seconds(code)[0] for _ in range(3))
    assert best < 0.5 * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    assert _seconds(code)[1].decode().strip().endswith("[]")


def _seconds(code: str) -> tuple[float, bytes]:
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, cwd=Path(__file__).parents[2]
    )
    return time.perf_counter() - start, done.stdout


def test_help_lists_every_command(run) -> None:
    result = run("-h")
    assert result.exit_code == 0
    assert all(name in result.stdout for name in COMMANDS)
    assert "Exit codes" in result.stdout


@pytest.mark.parametrize("command", ["relax", "md", "phonons"])
def test_command_help_ends_with_examples(run, command: str) -> None:
    result = run(command, "-h")
    assert result.exit_code == 0
    assert "Examples:" in result.stdout
    assert "--config" in result.stdout


def test_version(run) -> None:
    assert run("--version").stdout.startswith("jmp-calc, version ")


def test_unknown_command_and_option_name_the_nearest(run) -> None:
    result = run("phonon")
    assert result.exit_code == 2
    assert "did you mean phonons?" in result.stderr
    result = run("relax", "x.xyz", "--fmaks", "1")
    assert result.exit_code == 2
    assert "--fmax" in result.stderr
    assert "hint: jmp-calc relax --help" in result.stderr


@pytest.mark.parametrize("words", [("cite", "--model"), ("models", "card", "jmp-xs", "-o"), ("md", "--temp")])
def test_an_option_without_its_value_names_the_help_of_its_command(run, words: tuple[str, ...]) -> None:
    result = run(*words)
    command = " ".join(word for word in words[:2] if not word.startswith("-"))
    assert result.exit_code == 2 and "requires an argument" in result.stderr
    assert f"hint: jmp-calc {command} --help" in result.stderr


def test_alias_of_relax(run) -> None:
    assert "Relax the atoms" in run("geomopt", "-h").stdout


def test_missing_module_breaks_only_its_command(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COMMANDS, "nowhere", "not there")
    assert run("nowhere").exit_code == 2
    assert run("relax", "-h").exit_code == 0


@pytest.mark.parametrize(
    "error, code",
    [
        (JMPError("x"), 1),
        (UsageError("x"), 2),
        (NotConvergedError("x"), 3),
        (BadInputError("x"), 4),
        (ModelError("x"), 5),
        (OutOfMemoryError("x"), 6),
        (MemoryError(), 6),
        (GuardError("x"), 7),
        (KeyboardInterrupt(), 130),
        (Interrupted(2), 130),
        (Interrupted(15), 143),
        (click.UsageError("x"), 2),
        (OSError(28, "No space left"), 1),
        (OSError(30, "Read-only"), 1),
        (ZeroDivisionError("x"), 1),
        (SystemExit(4), 4),
    ],
)
def test_every_error_has_its_exit_code(error: BaseException, code: int) -> None:
    assert report(error) == code


def test_errors_have_fact_place_and_action(capsys: pytest.CaptureFixture[str]) -> None:
    report(BadInputError("no forces", where="frame 17", hint="use --forces-key"))
    assert capsys.readouterr().err.splitlines() == [
        "error: no forces",
        "where: frame 17",
        "hint: use --forces-key",
    ]


def test_unforeseen_errors_leave_a_log_instead_of_a_traceback(
    run, water: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(cli_main.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr("jmp_calc.cli.options.Common.calculator", lambda *_: 1 / 0)
    result = run("relax", water, "--dry-run")
    assert result.exit_code == 1
    assert "Traceback" not in result.output
    assert "internal error: ZeroDivisionError" in result.stderr
    (log,) = tmp_path.glob("jmp-calc-error-*.log")
    assert str(log) in result.stderr
    assert "Traceback" in log.read_text()


def test_fault_61_pipes_locale_c_and_no_colour(water: Path) -> None:
    done = shell(
        "relax",
        water,
        "--dry-run",
        LC_ALL="C",
        PYTHONUTF8="0",
        PYTHONCOERCECLOCALE="0",
        PYTHONIOENCODING="ascii",
        NO_COLOR="1",
    )
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    done = shell(
        "phonons", "-h", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0", PYTHONIOENCODING="ascii"
    )
    assert done.returncode == 0, done.stderr
