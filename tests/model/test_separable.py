"""The product's separable sums against plain enumeration (issue 3, acceptance 2).

Energies 1e-12 (relative to max(1, |E|)), forces 1e-10 and gradients with respect to parameters 1e-9 (relative
to the largest entry where that exceeds 1).
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from jmp_calc.graph.batch import collate
from jmp_calc.graph.build import Graph, build_graph
from jmp_calc.graph.policy import GraphPolicy
from jmp_calc.graph.selection import smooth_for_official
from jmp_calc.model.config import BackboneConfig, HeadConfig, ModelConfig
from jmp_calc.model.potential import Potential
from tests.model.enumeration import enumerated_energy
from tests.reference.data import from_compact

SMALL = BackboneConfig(
    num_spherical=5,
    num_radial=9,
    num_blocks=2,
    emb_size_atom=7,
    emb_size_edge=8,
    emb_size_trip_in=5,
    emb_size_trip_out=4,
    emb_size_quad_in=3,
    emb_size_quad_out=5,
    emb_size_aint_in=3,
    emb_size_aint_out=4,
    emb_size_rbf=6,
    emb_size_cbf=4,
    emb_size_sbf=5,
    num_before_skip=1,
    num_after_skip=2,
    num_concat=1,
    num_atom=2,
    num_output_afteratom=1,
    num_atom_emb_layers=1,
    num_global_out_layers=1,
    radial_cutoff=6.0,
    force_branch=False,
)
BACKBONES = {"quadruplets": SMALL, "no quadruplets": replace(SMALL, quad_interaction=False)}
POLICIES = {
    "official": GraphPolicy("official", cutoff=5.0, max_neighbors=12),
    "smooth": GraphPolicy("smooth", cutoff=4.2, a2a_cutoff=5.0, a2ee2a_cutoff=3.9, qint_cutoff=3.4),
    "smooth, adaptive": replace(smooth_for_official(5.0, 10), collinear_width=0.0),
    "smooth, official weights": smooth_for_official(5.0, 10),
}
STRUCTURES = {
    "molecule": (
        [6, 6, 8, 1, 1, 1],
        [[0.03, 0.02, 0.0], [1.48, 0.1, -0.05], [2.1, 1.2, 0.3], [-0.5, 0.9, 0.35], [-0.4, -0.6, 0.8], [2.0,
    -0.9, -0.3]],
        np.zeros((3, 3)),
    ),
    "linear molecule": ([1, 6, 6, 1], [[0, 0, 0.0], [0, 0, 1.06], [0, 0, 2.26], [0, 0, 3.32]], np.zeros((3,
    3))),
    "almost linear molecule": (
        [1, 6, 6, 1], [[0, 0, 0.0], [0.05, 0, 1.06], [0, 0.03, 2.26], [-0.02, 0.01, 3.32]], np.zeros((3, 3))
    ),
    "triclinic crystal": (
        [14, 6],
        [[0.05, 0.1, 0.02], [1.5, 1.2, 0.9]],
        np.array([[3.1, 0.2, 0.1], [0.9, 3.3, -0.2], [1.1, -0.7, 3.6]]),
    ),
}  # fmt: skip
"""Numbers, positions, cell: the crystal is smaller than every cutoff, with collinear own images."""


@cache
def small_potential(policy: str, backbone: str) -> Potential:
    torch.manual_seed(3)
    head = HeadConfig(name="e", hidden=6, num_layers=3, energy_scale=1.7)
    potential = Potential(ModelConfig(BACKBONES[backbone], POLICIES[policy], (head,), "e")).double()
    graphs = [graph_of(structure, POLICIES[policy]) for structure in ("molecule", "triclinic crystal")]
    potential.fit_scale_factors([collate(graphs)])
    return potential


def graph_of(structure: str, policy: GraphPolicy) -> Graph:
    numbers, positions, cell = STRUCTURES[structure]
    return build_graph(np.array(positions), np.array(numbers), cell, np.full(3, bool(cell.any())), policy)


def training_loss(energy: Tensor, forces: Tensor) -> Tensor:
    pattern = torch.linspace(-1, 1, forces.numel(), dtype=torch.float64).view_as(forces)
    return energy + (forces * pattern).sum()


def error(ours: Tensor, theirs: Tensor) -> float:
    ours, theirs = ours.detach(), theirs.detach()
    return float((ours - theirs).abs().max() / max(1.0, float(theirs.abs().max())))


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("policy", POLICIES)
def test_separable_equals_enumerated(policy: str, backbone: str, structure: str) -> None:
    potential = small_potential(policy, backbone)
    graph = graph_of(structure, POLICIES[policy])
    weights = list(potential.parameters())

    ours = potential(collate([graph]), heads="e", create_graph=True)
    positions = torch.from_numpy(graph.positions).requires_grad_(True)
    energy = enumerated_energy(potential, graph, positions, "e")
    (gradient,) = torch.autograd.grad(energy, positions, create_graph=True)
    assert error(ours.energy, energy) < 1e-12
    assert error(ours.forces, -gradient) < 1e-10

    mine = torch.autograd.grad(training_loss(ours.energy[0], ours.forces), weights, materialize_grads=True)
    plain = torch.autograd.grad(training_loss(energy, -gradient), weights, materialize_grads=True)
    largest = max(1.0, *(float(change.abs().max()) for change in plain))
    assert max(float((m - p).abs().max()) for m, p in zip(mine, plain)) < 1e-9 * largest


@pytest.mark.parametrize(("case", "tolerance"), [("ethanol_8A", 1e-12), ("tio_triclinic_12A", 1e-11)])
def test_enumeration_is_the_published_network(case: str, tolerance: float) -> None:
    """With the floor of the published code the oracle gives the official numbers.

    Where own images are collinear the floor divides rounding of 1e-16 by 1e-9: cos ϑ is defined to 1e-7
    there.
    """
    official = from_compact()
    model, structure = official.models["tiny-s"], official.cases[case]
    policy = GraphPolicy(
        "official", float(structure["cutoff"]), int(structure["max_neighbors"][0]), tags="atoms"
    )
    potential = Potential(replace(model.config, policy=policy))
    potential.load_state_dict(model.weights["ema"])
    potential.double().requires_grad_(False)
    graph = build_graph(
        structure["pos"],
        structure["Z"],
        structure["cell"],
        structure["pbc"].astype(bool),
        policy,
        structure["tags"],
    )
    head = potential.config.heads[0]
    energy = enumerated_energy(potential, graph, torch.from_numpy(graph.positions), head.name, floor=True)
    theirs = model.outputs[case]["energy"][0]
    assert float(energy) / head.energy_scale == pytest.approx(theirs, rel=tolerance)
