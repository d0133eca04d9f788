"""--dispersion: what is refused before anything is computed, and what it adds."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from jmp_calc.dispersion import INSTALL

needs_dftd3 = pytest.mark.skipif(find_spec("dftd3") is None, reason=f"run: {INSTALL}")


@pytest.mark.parametrize("command", ["singlepoint", "relax", "md", "vib"])
def test_a_head_that_does_not_say_its_functional_needs_a_name(
    run, command: str, model: str, water: Path, tmp_path: Path
) -> None:
    refused = run(command, water, "-m", model, "--dispersion", "d3bj", "-o", tmp_path / "o", "--dry-run")
    assert refused.exit_code == 2, refused.output
    assert "does not say with which functional" in refused.stderr
    assert "--dispersion-functional" in refused.stderr


@needs_dftd3
def test_dispersion_is_added_and_recorded(run, model: str, water: Path, tmp_path: Path) -> None:
    energies = {}
    for name, words in {
        "without": (),
        "with": ("--dispersion", "d3bj", "--dispersion-functional", "PBE"),
    }.items():
        folder = tmp_path / name
        done = run("singlepoint", water, "-m", model, "--dtype", "float64", *words, "-o", folder)
        assert done.exit_code == 0, done.output
        summary = yaml.safe_load((folder / "summary.yaml").read_text(encoding="utf-8"))
        assert summary["model"].get("dispersion") == ("D3(BJ), pbe" if words else None)
        energies[name] = summary["results"]
    assert energies["with"] != energies["without"]
    words = ("--dispersion", "d3bj", "--dispersion-functional", "lda", "-o", tmp_path / "unknown")
    unknown = run("singlepoint", water, "-m", model, *words)
    assert unknown.exit_code == 2 and "no parameters for the functional" in unknown.stderr
