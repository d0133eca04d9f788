"""``jmp-calc sample`` as its user sees it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from ase.build import bulk
from ase.io import write

from jmp_calc.io.structures import read_frames
from tests.cli.conftest import Run
from tests.sampling.conftest import NEEDS_RDKIT


def test_crystals_and_what_was_left_out(run: Run, tmp_path: Path) -> None:
    result = run(
        "sample", "crystals", "-n", 30, "--atoms", "2-12", "--elements", "Na,Mg,O,Cl", "-o", tmp_path
    )
    assert result.exit_code == 0, result.stderr
    assert "distinct compositions and prototypes" in result.stderr and "left out" in result.stderr
    frames = read_frames(tmp_path / "samples.extxyz")
    summary = yaml.safe_load((tmp_path / "summary.yaml").read_text())
    assert summary["results"]["n_frames"] == len(frames) and summary["settings"]["seed"] == 0
    assert sum(kind["frames"] for kind in summary["results"]["kinds"].values()) == len(frames)
    again = run("sample", "crystals", "-n", 30, "-o", tmp_path)
    assert again.exit_code == 2 and "exists already" in again.stderr


def test_own_structures(run: Run, salt: Path, model: str, tmp_path: Path) -> None:
    words = ("--md", model, "--temperature", "300", "--share", "thermal=99", "-o", tmp_path / "out")
    result = run("sample", salt, "-n", 1, *words)
    assert result.exit_code == 0, result.stderr
    frames = read_frames(tmp_path / "out" / "samples.extxyz")
    assert [a.info["sample_kind"] for a in frames] == ["isolated", "isolated", "thermal"]
    assert frames[2].info["origin"] == "salt.extxyz@0"
    summary = yaml.safe_load((tmp_path / "out" / "summary.yaml").read_text())
    assert summary["model"]["sha256"] and len(summary["inputs"]) == 1


@NEEDS_RDKIT
def test_molecules(run: Run, tmp_path: Path) -> None:
    listed = tmp_path / "out.smi"
    listed.write_text("O water\n")
    result = run(
        "sample", "molecules", "-n", 20, "--atoms", "3-9", "--exclude", listed, "-o", tmp_path / "out"
    )
    assert result.exit_code == 0, result.stderr
    assert "distinct molecular graphs" in result.stderr
    assert all(
        "O" not in a.info["graph"].split(".") for a in read_frames(tmp_path / "out" / "samples.extxyz")
    )


def test_crystals_are_like_those_of_a_file(run: Run, tmp_path: Path) -> None:
    mine = tmp_path / "mine.cif"
    write(mine, bulk("NaCl", "rocksalt", a=5.6, cubic=True))
    words = "sample", "crystals", "-n", 20, "--share", "mixture=0", "--like", mine, "-o", tmp_path / "out"
    result = run(*words)
    assert result.exit_code == 0, result.stderr
    types = [a.info.get("prototype") for a in read_frames(tmp_path / "out" / "samples.extxyz")]
    assert types.count("mine.cif@0") >= 4
    summary = yaml.safe_load((tmp_path / "out" / "summary.yaml").read_text())
    assert summary["settings"]["n_like"] == 1 and "mine.cif" in str(summary["inputs"])
    result = run("sample", "molecules", "-n", 3, "--like", mine, "-o", tmp_path / "none")
    assert result.exit_code == 2 and "those of crystals" in result.stderr


def test_a_model_relaxes_half_of_the_crystals_and_what_it_does_not_know_is_counted(
    run: Run, tmp_path: Path
) -> None:
    words = (
        "sample",
        "crystals",
        "-n",
        10,
        "--elements",
        "Cu,Ni,La",
        "--relax",
        "jmp-xs-v4",
        "--head",
        "pbe",
    )
    result = run(*words, "-o", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    assert "relaxation: Head 'pbe' was not trained on La" in result.stderr
    kinds = [a.info["sample_kind"] for a in read_frames(tmp_path / "out" / "samples.extxyz")]
    assert 2 <= kinds.count("relaxed") <= 7
    summary = yaml.safe_load((tmp_path / "out" / "summary.yaml").read_text())
    assert summary["settings"]["shares"]["relaxed"] == 0.5 and summary["model"]["name"] == "jmp-xs-v4"


@pytest.mark.parametrize(
    "words, said",
    [
        (("crystals", "--share", "rattled"), "is no share"),
        (("crystals", "--share", "molten=1"), "Unknown kind of crystals"),
        (("crystals", "--atoms", "few"), "no range of numbers"),
        (("crystals", "--elements", "Na,Po"), "drawn with Po"),
        (("molecules", "--relax", "jmp-xs"), "relaxes crystals and heats one's own"),
        (("nothing.cif",), "No such file"),
        (("crystals", "--like", "nothing.cif"), "No such file"),
    ],
)
def test_mistakes_are_explained(run: Run, words: tuple[str, ...], said: str, tmp_path: Path) -> None:
    result = run("sample", *words, "-n", 3, "-o", tmp_path)
    assert result.exit_code in (2, 4) and said in result.stderr and "hint" in result.stderr
    assert not (tmp_path / "samples.extxyz").exists()


def test_a_list_of_exclusions_that_is_none(run: Run, tmp_path: Path) -> None:
    listed = tmp_path / "listed.txt"
    listed.write_text("NaCl rocksalt\nsalt?\n")
    result = run("sample", "crystals", "-n", 3, "--exclude", listed, "-o", tmp_path / "out")
    assert result.exit_code == 4 and "Line 2 is no composition: salt?." in result.stderr


def test_a_dry_run_draws_nothing(run: Run, tmp_path: Path) -> None:
    result = run("sample", "crystals", "-n", 3, "--dry-run", "-o", tmp_path / "out")
    assert result.exit_code == 0 and "perfect" in result.stdout and not (tmp_path / "out").exists()
