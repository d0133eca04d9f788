"""The Python snippets of README.md run as they are written, one after the other as a reader pastes them."""

from __future__ import annotations

import gzip
import io
import re
from importlib import resources
from pathlib import Path

import click
import pytest
from ase.io import read, write

from jmp_calc.cli.main import COMMANDS, cli

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def write_data(folder: Path) -> None:
    """train.extxyz and test.extxyz: the first and the last frames of the shipped sample."""
    packed = (resources.files("jmp_calc.samples") / "bpa3_sample.xyz.gz").read_bytes()
    frames = read(io.StringIO(gzip.decompress(packed).decode()), ":", format="extxyz")
    write(folder / "train.extxyz", frames[:16])
    write(folder / "test.extxyz", frames[-4:])


def test_python_snippets_run_as_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    snippets = re.findall(r"^```python\n(.*?)^```", README, re.M | re.S)
    assert len(snippets) >= 3
    monkeypatch.chdir(tmp_path)
    write_data(tmp_path)
    names: dict[str, object] = {}
    for snippet in snippets:
        exec(compile(snippet.replace("epochs=20", "epochs=1"), "README.md", "exec"), names)
    out = capsys.readouterr().out
    assert "[[" in out, "forces were printed"
    assert (tmp_path / "run" / "best.safetensors").is_file()


def test_commands_said_to_have_dry_runs_and_configuration_files_are_those_that_have_them() -> None:
    sentence = re.search(r"where it computes \((.*?)\)", README, re.S)
    assert sentence is not None
    both = set()
    for name in COMMANDS:
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        own = list(command.commands.values()) if isinstance(command, click.Group) else [command]
        if all({"--dry-run", "--config"} <= {o for each in one.params for o in each.opts} for one in own):
            both.add(name)
    assert set(re.findall(r"`(.*?)`", sentence[1])) == both
