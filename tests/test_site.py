"""The documentation site: every page has its place, and what pages say exists in the code."""

from __future__ import annotations

import ast
import importlib.util
import re
from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from types import ModuleType

import click
import pytest

import jmp_calc
import jmp_calc.training
from jmp_calc.cli.main import COMMANDS, cli
from tests.pages import DOCS, PAGES, blocks, commands
from tests.test_messages import SOURCES, texts


def name_of(page: Path) -> str:
    return page.relative_to(DOCS).with_suffix("").as_posix()


def listed(page: Path) -> Iterator[str]:
    """Pages in the tables of contents of a page; patterns stand for what they match."""
    folder = name_of(page).rpartition("/")[0]
    names = [name_of(other) for other in PAGES]
    for block in blocks(page):
        if block.language == "{toctree}":
            for line in block.text.split():
                entry = f"{folder}/{line}" if folder else line
                yield from [name for name in names if fnmatchcase(name, entry)] if "*" in entry else [entry]


def test_every_page_is_in_one_table_of_contents() -> None:
    places = Counter(name for page in PAGES for name in listed(page))
    assert {name for name, times in places.items() if times > 1} == set()
    assert set(places) == {name_of(page) for page in PAGES} - {"index"}


def test_every_public_name_is_in_the_reference_of_python() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in (DOCS / "api").glob("*.md"))
    found = Counter(re.findall(r"^\.\. auto(?:function|class):: (?:\w+\.)*(\w+)$", text, re.M))
    public = {*jmp_calc.__all__, *jmp_calc.training.__all__} - {"__version__"}
    assert public <= set(found)
    assert set(found.values()) == {1}


def test_every_command_is_in_the_reference_of_the_command_line() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in (DOCS / "cli").glob("*.md"))
    assert Counter(re.findall(r"^   :prog: jmp-calc (\S+)$", text, re.M)) == Counter(list(COMMANDS))
    overview = (DOCS / "cli" / "index.md").read_text(encoding="utf-8")
    assert set(COMMANDS) <= set(re.findall(r"`([\w-]+)`", overview))


def faults(words: list[str]) -> list[str]:
    """Commands and options that there are not."""
    found: click.Command | None = cli
    while isinstance(found, click.Group) and words and not words[0].startswith("-"):
        word, *words = words
        found = found.get_command(click.Context(found), word)
        if found is None:
            return [f"no command {word}"]
    assert found is not None
    known = {text for option in found.params for text in (*option.opts, *option.secondary_opts)}
    given = {re.split("[=,]", word)[0] for word in words if re.match(r"--?[a-zA-Z]", word)}
    return [f"{found.name} has no {option}" for option in sorted(given - known - {"--help", "-h"})]


@pytest.mark.parametrize("page", [page for page in PAGES if any(commands(page))], ids=name_of)
def test_commands_in_pages_have_the_options_that_they_are_given(page: Path) -> None:
    assert {" ".join(words): faults(words) for words in commands(page) if faults(words)} == {}


def without_names(text: str) -> str:
    """A sentence with a star for every name and number in it, and without its end."""
    return re.sub(r"(\{\}|\.\.\.)+", "*", text).rstrip("*. ")


def test_sentences_of_the_troubleshooting_page_are_those_of_the_program() -> None:
    nodes = (node for path in SOURCES for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    literals = (node for node in nodes if isinstance(node, (ast.Constant, ast.JoinedStr)))
    said = {without_names(text) for node in literals for text in texts(node)}
    page = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    cells = [cell for row in re.findall(r"^\| (`.*?) \|", page, re.M) for cell in re.findall(r"`(.+?)`", row)]
    sentences = [cell for cell in cells if re.match(r"[A-Z.]", cell) and " " in cell]
    assert len(sentences) > 40
    wrong = [cell for cell in sentences if not any(text.startswith(without_names(cell)) for text in said)]
    assert wrong == []


# ---- what .ci/docs looks at in the site that was built ----


def site_check() -> ModuleType:
    spec = importlib.util.spec_from_file_location("site_check", DOCS / "site_check.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "text, fault",
    [
        ('<script src="https://cdn.example/a.js"></script>', "loads https://cdn.example/a.js"),
        ('<link rel="stylesheet" href="//cdn.example/a.css">', "loads //cdn.example/a.css"),
        ('<img src="missing.png">', "missing.png does not exist"),
        ('<a href="other.html#nowhere">x</a>', "other.html#nowhere has no such place"),
        ('<a href="other.html#there">x</a><a href="https://example.org">y</a>', ""),
        ('<div id="here"></div><a href="#here">x</a>', ""),
    ],
)
def test_the_built_site_is_looked_through(tmp_path: Path, text: str, fault: str) -> None:
    (tmp_path / "index.html").write_text(text)
    (tmp_path / "other.html").write_text('<h1 id="there">x</h1>')
    found = site_check().faults(tmp_path)
    assert found == ([f"index.html: {fault}"] if fault else [])


def test_style_sheets_load_nothing_either(tmp_path: Path) -> None:
    (tmp_path / "a.css").write_text("@import url(https://fonts.example/x.css); a { background: url(b.png) }")
    assert site_check().faults(tmp_path) == ["a.css: loads https://fonts.example/x.css"]
