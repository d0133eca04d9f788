"""``jmp-calc ts`` from the command line: what it leaves, its exit codes, and what it needs."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import yaml

HAS_SELLA = importlib.util.find_spec("sella") is not None
needs_sella = pytest.mark.skipif(not HAS_SELLA, reason='needs Sella: pip install "jmp-calc[sella]"')


@needs_sella
def test_a_search_that_is_cut_off_leaves_its_steps(run, model: str, water: Path, tmp_path: Path) -> None:
    words = ["ts", water, "-m", model, "-o", tmp_path / "o", "--steps", 2, "--fmax", 1e-9]
    facts = json.loads(run(*words, "--dry-run", "--json").stdout)
    assert facts["hessian"] == "autograd" and facts["moving_atoms"] == 3
    assert not (tmp_path / "o").exists()
    done = run(*words)
    assert done.exit_code == 3 and "Not converged after 2 steps" in done.stderr
    found = yaml.safe_load((tmp_path / "o/summary.yaml").read_text())
    assert found["status"] == "not-converged" and found["results"]["converged"] is False
    assert (tmp_path / "o/path.extxyz").is_file() and (tmp_path / "o/ts.svg").is_file()
    assert run(*words, "--overwrite", "--allow-unconverged").exit_code == 0
    refused = run(*words)
    assert refused.exit_code == 2 and "--resume goes on" in refused.stderr
    more = run(*words, "--resume", "--steps", 3)
    assert more.exit_code == 3 and "Not converged after 3 steps" in more.stderr


@pytest.mark.skipif(HAS_SELLA, reason="Sella is installed")
def test_without_sella_the_line_that_installs_it_is_told(
    run, model: str, water: Path, tmp_path: Path
) -> None:
    for more in ((), ("--dry-run",)):
        refused = run("ts", water, "-m", model, "-o", tmp_path / "o", *more)
        assert refused.exit_code == 2 and 'pip install "jmp-calc[sella]"' in refused.stderr
