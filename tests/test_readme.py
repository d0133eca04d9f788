"""The Python snippets of README.md run as they are written, one after the other as a reader pastes them."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import click
import pytest

from jmp_calc.cli.main import COMMANDS, cli
from jmp_calc.zoo.names import locate

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_python_snippets_run_as_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    snippets = re.findall(r"^```python\n(.*?)^```", README, re.M | re.S)
    assert len(snippets) >= 2
    monkeypatch.chdir(tmp_path)
    fine_tuned = tmp_path / "demo_results" / "finetune" / "best.safetensors"  # what make demo leaves
    fine_tuned.parent.mkdir(parents=True)
    shutil.copy(locate("jmp-xs", may_fetch=False).path, fine_tuned)
    names: dict[str, object] = {}
    for snippet in snippets:
        exec(compile(snippet, "README.md", "exec"), names)
    assert "[[" in capsys.readouterr().out  # forces were printed


def test_commands_said_to_have_dry_runs_and_configuration_files_are_those_that_have_them() -> None:
    sentence = re.search(r"Those that compute \((.*?)\)", README, re.S)
    assert sentence is not None
    both = set()
    for name in COMMANDS:
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        if {"--dry-run", "--config"} <= {option for parameter in command.params for option in parameter.opts}:
            both.add(name)
    assert set(re.findall(r"`(.*?)`", sentence[1])) == both
