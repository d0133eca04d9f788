"""ASE's own tests through JMPCalculator, with a network that finetune has taught EMT.

    pytest -m slow tests/ase_suite          about five minutes of fitting, then ASE's tests

With JMP_CALC_SUITE_MODEL the file of an earlier fit is used.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ase_suite.cases import modules
from tests.ase_suite.fit import fitted
from tests.ase_suite.swap import MODEL, RECORD

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PASSED, EVALUATED = 250, 150
"""Tests that pass at least, and those among them that evaluate the network."""


def test_ase_holds_with_a_fitted_network_in_the_place_of_emt(tmp_path: Path) -> None:
    model = os.environ.get(MODEL) or str(fitted(tmp_path / "fit").best)
    outcomes = run_suite(Path(model), tmp_path)
    failed = [f"{one['id']}: {one['why']}" for one in outcomes if one["outcome"] == "failed"]
    passed = [one for one in outcomes if one["outcome"] == "passed"]
    assert not failed, "\n".join(failed)
    assert len(passed) >= PASSED and sum(one["evaluations"] > 0 for one in passed) >= EVALUATED


def test_every_exclusion_is_of_a_test_that_there_is(tmp_path: Path) -> None:
    collected = subprocess.run(
        pytest_command("--collect-only", "-q"), cwd=tmp_path, env=environment("none", tmp_path), text=True,
        capture_output=True, check=True,
    ).stdout  # fmt: skip
    assert "unused exclusions: none" in collected


def run_suite(model: Path, folder: Path) -> list[dict]:
    """Outcomes of ASE's tests with the fitted network, in ``folder``."""
    run = subprocess.run(
        pytest_command("-q"),
        cwd=folder,
        env=environment(str(model.absolute()), folder),
        text=True,
        capture_output=True,
    )
    (folder / "log").write_text(run.stdout + run.stderr)
    record = folder / "record.jsonl"
    assert record.exists(), run.stdout[-2000:] + run.stderr[-2000:]
    return [json.loads(line) for line in record.read_text().splitlines()]


def pytest_command(*options: str) -> list[str]:
    plugins = ["-p", "tests.ase_suite.swap", "-p", "no:cacheprovider"]
    return [sys.executable, "-m", "pytest", *plugins, *options, "--pyargs", *modules()]


def environment(model: str, folder: Path) -> dict[str, str]:
    """Of the process that runs ASE's tests; they need the folder of our tests on their path."""
    return {**os.environ, "PYTHONPATH": str(ROOT), MODEL: model, RECORD: str(folder / "record.jsonl")}
