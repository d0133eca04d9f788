"""Every extra of pyproject.toml says what it gives and has a test that needs it."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from tests.extras import EXTRAS, needs, reason

ROOT = Path(__file__).parents[1]
STATED = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
NOT_FOR_USERS = {"dev", "docs"}


def test_extras_are_those_of_the_table() -> None:
    assert set(EXTRAS) == set(STATED) - NOT_FOR_USERS, "add the extra to tests/extras.py"


@pytest.mark.parametrize("extra", EXTRAS)
def test_the_installation_page_says_what_an_extra_gives(extra: str) -> None:
    page = (ROOT / "docs" / "installation.md").read_text(encoding="utf-8")
    row = re.search(rf"^\| `{extra}` \|(.+)\|(.+)\|$", page, re.M)
    assert row and row[1].strip() and row[2].strip(), f"add a row for {extra} to docs/installation.md"


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_is_tested_and_its_absence_is_told_with_the_line_to_install_it(extra: str) -> None:
    """By ``tests.extras`` or by the constant of the program that its users read too."""
    place = ROOT / EXTRAS[extra].tests
    files = [place] if place.is_file() else sorted(place.rglob("*.py"))
    texts = "".join(path.read_text(encoding="utf-8") for path in files)
    told = [
        f'"{extra}"',
        f"jmp-calc[{extra}]",
        "import FILE, INSTALL",
        "import INSTALL",
        "NAMED[name].install",
    ]
    assert any(text in texts for text in told)
    assert f"jmp-calc[{extra}]" in reason(extra)


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_has_an_environment_in_which_its_tests_run(extra: str) -> None:
    engine = EXTRAS[extra].engine
    if engine is None:
        assert extra in re.findall(r"[\w-]+", STATED["dev"][0])
        return
    script = (ROOT / ".ci" / "engines").read_text(encoding="utf-8")
    cases = {name for line in re.findall(r"^    ([\w| ]+)\)$", script, re.M) for name in line.split(" | ")}
    assert engine in cases
    every = re.search(r'^ALL="(.+)"$', script, re.M)
    assert every is not None and engine in every[1].split()


@needs("embeddings")
def test_points_of_two_groups_stay_apart_in_the_map(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    for name in ("rows", "folders"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    from embeddings import layouts  # type: ignore[import-not-found]

    rng = np.random.default_rng(0)
    points = np.vstack([rng.normal(size=(30, 8)), rng.normal(size=(30, 8)) + 20.0])
    (name,) = [title for title in layouts(points) if "UMAP" in title]
    layout = layouts(points)[name]
    within = np.linalg.norm(layout[:30] - layout[:30].mean(axis=0), axis=1).max()
    assert np.linalg.norm(layout[:30].mean(axis=0) - layout[30:].mean(axis=0)) > within
