"""Counted work and memory against known numbers and against what is measured."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase.build import bulk, molecule
from torch.utils.flop_counter import FlopCounterMode

from jmp_calc.graph.batch import collate
from jmp_calc.graph.build import build_graph
from jmp_calc.graph.policy import GraphPolicy
from jmp_calc.model.config import JMP_L, JMP_S, JMP_XS, JMP_XS_POLICY, HeadConfig, ModelConfig
from jmp_calc.model.cost import GraphCounts, dense_flops, kept_values
from jmp_calc.model.potential import Potential

HEAD = HeadConfig("energy", hidden=256)
ASPIRIN = GraphCounts(21, 420, 420, 420, 168, 20, 20, 8)
"""All pairs of 21 atoms, eight middle edges each: the graphs of a molecule within its cutoffs."""


@pytest.mark.parametrize("backbone, gigaflops", [(JMP_S, 32.0), (JMP_L, 240.0)])
def test_work_of_aspirin_is_what_the_literature_sizes_need(backbone, gigaflops: float) -> None:
    assert dense_flops(backbone, HEAD, ASPIRIN) / 1e9 == pytest.approx(gigaflops, rel=0.05)


def small_silicon() -> tuple[Potential, object, GraphCounts]:
    atoms = bulk("Si", cubic=True)
    graph = build_graph(atoms.positions, atoms.numbers, atoms.cell.array, atoms.pbc, JMP_XS_POLICY)
    potential = Potential(ModelConfig(JMP_XS, JMP_XS_POLICY, (HeadConfig("energy", hidden=32),), "energy"))
    return potential.requires_grad_(False), collate([graph]), GraphCounts.of(graph)


def test_counted_layers_are_the_products_that_are_done() -> None:
    potential, batch, counts = small_silicon()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        potential(batch, heads="energy", forces="none")
    products = counter.get_flop_counts()["Global"]
    done = sum(value for name, value in products.items() if "bmm" not in str(name))
    counted = dense_flops(JMP_XS, potential.config.heads[0], counts, derivatives=0)
    assert counted < done < 1.15 * counted  # the rest are small angular matrices


def test_kept_values_are_what_autograd_keeps() -> None:
    potential, batch, counts = small_silicon()
    kept: dict[int, int] = {}
    held = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        held.append(tensor)
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        potential(batch, heads="energy")
    weights = {p.untyped_storage().data_ptr() for p in potential.parameters()}
    measured = sum(size for pointer, size in kept.items() if pointer not in weights) / 4
    assert kept_values(JMP_XS, counts) == pytest.approx(measured, rel=0.3)


def test_widths_are_the_most_edges_of_an_atom() -> None:
    atoms = molecule("CH4")
    graph = build_graph(atoms.positions, atoms.numbers, np.zeros((3, 3)), atoms.pbc, GraphPolicy(cutoff=1.2))
    counts = GraphCounts.of(graph)
    assert (counts.atoms, counts.main, counts.main_width) == (5, 8, 4)
