"""docs/paper.md: the published numbers and our own where there are any."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def paper_tables(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """benchmarks/paper_tables.py, which is no part of the package."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    for name in ("rows", "paper_tables"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import paper_tables  # type: ignore[import-not-found]

    return paper_tables


def test_the_rounded_entries_give_the_averages_that_the_paper_quotes(paper_tables: ModuleType) -> None:
    """-8, 21 and 59 % over 40 tasks; Figure 2 by data set within its rounding, except QMOF with two
    digits."""
    _, *lines = paper_tables.averages()
    values = {name.split(" ")[0]: [float(x) for x in columns[:3]] for name, *columns in lines}
    assert [round(x) for x in values["all"]] == [-8, 21, 59] and lines[-1][0] == "all (40)"
    figure = {
        "qm9": (-10.7, 14.3, 49.5),
        "rmd17": (-5.4, 31.6, 77.9),
        "md22": (-15.4, 31.1, 61.0),
        "spice": (-25.6, 19.5, 74.6),
        "matbench": (0.4, 9.4, 45.0),
    }
    for name, expected in figure.items():
        assert values[name] == pytest.approx(expected, abs=0.5)


def test_every_task_of_the_paper_is_a_recipe(paper_tables: ModuleType) -> None:
    from jmp_calc.training.finetuning.recipes import recipe_names

    tasks = {
        row["task"].removesuffix("/fold0").removesuffix("/mean").replace("/", "-").lower()
        for row in paper_tables.published()
    }
    assert tasks == set(recipe_names()) - {"pdbbind-core"} and len(tasks) == 40


def test_what_was_not_run_says_so_and_what_was_is_filled_in(
    paper_tables: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paper_tables, "RESULTS", tmp_path)
    assert {line[-1] for name in paper_tables.ORDER[:6] for line in paper_tables.errors(name)[1:]} == {
        "not run"
    }
    assert all(
        paper_tables.PAPER_TABLES[name]() is None
        for name in ("rmd17", "scalars", "pretraining", "forgetting")
    )
    assert all(line[2].startswith("0 of ") for line in paper_tables.steps()[1:])
    error = {"forces_mae_mev_per_a": 41.26}
    run = {
        "recipe": "rmd17-aspirin",
        "split": "official-1",
        "steps": 3600,
        "epochs": 9,
        "valid": error,
        "test": error,
    }
    (tmp_path / "rmd17.yaml").write_text(yaml.safe_dump({"rows": {"jmp-xs": run}}))
    (tmp_path / "forgetting.yaml").write_text(
        yaml.safe_dump({"rows": {"a": {"x": 1, "curve": [1, 2]}, "b": {"y": 0.5}}})
    )
    aspirin, ethanol = (
        next(line for line in paper_tables.errors("rmd17") if line[0] == name)
        for name in ("aspirin", "ethanol")
    )
    assert aspirin[-1].startswith("41.3 (jmp-xs") and ethanol[-1] == "not run"
    assert paper_tables.rmd17()[1] == [
        "jmp-xs",
        "rmd17-aspirin",
        "official-1",
        "3600",
        "9",
        "41.3",
        "41.3",
    ]
    assert paper_tables.runs("forgetting") == [["run", "x", "y"], ["a", "1", "–"], ["b", "–", "0.5"]]
