"""analyse from the command line: what md wrote goes in, tables, figure and summary come out."""

from __future__ import annotations

import json
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from jmp_calc import md


@pytest.fixture(scope="module")
def copper_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    atoms = bulk("Cu", "fcc", a=3.62, cubic=True)
    md(atoms, calc=EMT(), thermostat="bussi", timestep_fs=4.0, steps=200, traj_every=2, out=folder)
    return folder


def test_analyse_reads_what_md_wrote(run, copper_run: Path, tmp_path: Path) -> None:
    done = run("analyse", copper_run / "traj.extxyz", "-o", tmp_path / "o", "--json", "--r-max", 3)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)["results"]
    assert (found["n_frames"], found["frame_fs"]) == (91, 8.0)
    assert found["rdf_highest_at_a"]["Cu-Cu"] == pytest.approx(2.5, abs=0.4)
    assert not found["diffusion"]["Cu"]["diffusive"]
    assert {"temperature_K", "epot_eV", "pressure_GPa"} <= set(found["averages"])
    names = {path.name for path in (tmp_path / "o").glob("[!.]*")}
    tables = {"rdf.dat", "msd.dat", "vacf.dat", "spectrum.dat"}
    assert names == tables | {"analysis.svg", "analysis.png", "summary.yaml"}
    for name in tables:
        assert np.isfinite(np.loadtxt(tmp_path / "o" / name)).all()
    assert "no diffusion that can be told" in done.stderr


def test_a_part_of_frames_of_another_program(run, copper_run: Path, tmp_path: Path) -> None:
    frames = ase.io.read(copper_run / "traj.extxyz", ":")
    bare = tmp_path / "XDATCAR"
    ase.io.write(bare, frames, format="vasp-xdatcar")
    words = ["analyse", f"{bare}@40:", "-o", tmp_path / "o", "--no-plot"]
    missing = run(*words)
    assert missing.exit_code == 2
    assert "--frame-fs" in missing.stderr
    done = run(*words, "--frame-fs", 8, "--discard", 0, "--overwrite")
    assert done.exit_code == 0, done.output
    assert {path.name for path in (tmp_path / "o").glob("[!.]*")} == {"rdf.dat", "msd.dat", "summary.yaml"}
    assert "61 frames" in done.stderr


def test_what_is_not_finite_is_null_in_the_summary(run, copper_run: Path, tmp_path: Path) -> None:
    """Few frames: diffusion has no error. JSON has no word for infinity."""
    done = run("analyse", f"{copper_run / 'traj.extxyz'}@:20", "-o", tmp_path / "o", "--json", "--no-plot")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout, parse_constant=pytest.fail)["results"]
    assert found["diffusion"]["Cu"]["standard_error_cm2_per_s"] is None


def test_a_dry_run_says_what_is_read(run, copper_run: Path, tmp_path: Path) -> None:
    done = run("analyse", copper_run / "traj.extxyz", "--dry-run", "-o", tmp_path / "none")
    assert done.exit_code == 0
    assert "stats.dat" in done.stdout
    assert not (tmp_path / "none").exists()
    assert run("analyse", tmp_path / "nowhere.extxyz").exit_code == 4
