"""A reader with nothing but the site does the tutorials: commands and snippets run as they are written."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from jmp_calc.cli.main import cli
from tests import programs
from tests.pages import DOCS, RUN_BY_PYTHON, RUN_BY_SHELL, blocks

TUTORIALS = sorted((DOCS / "tutorials").glob("*.md"))
PRELUDE = """set -eu
jmp-calc() { "$PYTHON" -m jmp_calc "$@"; }
ase() { "$PYTHON" -m ase "$@"; }
"""
"""The programs of this environment, wherever it is."""
SHORTER = {"--steps 200": "--steps 10"}
"""In the fast test, of the first tutorial."""


def done(page: Path, shell: Callable[[str], None], *, shorter: dict[str, str]) -> int:
    """Run a page from top to bottom in the current folder, in one session of Python; number of blocks."""
    import matplotlib.pyplot as plt

    plt.switch_backend("Agg")
    names: dict[str, object] = {"__name__": "__main__"}
    count = 0
    for block in blocks(page):
        text = block.text
        for long, short in shorter.items():
            text = text.replace(long, short)
        if block.language in RUN_BY_SHELL:
            shell(text)
        elif block.language in RUN_BY_PYTHON:
            exec(compile(text, page.name, "exec"), names)
        else:
            continue
        count += 1
    plt.close("all")
    return count


def in_this_process(text: str) -> None:
    """Commands of jmp-calc without the start of a program for each."""
    for line in filter(None, map(str.strip, text.splitlines())):
        program, *words = shlex.split(line, comments=True)
        assert program == "jmp-calc"
        result = CliRunner().invoke(cli, words)
        assert result.exit_code == 0, result.output


def by_bash(text: str) -> None:
    """As a reader pastes it into a terminal."""
    environment = programs.environment(PYTHON=sys.executable, MPLBACKEND="Agg")
    result = programs.run(["bash", "-c", PRELUDE + text], env=environment, cwd=Path.cwd(), within_s=1800)
    assert result.returncode == 0, result.stdout + result.stderr


def test_there_are_six() -> None:
    assert len(TUTORIALS) == 6
    assert sum(any(b.language == "{code-cell}" for b in blocks(page)) for page in TUTORIALS) >= 3


def test_the_first_ten_minutes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = DOCS / "tutorials" / "first_ten_minutes.md"
    assert all(long in page.read_text(encoding="utf-8") for long in SHORTER)
    assert done(page, in_this_process, shorter=SHORTER) >= 6
    assert (tmp_path / "nve" / "final.extxyz").is_file()
    assert not (tmp_path / "long").exists(), "a dry run writes nothing"


@pytest.mark.slow
@pytest.mark.filterwarnings("default::jmp_calc.errors.JMPWarning")
@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_a_reader_can_do_the_tutorial(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert done(page, by_bash, shorter={}) >= 5
