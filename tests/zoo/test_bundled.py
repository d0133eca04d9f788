"""The model in the package keeps its promises: size, cost, sources, a default head that works as it
stands."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk, molecule
from torch.utils.flop_counter import FlopCounterMode

from jmp_calc import JMPCalculator
from jmp_calc.graph.batch import collate
from jmp_calc.graph.build import build_graph
from jmp_calc.training.pretraining.mixture import holdout_reason
from jmp_calc.zoo.container import LoadedModel
from jmp_calc.zoo.names import resolve
from jmp_calc.zoo.registry import load_registry

SEEN_BY_THE_FIRST = ("qm22_ethanol.xyz.gz", "ethanol_pbe_train.xyz.gz")


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return resolve("jmp-xs")


def test_file_and_network_are_small(loaded: LoadedModel) -> None:
    assert loaded.path.stat().st_size < 8e6
    assert sum(p.numel() for p in loaded.potential.backbone.parameters()) < 1e6


def test_energy_and_forces_cost_less_than_three_mflop_per_main_edge(loaded: LoadedModel) -> None:
    atoms = bulk("Si", cubic=True) * (2, 2, 2)
    potential = loaded.potential
    graph = build_graph(atoms.positions, atoms.numbers, atoms.cell.array, atoms.pbc, potential.config.policy)
    with FlopCounterMode(display=False) as counter:
        potential(collate([graph]), heads="pbe")
    assert 0.1e6 < counter.get_total_flops() / graph.n_edges < 3e6


def test_it_is_smooth_and_conservative(loaded: LoadedModel) -> None:
    config = loaded.potential.config
    assert config.policy.name == "smooth"
    assert not any(head.direct_forces for head in config.heads)
    assert config.subtract_lone_atom
    assert config.pair_repulsion


def test_card_lists_sources_and_licences_and_no_held_out_set(loaded: LoadedModel) -> None:
    """The first weights have seen a molecule that later ones do not: ethanol."""
    first = loaded.sha256 == load_registry()["jmp-xs-v1"].sha256
    data = loaded.card.training_data
    assert len(data) > 20
    for entry in data:
        assert entry["licence"] not in ("", "unknown"), entry["name"]
        assert entry["source"] not in ("", "unknown"), entry["name"]
        for file in entry["files"]:
            assert (first and file in SEEN_BY_THE_FIRST) or holdout_reason(file) is None, file
    assert set(loaded.card.metrics) <= {entry["name"] for entry in data}


def test_every_head_has_theory_elements_and_references(loaded: LoadedModel) -> None:
    for head in loaded.potential.config.heads:
        assert head.level_of_theory != "unknown"
        assert head.elements
        assert set(head.references) == set(head.elements)


def test_silicon_and_ethanol_as_they_stand() -> None:
    silicon = bulk("Si", "diamond", a=5.43)
    silicon.calc = JMPCalculator("jmp-xs", dtype="float64")
    energies = []
    lengths = np.linspace(5.3, 5.7, 9)
    for a in lengths:
        silicon.set_cell(bulk("Si", "diamond", a=a).cell, scale_atoms=True)
        energies.append(silicon.get_potential_energy())
    assert 5.40 < lengths[int(np.argmin(energies))] < 5.56  # PBE: 5.47
    ethanol = molecule("CH3CH2OH")
    ethanol.calc = JMPCalculator("jmp-xs", head="b3lyp")
    assert np.abs(ethanol.get_forces()).max() < 1.5  # near its minimum
