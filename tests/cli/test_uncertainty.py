"""``--uncertainty`` of singlepoint and md, and ``select``: what they say and write."""

from __future__ import annotations

import csv
from pathlib import Path

import ase.io
import pytest
import yaml

from tests.inference.knowing import knowing_model, training_structures


@pytest.fixture(scope="module")
def known(model: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return knowing_model(Path(model), tmp_path_factory.mktemp("known") / "known.safetensors", "any")


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    path = tmp_path / "pool.extxyz"
    ase.io.write(path, training_structures()[:6])
    return path


def test_singlepoint_writes_the_deviations(run, known: Path, pool: Path, tmp_path: Path) -> None:
    words = ["singlepoint", pool, "-m", known, "--uncertainty", "last-layer"]
    first = run(*words, "-o", tmp_path / "o")
    assert first.exit_code == 0, first.output
    assert "std [eV]" in first.stdout
    frame = ase.io.read(tmp_path / "o/results.extxyz", index=1)
    assert frame.info["jmp_energy_std"] > 0 and "jmp_forces_std" not in frame.arrays
    rows = yaml.safe_load((tmp_path / "o/summary.yaml").read_text())["results"]["frames"]
    assert rows[1]["energy_std_ev"] == pytest.approx(frame.info["jmp_energy_std"])
    second = run(*words, "--properties", "energy,forces_std", "-o", tmp_path / "p")
    assert second.exit_code == 0, second.output
    assert ase.io.read(tmp_path / "p/results.extxyz", index=1).arrays["jmp_forces_std"].shape == (9, 3)


def test_a_deviation_without_a_source_is_refused(
    run, known: Path, model: str, pool: Path, tmp_path: Path
) -> None:
    words = ["singlepoint", pool, "-o", tmp_path / "o", "-m"]
    without = run(*words, known, "--properties", "energy_std")
    assert without.exit_code == 2 and "choose --uncertainty" in without.stderr
    no_statistics = run(*words, model, "--uncertainty", "last-layer")
    assert no_statistics.exit_code == 5 and "no statistics of the last layer" in no_statistics.stderr


def test_dynamics_end_where_the_model_is_lost(run, known: Path, tmp_path: Path) -> None:
    start = tmp_path / "start.xyz"
    ase.io.write(start, training_structures()[1])
    words = ["md", start, "-m", known, "--steps", 3, "--timestep", 0.1, "--stats-every", 1]
    words += ["--uncertainty", "last-layer"]
    calm = run(*words, "-o", tmp_path / "calm", "--max-uncertainty", 1e6)
    assert calm.exit_code == 0, calm.output
    assert "energy_std_eV" in (tmp_path / "calm/stats.dat").read_text()
    lost = run(*words, "-o", tmp_path / "lost", "--max-uncertainty", 1e-6)
    assert lost.exit_code == 7 and "may be off by" in lost.stderr
    assert (tmp_path / "lost/last-good.extxyz").exists()


def test_select_writes_frames_and_table(run, known: Path, pool: Path, tmp_path: Path) -> None:
    words = ["select", pool, "-m", known, "-n", 3, "-o", tmp_path / "o"]
    dry = run(*words, "--dry-run")
    assert dry.exit_code == 0 and "pool: 6" in dry.stdout and not (tmp_path / "o").exists()
    done = run(*words)
    assert done.exit_code == 0, done.output
    assert "3 of 6 structures" in done.stderr
    frames = ase.io.read(tmp_path / "o/selected.extxyz", index=":")
    assert [atoms.info["select_rank"] for atoms in frames] == [0, 1, 2]
    assert all("pool.extxyz, frame" in atoms.info["jmp_file"] for atoms in frames)
    rows = list(csv.DictReader((tmp_path / "o/pool.csv").open()))
    assert sorted(row["rank"] for row in rows) == ["", "", "", "0", "1", "2"]
    assert (tmp_path / "o/select.svg").exists()
