"""Every structure of a batch may have its own head: the result is what each head gives alone."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule

from jmp_calc.graph.batch import collate
from jmp_calc.graph.build import build_graph
from jmp_calc.model.config import HeadConfig, ModelConfig
from jmp_calc.model.potential import Forces, Potential
from tests.physics.models import FIXED, SMALL


def structures() -> list[Atoms]:
    found = [bulk("Cu", cubic=True), molecule("CH3OH"), molecule("H2O")]
    for seed, atoms in enumerate(found):
        atoms.rattle(0.1, seed=seed)
    return found


def potential() -> Potential:
    heads = tuple(
        HeadConfig(name, hidden=8, num_layers=2, direct_forces=True, energy_scale=scale, force_scale=scale)
        for name, scale in (("a", 1.0), ("b", 3.0))
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Potential(ModelConfig(dataclasses.replace(SMALL, force_branch=True), FIXED, heads, "a")).double()


@pytest.mark.parametrize("forces", ["conservative", "direct"])
def test_heads_per_structure_equal_each_head_alone(forces: Forces) -> None:
    network, names = potential(), ("b", "a", "b")
    graphs = [build_graph(a.positions, a.numbers, a.cell.array, a.pbc, FIXED) for a in structures()]
    together = network(collate(graphs), heads=names, forces=forces)
    alone = [network(collate([graph]), heads=name, forces=forces) for graph, name in zip(graphs, names)]
    assert torch.allclose(together.energy, torch.cat([one.energy for one in alone]), rtol=1e-11)
    assert torch.allclose(together.forces, torch.cat([one.forces for one in alone]), rtol=1e-9, atol=1e-11)
    other = network(collate(graphs), heads="a", forces=forces)
    assert not torch.allclose(other.forces, together.forces)
