"""Runs on direct forces: what they report is what their last line gives, and conservative ends are reported
as such."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.io import read

from jmp_calc import JMPCalculator, finetune
from jmp_calc.model.config import HeadConfig, ModelConfig
from jmp_calc.model.potential import Potential
from jmp_calc.training.config import OptimConfig, TrainConfig
from jmp_calc.zoo.container import ModelCard, save_model
from tests.training.helpers.tiny import BACKBONE, POLICY, emt_file


def direct_model(path: Path) -> Path:
    """A file of a tiny network with a branch for direct forces."""
    head = HeadConfig("old", hidden=8, num_layers=3, elements=(13, 29), direct_forces=True)
    backbone = dataclasses.replace(BACKBONE, force_branch=True)
    config = ModelConfig(backbone, POLICY, (head,), default_head="old", subtract_lone_atom=True)
    torch.manual_seed(0)
    save_model(path, Potential(config), ModelCard(name="direct", licence="MIT"))
    return path


@pytest.mark.parametrize("late", [None, 0.5])
def test_the_reported_forces_are_those_of_the_line_to_copy(tmp_path: Path, late: float | None) -> None:
    model = direct_model(tmp_path / "direct.safetensors")
    valid = emt_file(tmp_path / "valid.extxyz", 2, seed=1)
    config = TrainConfig(
        forces="direct",
        conservative_after=late,
        max_steps=4,
        validate_every=2,
        batch_size=4,
        optim=OptimConfig(lr=1e-2, warmup_steps=0),
    )
    result = finetune(
        emt_file(tmp_path / "train.extxyz", 8),
        valid=valid,
        model=str(model),
        out=tmp_path / "run",
        config=config,
        say=lambda line: None,
    )
    line = (tmp_path / "run" / "report.yaml").read_text().splitlines()[-1]
    assert ('forces="direct"' in line) == (late is None)
    errors = []
    for atoms in read(valid, ":"):
        labels = atoms.get_forces()
        atoms.calc = eval(line.split("=", 1)[1].strip(), {"JMPCalculator": JMPCalculator})
        errors.append(np.abs(atoms.get_forces() - labels).mean())
    assert result.valid.forces_mae_mev_per_a == pytest.approx(1e3 * np.mean(errors), rel=1e-3)
    assert (
        late is None or result.history[1].best
    )  # the first validation of another kind of forces starts afresh


def test_patience_counts_from_the_first_validation_of_conservative_forces(tmp_path: Path) -> None:
    config = TrainConfig(
        forces="direct",
        conservative_after=0.5,
        max_steps=8,
        validate_every=1,
        patience=1,
        batch_size=4,
        optim=OptimConfig(lr=1e-30, ema_decay=None, warmup_steps=0),
    )
    result = finetune(
        emt_file(tmp_path / "train.extxyz", 8),
        model=str(direct_model(tmp_path / "direct.safetensors")),
        out=tmp_path / "run",
        config=config,
        say=lambda line: None,
    )
    assert [row.step for row in result.history] == [0, 1, 2, 3, 4, 5]  # 4 is the first, 5 is no better
