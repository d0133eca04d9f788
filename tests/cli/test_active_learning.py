"""The loop of docs/active_learning.md, once: fine-tune, select, label with EMT, fine-tune again."""

from __future__ import annotations

from pathlib import Path

import ase.io
import pytest

from tests.training.helpers.tiny import emt_atoms, tiny_model

pytestmark = pytest.mark.slow


def test_select_label_finetune(run, tmp_path: Path) -> None:
    start, train, pool = tmp_path / "start.safetensors", tmp_path / "train.extxyz", tmp_path / "pool.extxyz"
    tiny_model(start)
    ase.io.write(train, emt_atoms(16))
    unlabelled = [atoms.copy() for atoms in emt_atoms(20, seed=1, shake=0.2)]
    ase.io.write(pool, unlabelled)

    quick = ["--max-steps", 8, "--batch-size", 4, "-m", start, "--device", "cpu"]
    first = run("finetune", train, *quick, "-o", tmp_path / "run1")
    assert first.exit_code == 0, first.output
    words = ["select", pool, "-m", tmp_path / "run1/best.safetensors", "--known", train, "-n", 5]
    picked = run(*words, "-o", tmp_path / "pick")
    assert picked.exit_code == 0, picked.output
    words = ["label", tmp_path / "pick/selected.extxyz", "--calculator", "ase.calculators.emt:EMT"]
    labelled = run(*words, "--no-isolated", "-o", tmp_path / "new")
    assert labelled.exit_code == 0, labelled.output
    frames = ase.io.read(tmp_path / "new/labelled.extxyz", index=":")
    assert len(frames) == 5 and all(atoms.get_forces().shape == (4, 3) for atoms in frames)
    words = ["finetune", train, tmp_path / "new/labelled.extxyz", *quick]
    second = run(*words, "-o", tmp_path / "run2")
    assert second.exit_code == 0, second.output
    known = run(*["select", pool, "-m", tmp_path / "run2/best.safetensors", "-n", 1, "-o", tmp_path / "last"])
    assert known.exit_code == 0, known.output
