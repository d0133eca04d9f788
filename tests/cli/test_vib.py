"""``jmp-calc vib`` from the command line: what it says and leaves, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from jmp_calc.workflows.vibrations.result import INFRARED_PLOTS, OUTPUTS

QUICK = ("--no-relax", "--allow-unconverged")


def test_vibrations_of_a_molecule(run, model: str, water: Path, tmp_path: Path) -> None:
    words = ["vib", water, "-m", model, "-o", tmp_path / "o", "--temperatures", "298.15 500"]
    done = run(*words, *QUICK)
    assert done.exit_code == 0, done.output
    assert "3 modes from" in done.stderr and "3 translations, 3 rotations" in done.stderr
    assert "symmetry number 2" in done.stderr and "500 K: ideal gas" in done.stderr
    assert "by automatic differentiation" in done.stderr
    assert {path.name for path in (tmp_path / "o").iterdir()} >= {*OUTPUTS, "summary.yaml"} - {
        *INFRARED_PLOTS
    }
    found = yaml.safe_load((tmp_path / "o/summary.yaml").read_text())
    assert found["results"]["hessian"]["method"] == "autograd" and len(found["results"]["thermo"]) == 2
    assert found["results"]["hessian"]["asymmetry_ev_per_a2"] < 1e-8
    assert run(*words, *QUICK).exit_code == 2  # results are not replaced
    assert run(*words, *QUICK, "--overwrite").exit_code == 0


def test_exit_codes(run, model: str, water: Path, tmp_path: Path) -> None:
    words = ["vib", water, "-m", model, "-o", tmp_path / "o"]
    refused = run(*words, "--no-relax")
    assert refused.exit_code == 3 and "error: The structure is not relaxed" in refused.stderr
    assert run(*words, "--indices", "7").exit_code == 2
    bent = run(*words, *QUICK, "--strict", "--tolerance", "1e-3", "--prefix", "b")
    assert bent.exit_code in (0, 3) and (bent.exit_code == 3) == ("Imaginary modes" in bent.stderr)


def test_a_dry_run_says_what_it_takes(run, model: str, water: Path, tmp_path: Path) -> None:
    words = ["vib", water, "-m", model, "-o", tmp_path / "o", "--indices", "0:2", "--dry-run", "--json"]
    for method, count in (("auto", 0), ("finite", 12)):
        facts = json.loads(run(*words, "--method", method).stdout)
        assert facts["vibrating_atoms"] == 2 and facts["force_calculations"] == count
    assert not (tmp_path / "o").exists()
