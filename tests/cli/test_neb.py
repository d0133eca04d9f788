"""``jmp-calc neb`` from the command line: what it says and leaves, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import ase.io
import pytest
import yaml

from jmp_calc.workflows.paths.result import OUTPUTS


@pytest.fixture
def bent(water: Path, tmp_path: Path) -> Path:
    """The water molecule with another angle."""
    atoms = ase.io.read(water)
    atoms.positions[1, 1] += 0.4
    ase.io.write(tmp_path / "bent.xyz", atoms)
    return tmp_path / "bent.xyz"


def test_a_band_that_did_not_converge_goes_on(
    run, model: str, water: Path, bent: Path, tmp_path: Path
) -> None:
    words = ["neb", water, bent, "-m", model, "-o", tmp_path / "o", "--no-relax-ends", "--images", 2]
    words += ["--fmax", "1e-5", "--no-plot"]
    first = run(*words, "--steps", 1)
    assert first.exit_code == 3 and "error: Not converged after 1 steps" in first.stderr
    found = yaml.safe_load((tmp_path / "o/summary.yaml").read_text())
    assert found["status"] == "not-converged" and found["results"]["converged"] is False
    refused = run(*words, "--steps", 2)
    assert refused.exit_code == 2 and "--resume goes on" in refused.stderr
    second = run(*words, "--steps", 2, "--resume", "--allow-unconverged")
    assert second.exit_code == 0, second.output
    assert "barrier" in second.stderr and "not converged after 2 steps" in second.stderr
    written = {path.name for path in (tmp_path / "o").iterdir()}
    assert written >= {name for name in OUTPUTS if "barrier" not in name}


def test_a_dry_run_checks_both_ends(run, model: str, water: Path, bent: Path, tmp_path: Path) -> None:
    words = ["-m", model, "-o", tmp_path / "o", "--dry-run", "--json"]
    facts = json.loads(run("neb", water, bent, *words).stdout)
    assert facts["structures_per_step"] == 7 and 0 < facts["largest_move_a"] < 0.5
    assert not (tmp_path / "o").exists()
    same = run("neb", water, water, *words)
    assert same.exit_code == 2 and "Both ends are the same structure" in same.stderr
