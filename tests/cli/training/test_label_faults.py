"""Faults 45 to 50 as users meet them: ``finetune`` refuses labels that cannot be right before it trains."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from ase import Atoms
from ase.io import write
from click.testing import Result

from tests.training.helpers.md_frames import Frame, molecule_md, scaled, strained_copper

Run = Callable[..., Result]
MOLECULES = molecule_md(48)
CRYSTALS = strained_copper(30)
TOTALS = {1: -16.4, 6: -1036.5, 8: -2046.6}
"""EMT has no total energies; these make some, eV per atom."""


def written(path: Path, frames: Sequence[Frame]) -> Path:
    """The frames as extxyz with REF_ keys."""
    images = []
    for frame in frames:
        atoms = Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=frame.pbc)
        atoms.info["REF_energy"] = frame.energy
        atoms.arrays["REF_forces"] = frame.forces
        if frame.stress is not None:
            atoms.info["REF_stress"] = frame.stress
        images.append(atoms)
    write(path, images, format="extxyz")
    return path


def total(frame: Frame) -> float:
    """A total energy as an electronic-structure code would give, eV."""
    assert frame.energy is not None
    return frame.energy + sum(TOTALS[int(z)] for z in frame.numbers)


def refused(run: Run, data: Path, model: str, *words: str) -> str:
    """Exit code 4, three-part message, nothing trained."""
    out = data.parent / "run"
    done = run("finetune", data, "-m", model, "-o", out, "--epochs", 1, *words)
    assert done.exit_code == 4, done.output
    assert "error: " in done.stderr
    assert "Traceback" not in done.output
    assert not (out / "best.safetensors").exists()
    return str(done.stderr)


@pytest.mark.parametrize(
    ("comment", "rows", "fact"),
    [
        (
            "Properties=species:S:1:pos:R:3:REF_forces:R:2 REF_energy=-1.0",
            "0.1 0.2",
            "shape (2, 2), not (2, 3)",
        ),
        (
            'Properties=species:S:1:pos:R:3:REF_forces:R:3 REF_energy=-1.0 pbc="T T T" '
            'Lattice="4 0 0 0 4 0 0 0 4" REF_stress="1 2 3 4"',
            "0.1 0.2 0.3",
            "stress has shape (4,)",
        ),
    ],
)
def test_fault_45_misshapen_labels_name_frame_and_shape(
    run: Run, tmp_path: Path, model: str, comment: str, rows: str, fact: str
) -> None:
    path = tmp_path / "bad.extxyz"
    path.write_text(f"2\n{comment}\nH 0 0 0 {rows}\nH 0 0 0.8 {rows}\n" * 3)
    message = refused(run, path, model)
    assert fact in message
    assert "frame 0" in message


@pytest.mark.parametrize(("factor", "word"), [(-1.0, "sign"), (160.21766, "GPa"), (1602.1766, "kbar")])
def test_fault_46_stress_in_other_units_or_sign(
    run: Run, tmp_path: Path, model: str, factor: float, word: str
) -> None:
    assert word in refused(run, written(tmp_path / "a.extxyz", scaled(CRYSTALS, stress=factor)), model)


def test_fault_47_energies_per_atom(run: Run, tmp_path: Path, model: str) -> None:
    frames = [f for name in ("H2O", "CH4", "CH3CH2OH", "C6H6", "CH3OH") for f in molecule_md(6, name)]
    per_atom = [replace(f, energy=total(f) / f.n_atoms) for f in frames]
    message = refused(run, written(tmp_path / "a.extxyz", per_atom), model)
    assert "per atom" in message
    assert "--allow energy_per_atom" in message


@pytest.mark.parametrize(("unit", "factor"), [("hartree", 1 / 27.211386), ("kcal/mol", 23.0605)])
def test_fault_48_energies_in_other_units(
    run: Run, tmp_path: Path, model: str, unit: str, factor: float
) -> None:
    frames = [replace(f, energy=total(f)) for f in MOLECULES]
    data = written(tmp_path / "a.extxyz", scaled(tuple(frames), energy=factor, forces=factor))
    assert f"--energy-unit {unit}" in refused(run, data, model)


@pytest.mark.parametrize(("energy", "forces", "word"), [(1.0, -1.0, "sign"), (23.0605, 1.0, "kcal/mol")])
def test_fault_49_forces_that_are_not_the_slope_of_the_energies(
    run: Run, tmp_path: Path, model: str, energy: float, forces: float, word: str
) -> None:
    data = written(tmp_path / "a.extxyz", scaled(MOLECULES, energy=energy, forces=forces))
    message = refused(run, data, model)
    assert "disagree" in message
    assert word in message


def test_fault_50_two_energies_that_differ(run: Run, tmp_path: Path, model: str) -> None:
    path = tmp_path / "a.extxyz"
    rows = "H 0 0 0 0 0 0.1\nH 0 0 0.8 0 0 -0.1\n"
    path.write_text(f"2\nProperties=species:S:1:pos:R:3:forces:R:3 energy=-1.0 REF_energy=-1.5\n{rows}" * 8)
    message = refused(run, path, model)
    assert "REF_energy" in message
    assert "--energy-key" in message


def test_fault_42_training_files_that_cannot_be_read(run: Run, tmp_path: Path, model: str) -> None:
    assert "No such file" in refused(run, tmp_path / "train.extxyz", model)
    folder = tmp_path / "set"
    folder.mkdir()
    assert "has no file" in refused(run, folder, model)
    for name, content in {
        "empty.extxyz": b"",
        "noise.extxyz": bytes(range(256)) * 9,
        "noise.extxyz.gz": b"\x1f\x8bxx",
        "noise.traj": bytes(range(256)),
        "noise.db": b"no database",
    }.items():
        (tmp_path / name).write_bytes(content)
        assert name in refused(run, tmp_path / name, model)


def test_fault_43_truncated_training_file(run: Run, tmp_path: Path, model: str) -> None:
    path = written(tmp_path / "a.extxyz", MOLECULES[:4])
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-2]))
    message = refused(run, path, model)
    assert "frame 3" in message
    assert "--allow-truncated" in message
    planned = run("finetune", path, "-m", model, "-o", tmp_path / "run", "--allow-truncated", "--dry-run")
    assert planned.exit_code == 0, planned.output
