"""eos, elastic and energies from the command line: files, summaries, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import ase.io
import pytest
import torch
from ase.build import molecule

from jmp_calc.graph.policy import GraphPolicy
from jmp_calc.io.outdir import LOCK_NAME
from jmp_calc.model.config import HeadConfig, ModelConfig
from jmp_calc.model.potential import Potential
from jmp_calc.zoo.container import ModelCard, save_model
from tests.cli.summaries import summary
from tests.small_network import BACKBONE

SETTINGS = ("--min-volume", 0.8, "--max-volume", 1.2, "--n-volumes", 5, "--relax", "none")


def test_eos_writes_its_files_and_summary(run, model: str, salt: Path, tmp_path: Path) -> None:
    done = run("eos", salt, "-m", model, *SETTINGS, "-o", tmp_path / "o", "--json")
    found = summary(tmp_path / "o")
    assert done.exit_code == (0 if found["results"]["minimum_inside"] else 3), done.output
    assert found == json.loads(done.stdout)
    names = {path.name for path in (tmp_path / "o").iterdir()} - {LOCK_NAME}
    assert names == {"e-v.dat", "volumes.extxyz", "eos.svg", "eos.png", "computed.state", "summary.yaml"}
    assert len(found["results"]["volumes_a3"]) == 5 and found["settings"]["form"] == "birchmurnaghan"
    assert found["model"]["dtype"] == "float64"
    assert all(len(entry["sha256"]) == 64 for entry in found["outputs"])


def test_eos_without_a_minimum_ends_with_3_after_writing(run, model: str, salt: Path, tmp_path: Path) -> None:
    words = ["eos", salt, "-m", model, "--relax", "none", "--min-volume", 0.4, "--max-volume", 0.42]
    done = run(*words, "-o", tmp_path / "o", "--no-plot")
    assert done.exit_code == 3, done.output
    assert "minimum" in done.stderr and "--opt-cell full" in done.stderr
    assert summary(tmp_path / "o")["status"] == "not-converged"
    assert (tmp_path / "o/volumes.extxyz").is_file()


def test_eos_says_what_it_would_do(run, model: str, salt: Path, water: Path, tmp_path: Path) -> None:
    done = run("eos", salt, "-m", model, *SETTINGS, "--dry-run", "-o", tmp_path / "none")
    assert done.exit_code == 0 and "volumes_a3: [35.1232, 39.5136, 43.904, 48.2944, 52.6848]" in done.stdout
    assert not (tmp_path / "none").exists()
    refused = run("eos", water, "-m", model, "--dry-run")
    assert refused.exit_code == 4 and "periodic in no direction" in refused.stderr
    assert run("eos", salt, "-m", model, "--n-volumes", 3).exit_code == 2


def test_elastic_writes_its_files_and_summary(run, model: str, salt: Path, tmp_path: Path) -> None:
    words = ["elastic", salt, "-m", model, "--n-strains", 2, "--fmax", 100]
    done = run(*words, "-o", tmp_path / "o", "--no-plot", "--json")
    assert done.exit_code == 0, done.output
    found = summary(tmp_path / "o")
    assert found == json.loads(done.stdout)
    names = {path.name for path in (tmp_path / "o").iterdir()} - {LOCK_NAME}
    tensors = {"elastic_tensor.dat", "elastic_tensor_clamped.dat"}
    assert names == tensors | {"strained.extxyz", "computed.state", "summary.yaml"}
    results = found["results"]
    assert results["space_group"] == "Fm-3m (225)" and results["n_strained"] == 12
    assert len(results["relaxed_ions"]["constants_gpa"]) == 6
    assert results["clamped_ions"]["voigt"]["bulk_gpa"]
    stable = results["relaxed_ions"]["stable"]
    assert ("not stable" in done.stderr) is not stable
    strict = run(*words, "-o", tmp_path / "strict", "--no-plot", "--strict")
    assert strict.exit_code == (0 if stable else 3)


def test_elastic_says_what_it_would_do(run, model: str, salt: Path, water: Path, tmp_path: Path) -> None:
    done = run("elastic", salt, "-m", model, "--dry-run", "-o", tmp_path / "none")
    assert done.exit_code == 0 and "strained_cells: 24" in done.stdout
    assert not (tmp_path / "none").exists()
    assert run("elastic", water, "-m", model, "--dry-run").exit_code == 4
    assert run("elastic", salt, "-m", model, "--max-strain", 1).exit_code == 2


@pytest.fixture
def absolute(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Path of a random model whose head has atomic references."""
    policy = GraphPolicy("smooth", cutoff=4.0, a2a_cutoff=4.0, a2ee2a_cutoff=3.5, qint_cutoff=3.0)
    head = HeadConfig(
        "any",
        hidden=16,
        num_layers=2,
        level_of_theory="none",
        references={1: -13.6, 8: -2038.0},
        reference_kind="isolated_atoms",
    )
    config = ModelConfig(BACKBONE, policy, (head,), default_head="any", subtract_lone_atom=True)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        potential = Potential(config)
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_model(path, potential, ModelCard(name="tiny"))
    return str(path)


def test_energies_write_their_parts_and_say_their_terms(
    run, absolute: str, water: Path, tmp_path: Path
) -> None:
    for name in ("H2", "O2"):
        ase.io.write(tmp_path / f"{name}.xyz", molecule(name))
    references = ["--reference", tmp_path / "H2.xyz", "--reference", tmp_path / "O2.xyz"]
    words = ["energies", "formation", water, *references, "-m", absolute, "-o", tmp_path / "o"]
    plan = run(*words, "--dry-run")
    assert plan.exit_code == 0, plan.output
    assert "-1 H2 (reference 0 (H2))" in plan.stdout and not (tmp_path / "o").exists()
    done = run(*words, "--json")
    assert done.exit_code == 0, done.output
    found = summary(tmp_path / "o")
    assert found == json.loads(done.stdout)
    results = found["results"]
    assert results["energy_ev"] == sum(t["coefficient"] * t["energy_ev"] for t in results["terms"])
    assert "formation energy" in done.stderr and "-0.5 x" in done.stderr
    assert len(ase.io.read(tmp_path / "o/parts.extxyz", ":")) == 3
    assert run(*words).exit_code == 2  # results are not replaced
    taken = run("energies", "atomisation", water, "-m", absolute, "-o", tmp_path / "a", "--fmax", 1e3)
    assert taken.exit_code == 0 and "energy_ev_per_atom" in taken.stderr


def test_energies_refuse_what_does_not_fit_also_in_a_dry_run(
    run, absolute: str, model: str, water: Path, salt: Path, tmp_path: Path
) -> None:
    for words, code in (
        (["formation", water, "--reference", salt, "-m", absolute], 2),
        (["adsorption", water, "--slab", water, "--adsorbate", water, "-m", absolute], 2),
        (["surface", water, "--bulk", salt, "-m", absolute], 4),
    ):
        for more in ([], ["--dry-run"]):
            refused = run("energies", *words, "-o", tmp_path / "o", *more)
            assert refused.exit_code == code, refused.output
            assert "error:" in refused.stderr
    arbitrary = run("energies", "atomisation", water, "-m", model, "-o", tmp_path / "m")
    assert arbitrary.exit_code == 5 and "Lone atoms of head any" in arbitrary.stderr
    for kind in ("formation", "atomisation", "adsorption", "surface"):
        assert "--relax" in run("energies", kind, "--help").stdout
