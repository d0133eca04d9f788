"""A run that goes on with other data: its head knows them too."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from ase import Atoms
from ase.calculators.emt import EMT

from jmp_calc import finetune
from jmp_calc.training import DataOptions, ModelOptions, TrainConfig
from jmp_calc.training.config import OptimConfig
from jmp_calc.training.finetuning.fitted_energies import missing_energies
from jmp_calc.training.finetuning.prepare import prepare
from jmp_calc.zoo.container import load_model
from tests.training.helpers.tiny import emt_atoms, tiny_model


def with_silver(count: int) -> list[Atoms]:
    """Copper frames, and some where an atom is silver."""
    images = emt_atoms(count, seed=3)
    for atoms in images[::2]:
        atoms.symbols[1] = "Ag"
        atoms.calc = EMT()
        atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
    return images


@pytest.mark.parametrize(("rank", "committee"), [(None, 2), (2, 1)])
def test_a_head_that_goes_on_with_other_data_knows_their_elements_and_energies(
    tmp_path: Path, rank: int | None, committee: int
) -> None:
    model = str(tiny_model(tmp_path / "tiny.safetensors"))
    references = {"Al": -1.0, "Cu": -2.0, "Ag": -3.0}
    for steps, frames in ((4, emt_atoms(8)), (8, with_silver(12))):
        optim = OptimConfig(lr=2e-3, ema_decay=None, warmup_steps=0)
        config = TrainConfig(max_steps=steps, batch_size=4, lora_rank=rank, optim=optim)
        result = finetune(
            frames,
            model=model,
            head="scratch",
            out=tmp_path / "run",
            config=config,
            references=references,
            start=ModelOptions(committee=committee),
            data=DataOptions(allow=("unbound",)),
            resume=steps > 4,
            override=steps > 4,
            say=lambda line: None,
        )
    potential = load_model(result.last).potential
    prepared = prepare(DataOptions(frames), ModelOptions(model), config, lambda line: None)
    for head in potential.config.heads:
        assert head.elements == (13, 29, 47)
        assert head.references == {13: -1.0, 29: -2.0, 47: -3.0}
        assert head.pairs is not None and "Cu-Ag" in head.pairs
        missing = missing_energies(potential, head.name, prepared.train, torch.device("cpu"))
        assert max(abs(energy) for energy in missing.values()) < 0.2
