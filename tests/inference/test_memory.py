"""Memory plans of the calculator, and memory over many calls."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule

from jmp_calc import JMPCalculator
from jmp_calc.errors import UsageError
from jmp_calc.graph.policy import GraphPolicy
from jmp_calc.inference.memory import ROOM, choose_recompute, estimated_bytes
from jmp_calc.model.config import JMP_S, HeadConfig, ModelConfig
from jmp_calc.model.cost import GraphCounts

CPU = torch.device("cpu")
LARGE = GraphCounts(1000, 30_000, 60_000, 20_000, 8_000, 40, 80, 8)
CONFIG = ModelConfig(JMP_S, GraphPolicy(), (HeadConfig("energy", hidden=256),), "energy")


@pytest.mark.capability("B12")
@pytest.mark.parametrize("atoms", [molecule("CH3CH2OH"), bulk("NaCl", "rocksalt", 5.6, cubic=True)], ids=str)
def test_checkpointing_changes_no_result(make_model, atoms: Atoms) -> None:
    atoms = atoms.copy()
    atoms.rattle(0.05, seed=1)
    found = []
    for choice in ("off", "on"):
        calculator = JMPCalculator(
            make_model(), dtype="float64", device="cpu", activation_checkpointing=choice
        )
        found.append((calculator.get_potential_energy(atoms), calculator.get_forces(atoms)))
    assert found[0][0] == found[1][0]
    np.testing.assert_allclose(found[1][1], found[0][1], rtol=0, atol=1e-12)


def test_unknown_choice_is_an_error(make_model) -> None:
    with pytest.raises(UsageError, match="activation_checkpointing='always'"):
        JMPCalculator(make_model(), device="cpu", activation_checkpointing="always")  # type: ignore[arg-type]


def test_auto_takes_the_fastest_plan_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = [
        estimated_bytes(CONFIG, LARGE, 4, "forces", plan) for plan in ("nothing", "interactions", "blocks")
    ]
    assert needed[2] < needed[1] < needed[0]
    rooms = {1.01 * needed[0] / ROOM: "nothing", 1.01 * needed[1] / ROOM: "interactions", needed[2]: "blocks"}
    for free, plan in rooms.items():
        monkeypatch.setattr("jmp_calc.inference.memory.free_memory", lambda device, free=free: free)
        assert choose_recompute(CONFIG, LARGE, 4, "forces", "auto", CPU) == plan
        assert choose_recompute(CONFIG, LARGE, 4, "forces", "off", CPU) == "nothing"
        assert choose_recompute(CONFIG, LARGE, 4, "forces", "on", CPU) == "blocks"


@pytest.mark.slow
def test_memory_is_constant_over_ten_thousand_calls() -> None:
    atoms = molecule("CH3CH2OH")
    atoms.calc = JMPCalculator("jmp-xs", head="wb97x", device="cpu")
    resident = {}
    for call in range(1, 10_001):
        atoms.rattle(0.001, seed=call)
        atoms.get_forces()
        if call in (1000, 10_000):
            resident[call] = int(Path("/proc/self/statm").read_text().split()[1])
            atoms.positions = molecule("CH3CH2OH").positions
    assert resident[10_000] == pytest.approx(resident[1000], rel=0.01)
