"""jmp-calc descriptors: the files it writes hold what calc.descriptors gives, and faults name the frame."""

from __future__ import annotations

from pathlib import Path
from typing import IO

import ase.io
import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator

from jmp_calc import JMPCalculator


@pytest.fixture
def frames() -> list[Atoms]:
    found = [molecule("H2O"), bulk("NaCl", "rocksalt", a=5.6), molecule("CH3CH2OH")]
    for number, atoms in enumerate(found):
        atoms.calc = SinglePointCalculator(atoms, energy=-float(number))
    return found


@pytest.fixture
def data(tmp_path: Path, frames: list[Atoms]) -> Path:
    path = tmp_path / "data.extxyz"
    ase.io.write(path, frames)
    return path


@pytest.mark.capability("C21")
def test_files_hold_the_descriptors(
    run, model: str, data: Path, tmp_path: Path, frames: list[Atoms], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jmp_calc.io.structures.FRAMES_TOGETHER", 2)
    out = tmp_path / "out"
    result = run(
        "descriptors", data, "-m", model, "-o", out, "--per-element", "--extxyz", "--dtype", "float64"
    )
    assert result.exit_code == 0, result.output
    expected = JMPCalculator(model, dtype="float64").descriptors(frames)
    arrays = np.load(out / "descriptors.npz", allow_pickle=False)
    assert arrays["formulas"].tolist() == ["H2O", "ClNa", "C2H6O"] and arrays["n_atoms"].tolist() == [3, 2, 9]
    assert arrays["offsets"].tolist() == [0, 3, 5, 14]
    assert np.array_equal(arrays["numbers"], expected.numbers)
    assert arrays["per_atom"] == pytest.approx(expected.per_atom, abs=1e-9)
    assert arrays["mean"] == pytest.approx(expected.mean(), abs=1e-9)
    assert arrays["mean"] * arrays["n_atoms"][:, None] == pytest.approx(expected.sum(), abs=1e-8)
    means = expected.element_means()
    assert np.array_equal(arrays["element_structure"], means.structure)
    assert np.array_equal(arrays["element_number"], means.number)
    assert arrays["element_mean"] == pytest.approx(means.mean, abs=1e-9)

    written = ase.io.read(out / "descriptors.extxyz", ":")
    assert [atoms.get_potential_energy() for atoms in written] == [0.0, -1.0, -2.0]  # labels stay
    for number, atoms in enumerate(written):
        assert atoms.arrays["jmp_descriptors"] == pytest.approx(
            expected.of(number), abs=1e-6
        )  # digits of the format
        assert atoms.info["jmp_descriptors_mean"] == pytest.approx(expected.mean()[number], abs=1e-6)

    summary = yaml.safe_load((out / "summary.yaml").read_text())
    assert summary["status"] == "ok" and summary["inputs"][0]["n_frames"] == 3
    assert summary["results"]["n_atoms"] == 14 and summary["results"]["arrays"]["per_atom"] == [14, 16]
    assert {Path(entry["path"]).name for entry in summary["outputs"]} == {
        "descriptors.npz",
        "descriptors.extxyz",
    }


def test_structures_alone_and_another_layer(
    run, model: str, data: Path, tmp_path: Path, frames: list[Atoms]
) -> None:
    result = run(
        "descriptors",
        data,
        "-m",
        model,
        "-o",
        tmp_path / "out",
        "--no-per-atom",
        "--layer",
        1,
        "--index",
        "1:",
    )
    assert result.exit_code == 0, result.output
    arrays = np.load(tmp_path / "out" / "descriptors.npz")
    assert set(arrays) == {"mean", "n_atoms", "formulas"}
    assert arrays["mean"] == pytest.approx(
        JMPCalculator(model).descriptors(frames[1:], layer=1).mean(), abs=1e-4
    )
    assert not (tmp_path / "out" / "descriptors.extxyz").exists()


def test_features_of_an_earlier_run_do_not_stay(run, model: str, water: Path, tmp_path: Path) -> None:
    words = ("-m", model, "--extxyz", "-o")
    assert run("descriptors", water, *words, tmp_path / "a").exit_code == 0
    earlier = tmp_path / "a" / "descriptors.extxyz"
    done = run("descriptors", earlier, "--no-per-atom", "--layer", 1, *words, tmp_path / "b")
    assert done.exit_code == 0, done.output
    written = ase.io.read(tmp_path / "b" / "descriptors.extxyz")
    assert "jmp_descriptors" in ase.io.read(earlier).arrays and "jmp_descriptors" not in written.arrays


def test_features_appear_whole_or_not_at_all(
    run, model: str, water: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks_off(target: IO[bytes], **arrays: object) -> None:
        target.write(b"half")
        raise OSError("no space")

    monkeypatch.setattr("numpy.savez", breaks_off)
    assert run("descriptors", water, "-m", model, "-o", tmp_path / "out").exit_code != 0
    assert [path.name for path in (tmp_path / "out").glob("*descriptors*")] == []


def test_dry_run_checks_and_writes_nothing(run, model: str, data: Path, tmp_path: Path) -> None:
    result = run("descriptors", data, "-m", model, "-o", tmp_path / "out", "--dry-run")
    assert result.exit_code == 0 and "frames: 3" in result.stdout
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("layer", ["0", "2", "-1", "last"])
@pytest.mark.parametrize("words", [[], ["--dry-run"]])
def test_a_layer_that_is_not_there(
    run, model: str, data: Path, tmp_path: Path, layer: str, words: list[str]
) -> None:
    result = run("descriptors", data, "-m", model, "-o", tmp_path / "out", "--layer", layer, *words)
    assert result.exit_code == 2 and "interaction blocks, 1 to 1" in result.stderr


def test_a_fault_names_the_frame(run, model: str, data: Path, tmp_path: Path, frames: list[Atoms]) -> None:
    frames[2].positions[4] = frames[2].positions[3]
    ase.io.write(data, frames)
    result = run("descriptors", data, "-m", model, "-o", tmp_path / "out")
    assert result.exit_code == 4
    assert "selected frame 2" in result.stderr and "same place" in result.stderr
    assert not (tmp_path / "out" / "descriptors.npz").exists()
    assert yaml.safe_load((tmp_path / "out" / "summary.yaml").read_text())["status"] == "failed"


def test_earlier_features_are_not_overwritten(run, model: str, water: Path, tmp_path: Path) -> None:
    words = ("descriptors", water, "-m", model, "-o", tmp_path / "out")
    assert run(*words).exit_code == 0
    assert run(*words).exit_code == 2
    assert run(*words, "--overwrite").exit_code == 0
