"""docs/upstream.md: lines for other projects do what the page says, where it can be tried without them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from ase.build import molecule
from ase.calculators import calculator as ase_calculators

from jmp_calc import JMPCalculator

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "upstream.md").read_text(encoding="utf-8")


def block(title: str, language: str) -> str:
    """The last block of a section in a language."""
    section = re.search(rf"^## {title}.*?(?=^## |\Z)", PAGE, re.M | re.S)
    assert section is not None
    found: list[str] = re.findall(rf"^```{language}\n(.*?)^```", section[0], re.M | re.S)
    return found[-1]


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """ASE's list of names stays as it was."""
    monkeypatch.setattr(ase_calculators, "external_calculators", dict(ase_calculators.external_calculators))
    monkeypatch.setattr(ase_calculators, "names", list(ase_calculators.names))


@pytest.mark.usefixtures("registered")
def test_ase_finds_the_calculator_by_a_name_that_is_registered() -> None:
    names: dict[str, Any] = {}
    exec(compile(block("ASE", "python"), "docs/upstream.md", "exec"), names)
    assert isinstance(names["calculator"], JMPCalculator)


def test_entries_of_ml_peg_name_heads_that_there_are() -> None:
    for entry in yaml.safe_load(block("ml-peg", "yaml")).values():
        assert (entry["module"], entry["class_name"]) == ("jmp_calc", "JMPCalculator")
        assert JMPCalculator(**entry["kwargs"], device=entry["device"]).info.head == entry["kwargs"]["head"]


def test_the_environment_of_rootstock_gives_a_calculator() -> None:
    text = block("rootstock", "python")
    header = re.search(r"^# /// script\n(.*?)^# ///$", text, re.M | re.S)
    assert header is not None
    stated = tomllib.loads(re.sub(r"^# ?", "", header[1], flags=re.M))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert stated["requires-python"] == project["requires-python"]
    assert {text for text in project["dependencies"] if text.startswith("torch")} <= set(
        stated["dependencies"]
    )
    names: dict[str, Any] = {}
    exec(compile(text, "docs/upstream.md", "exec"), names)
    atoms = molecule("H2O")
    atoms.calc = names["setup"]("", device="cpu")
    assert atoms.get_potential_energy() < 0


@pytest.mark.parametrize(
    ("title", "given"),
    [("matcalc", {"kwargs": {}}), ("janus-core", {"model": None, "device": "cpu", "kwargs": {}})],
)
def test_branches_of_other_programs_make_a_calculator(title: str, given: dict[str, Any]) -> None:
    """The lines below the ``elif`` or ``case``, with the variables that stand there."""
    names = dict(given)
    lines = block(title, "python").splitlines()[1:]
    body = "\n".join(line.removeprefix(" " * 12) for line in lines)
    exec(compile(body, "docs/upstream.md", "exec"), names)
    assert isinstance(names.get("result", names.get("calculator")), JMPCalculator)


def test_the_callable_of_atomate2_is_there() -> None:
    import jmp_calc

    where = re.search(r'"@module": "(\w+)", "@callable": "(\w+)"', PAGE)
    assert where is not None and where[1] == "jmp_calc" and hasattr(jmp_calc, where[2])
