"""The numbered examples run as they are, and every number comes out where they say it does."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.example_runs import run_example

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("[0-9][0-9]_*.py"))
OURS = [path for path in EXAMPLES if int(path.name[:2]) < 20]
"""Those from 20 on need other engines and are run by the tests of these."""
QUICK = {"01_singlepoint", "07_barrier", "10_uncertainty"}
"""The others take longer than a few seconds."""


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_short_and_says_how_to_run_it(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 60
    assert text.startswith('"""')
    assert f"python examples/{path.name}" in text


def test_numbers_of_examples_are_there_once_and_listed() -> None:
    numbers = [path.name[:2] for path in OURS]
    assert numbers == [f"{number:02d}" for number in range(1, len(OURS) + 1)]
    listed = (EXAMPLES[0].parent / "README.md").read_text(encoding="utf-8")
    assert [path.name for path in OURS if f"`{path.name}`" not in listed] == []


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=() if path.stem in QUICK else pytest.mark.slow) for path in OURS],
    ids=lambda path: path.stem,
)
def test_an_example_gives_what_it_says(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run_example(path.name, capsys)
