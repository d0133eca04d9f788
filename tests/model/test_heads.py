"""Heads: every structure of a batch may have its own, and a new one starts from an old one or from new
weights."""

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
        return Potential(
            ModelConfig(dataclasses.replace(SMALL, force_branch=True), FIXED, heads, "a")
        ).double()


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


@pytest.mark.parametrize("name, kept", [("c", ["a", "b"]), ("c", ["b"]), ("a", []), ("a", ["b"])])
def test_a_new_head_starts_as_the_old_one_and_owns_its_weights(name: str, kept: list[str]) -> None:
    network = potential()
    head = dataclasses.replace(network.config.head("a"), name=name)
    grown = network.with_new_head(head, kept, init_from="a")
    assert [h.name for h in grown.config.heads] == [*kept, name] and grown.config.default_head == name
    assert set(grown.heads) == {*kept, name}
    batch = collate([build_graph(a.positions, a.numbers, a.cell.array, a.pbc, FIXED) for a in structures()])
    before = network(batch, heads="a").energy
    assert torch.equal(grown(batch, heads=name).energy, before)
    fresh = network.with_new_head(head, kept)
    assert not torch.allclose(fresh(batch, heads=name).energy, before)
    assert all(
        torch.equal(fresh(batch, heads=other).energy, network(batch, heads=other).energy) for other in kept
    )
    with torch.no_grad():
        for parameter in (*grown.parameters(), *fresh.parameters()):
            parameter.zero_()
    assert torch.equal(network(batch, heads="a").energy, before)
