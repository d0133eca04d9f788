"""qha, sscha and the options of phonons from the command line: files, summary, exit codes."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from jmp_calc.io.outdir import LOCK_NAME
from jmp_calc.workflows.phonon.qha_result import OUTPUTS

WORDS = ("--supercell", "1 1 1", "--mesh", "3 3 3", "--tmax", 200, "--tstep", 50, "--n-volumes", 5)


def test_qha_writes_phonopys_files_and_ends_with_3_without_a_minimum(
    run, model: str, salt: Path, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    tolerant = ("--imaginary-tolerance", 100, "--fmax", 1)
    done = run("qha", salt, "-m", model, *WORDS, *tolerant, "-o", tmp_path / "o", "--json")
    found = yaml.safe_load((tmp_path / "o/summary.yaml").read_text(encoding="utf-8"))
    assert done.exit_code == (3 if found["results"]["trusted_to_k"] is None else 0), done.output
    assert found == json.loads(done.stdout)
    assert found["status"] == ("not-converged" if done.exit_code else "ok")
    assert {path.name for path in (tmp_path / "o").iterdir()} - {LOCK_NAME} == {*OUTPUTS, "summary.yaml"}
    assert len(found["results"]["volumes_a3"]) == 5
    assert all(len(entry["sha256"]) == 64 for entry in found["outputs"])


def test_qha_with_imaginary_modes_everywhere_ends_with_3(run, model: str, salt: Path, tmp_path: Path) -> None:
    """A random network has no crystal: its volumes have imaginary modes, which are named."""
    strict = ("--imaginary-tolerance", 1e-12, "--fmax", 1)
    done = run("qha", salt, "-m", model, *WORDS, *strict, "-o", tmp_path / "o")
    assert done.exit_code == 3, done.output
    assert "have no imaginary modes, five are needed" in done.stderr
    assert "Å³ (-" in done.stderr


def test_qha_says_what_it_would_do(run, model: str, salt: Path, water: Path, tmp_path: Path) -> None:
    done = run("qha", salt, "-m", model, *WORDS, "--dry-run", "-o", tmp_path / "none")
    assert done.exit_code == 0, done.output
    assert "force_calculations: 10" in done.stdout  # two at each of five volumes
    assert not (tmp_path / "none").exists()
    refused = run("qha", water, "-m", model, "--dry-run")
    assert refused.exit_code == 4
    assert "periodic in no direction" in refused.stderr
    assert run("qha", salt, "-m", model, "--n-volumes", 3).exit_code == 2


PHONONS = ("--supercell", "2 2 2", "--mesh", "3 3 3", "--bands", "G X", "--band-points", 3, "--fmax", 1)


@pytest.mark.capability("D19")
def test_phonons_go_on_where_resume_is_asked_for(run, model: str, salt: Path, tmp_path: Path) -> None:
    out = tmp_path / "o"
    words = ("phonons", salt, "-m", model, *PHONONS, "--no-plot", "-o", out)
    assert run(*words).exit_code == 0
    first = yaml.safe_load((out / "summary.yaml").read_text(encoding="utf-8"))["results"]
    refused = run(*words)
    assert refused.exit_code == 2
    assert "--resume goes on" in refused.stderr
    again = run(*words, "--resume", "--check-hessian")
    assert again.exit_code == 0, again.output
    second = yaml.safe_load((out / "summary.yaml").read_text(encoding="utf-8"))["results"]
    assert second["lowest_frequency_thz"] == first["lowest_frequency_thz"]
    apart = second["hessian_check"]["largest_thz"]
    assert 0 < apart < 0.02 * second["highest_frequency_thz"]
    assert "automatic differentiation differ by up to" in again.stderr
    new = run(*words[:-1], tmp_path / "p", "--resume", "--dry-run")
    assert new.exit_code == 0, new.output


def test_sscha_says_what_it_would_do(run, model: str, salt: Path, tmp_path: Path) -> None:
    words = ("sscha", salt, "-m", model, "--supercell", "2 2 2", "--dry-run", "-o", tmp_path / "none")
    done = run(*words, "--snapshots", 20, "--iterations", 6)
    assert done.exit_code == 0, done.output
    assert "force_calculations: 123" in done.stdout  # 2 at rest, the perfect one, 6 times 20
    assert not (tmp_path / "none").exists()
    assert run(*words, "--iterations", 3).exit_code == 2


def test_conductivity_says_what_it_would_do_or_what_to_install(
    run, model: str, salt: Path, tmp_path: Path
) -> None:
    cells = ("--supercell", "2 2 2", "--fc2-supercell", "2 2 2")
    done = run("conductivity", salt, "-m", model, *cells, "--dry-run", "-o", tmp_path / "none")
    if find_spec("phono3py") is None:
        assert done.exit_code != 0
        assert "pip install 'jmp-calc[conductivity]'" in done.stderr
    else:
        assert done.exit_code == 0, done.output
        assert "fc2_supercell_atoms: 16" in done.stdout
    assert not (tmp_path / "none").exists()
