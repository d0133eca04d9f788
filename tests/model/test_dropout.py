"""Edge dropout and dropout in the network: what is compensated, what stays a gradient, and what evaluation
sees."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from jmp_calc.graph.batch import Batch, collate
from jmp_calc.graph.build import Graph, build_graph
from jmp_calc.graph.dropout import Compensation, EdgeDrop, EdgeScales
from jmp_calc.graph.policy import GraphPolicy
from jmp_calc.model.config import HeadConfig, ModelConfig, model_config_from_dict, to_dict
from jmp_calc.model.gemnet_oc import OutputBlock
from jmp_calc.model.layers import Dense, Scaled
from jmp_calc.model.potential import Potential
from jmp_calc.model.recompute import MemoryPlan, Recompute
from tests.model.enumeration import enumerated_energy
from tests.model.test_separable import POLICIES, SMALL, STRUCTURES, error, graph_of, small_potential

PLANS = get_args(Recompute)


def dropped(structure: str, policy: GraphPolicy, drop: EdgeDrop) -> Graph:
    numbers, positions, cell = STRUCTURES[structure]
    pbc = np.full(3, bool(cell.any()))
    return build_graph(np.array(positions), np.array(numbers), cell, pbc, policy, drop=drop)


# ---- edge dropout
# -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("structure", ["molecule", "triclinic crystal"])
@pytest.mark.parametrize("policy", POLICIES)
def test_the_sums_are_exact_on_the_graphs_that_are_left(policy: str, structure: str) -> None:
    potential = small_potential(policy, "quadruplets")
    for seed in range(2):
        graph = dropped(structure, POLICIES[policy], EdgeDrop(0.4, seed))
        graph = replace(graph, scales=EdgeScales())
        ours = potential(collate([graph]), heads="e")
        positions = torch.from_numpy(graph.positions).requires_grad_(True)
        energy = enumerated_energy(potential, graph, positions, "e")
        (gradient,) = torch.autograd.grad(energy, positions)
        assert error(ours.energy, energy) < 1e-12
        assert error(ours.forces, -gradient) < 1e-10


@pytest.mark.parametrize("compensation", get_args(Compensation))
@pytest.mark.parametrize("policy", POLICIES)
def test_forces_are_the_gradient_for_given_survivors(policy: str, compensation: Compensation) -> None:
    potential = small_potential(policy, "quadruplets")
    graph = dropped("molecule", POLICIES[policy], EdgeDrop(0.3, 1, compensation))
    direction, step = np.random.default_rng(0).normal(size=graph.positions.shape), 1e-5

    def energy(length: float) -> float:
        moved = replace(graph, positions=graph.positions + length * direction)
        with torch.no_grad():
            return float(potential(collate([moved]), heads="e", forces="none").energy)

    slope = (energy(step) - energy(-step)) / (2 * step)
    forces = potential(collate([graph]), heads="e").forces.numpy()
    assert abs(slope) > 1e-4
    assert -(forces * direction).sum() == pytest.approx(slope, rel=1e-6, abs=1e-8)


def output_sums(block: OutputBlock, batch: Batch, rho: Tensor, m: Tensor) -> Tensor:
    """The edge -> atom sums (N, M) of an output block."""
    atoms = Scaled(m.new_zeros(batch.n_atoms, m.shape[1]))
    bare = copy.deepcopy(block)
    bare.layers = bare.seq_energy2 = nn.Sequential()  # type: ignore[assignment]
    return bare.energy_features(batch, rho, atoms, Scaled(m), MemoryPlan()).tensor().detach() * 2**0.5


def test_the_mean_of_the_output_sums_over_draws_is_the_sum_of_all_edges() -> None:
    """Acceptance 7 of training.md: for given edge embeddings, where no neighbour takes the place of a dropped
    one."""
    policy, p, draws = POLICIES["smooth"], 0.2, 1500
    block = small_potential("smooth", "quadruplets").backbone.get_submodule("out_blocks.0")
    assert isinstance(block, OutputBlock)
    full = graph_of("triclinic crystal", policy)
    generator = torch.Generator().manual_seed(0)
    m, rho = (
        torch.randn(len(full.main), width, generator=generator, dtype=torch.float64)
        for width in (SMALL.emb_size_edge, SMALL.emb_size_rbf)
    )
    expected = output_sums(block, collate([full]), rho, m)

    number = {bond: k for k, bond in enumerate(bonds(full))}
    graphs = [dropped("triclinic crystal", policy, EdgeDrop(p, (5, seed))) for seed in range(draws)]
    rows = torch.tensor([number[bond] for graph in graphs for bond in bonds(graph)])
    drawn = output_sums(block, collate(graphs), rho[rows], m[rows]).view(draws, *expected.shape)

    # The same bond gives both of its directions, so that an atom's own images come and go in pairs.
    deviation = drawn.std(0) / draws**0.5
    assert ((drawn.mean(0) - expected).abs() < 5 * deviation).all()
    assert (drawn.std(0) > 0.05 * expected.abs().mean()).all()
    assert (
        (1 - p) * expected - drawn.mean(0)
    ).abs().max() > 5 * deviation.max()  # uncompensated sums are excluded


def bonds(graph: Graph) -> list[tuple[int, ...]]:
    main = graph.main
    return [tuple(map(int, row)) for row in np.column_stack([main.source, main.target, main.shift])]


def test_compensation_of_the_code_scales_the_sums_of_the_output_blocks_and_no_others() -> None:
    """The same as larger weights of the map before these sums; direct forces stay as they are."""
    torch.manual_seed(1)
    heads = (
        HeadConfig("e", hidden=6, num_layers=2),
        HeadConfig("f", hidden=6, num_layers=2, direct_forces=True),
    )
    config = ModelConfig(replace(SMALL, force_branch=True), POLICIES["official"], heads)
    potential = Potential(config).double()
    drop = EdgeDrop(0.2, 3)
    graph = dropped("molecule", config.policy, drop)
    larger = copy.deepcopy(potential)
    with torch.no_grad():
        for block in larger.backbone.out_blocks:
            block.dense_rbf.linear.weight.mul_(1.25)
    bare = collate([replace(graph, scales=EdgeScales())])
    for name, forces in (("e", "conservative"), ("f", "direct")):
        found, expected = (
            potential(collate([graph]), heads=name, forces=forces),
            larger(bare, heads=name, forces=forces),
        )
        torch.testing.assert_close(found.energy, expected.energy, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(found.forces, expected.forces, rtol=1e-10, atol=1e-12)
    uncompensated = potential(bare, heads="f", forces="direct")
    assert torch.equal(found.forces, uncompensated.forces) and not torch.equal(
        found.energy, uncompensated.energy
    )


def test_compensation_of_the_paper_scales_the_edge_embeddings() -> None:
    potential = copy.deepcopy(small_potential("smooth", "quadruplets"))
    graph = dropped("molecule", POLICIES["smooth"], EdgeDrop(0.2, 3, "edge_embeddings"))
    found = potential(collate([graph]), heads="e", forces="none").energy
    plain = potential(collate([replace(graph, scales=EdgeScales())]), heads="e", forces="none").energy

    def grown(module: nn.Module, inputs: object, output: tuple[object, Scaled]) -> tuple[object, Scaled]:
        return output[0], Scaled(output[1].value * 1.25, output[1].factor)

    potential.backbone.bases.register_forward_hook(grown)
    expected = potential(collate([replace(graph, scales=EdgeScales())]), heads="e", forces="none").energy
    assert torch.equal(found, expected) and not torch.equal(found, plain)


@pytest.mark.parametrize("policy", POLICIES)
def test_structures_that_lose_almost_all_edges_have_finite_energies_and_forces(policy: str) -> None:
    potential = small_potential(policy, "quadruplets")
    for seed in range(3):
        for probability in (0.8, 0.999999):
            graphs = [
                dropped(name, POLICIES[policy], EdgeDrop(probability, seed))
                for name in ("linear molecule", "molecule")
            ]
            prediction = potential(collate(graphs), heads="e", create_graph=True)
            assert prediction.energy.isfinite().all() and prediction.forces.isfinite().all()


# ---- dropout
# ----------------------------------------------------------------------------------------------------------


def with_dropout(share: float) -> Potential:
    plain = small_potential("smooth", "quadruplets")
    backbone = replace(plain.config.backbone, dropout=share)
    return plain.with_config(replace(plain.config, backbone=backbone)).train()


def structures() -> Batch:
    return collate([graph_of(name, POLICIES["smooth"]) for name in ("molecule", "triclinic crystal")])


def test_without_dropout_training_and_evaluation_are_the_same() -> None:
    potential = small_potential("smooth", "quadruplets")
    state = torch.get_rng_state()
    training = copy.deepcopy(potential).train()(structures(), heads="e")
    evaluation = copy.deepcopy(potential).eval()(structures(), heads="e")
    assert torch.equal(training.energy, evaluation.energy) and torch.equal(training.forces, evaluation.forces)
    assert torch.equal(torch.get_rng_state(), state)  # nothing was drawn


def test_configurations_without_the_field_have_no_dropout() -> None:
    config = small_potential("smooth", "quadruplets").config
    old = to_dict(config)
    del old["backbone"]["dropout"]
    assert model_config_from_dict(old) == config and config.backbone.dropout == 0.0


def test_dropout_acts_in_training_only() -> None:
    potential, plain = with_dropout(0.3), small_potential("smooth", "quadruplets")
    energies = [potential(structures(), heads="e", forces="none").energy for _ in range(2)]
    assert not torch.equal(*energies)
    potential.eval()
    assert torch.equal(potential(structures(), heads="e").forces, plain(structures(), heads="e").forces)


def test_dropout_is_in_the_dense_layers_of_the_atom_updates() -> None:
    found = {
        name.rpartition(".layers.")[0]
        for name, module in with_dropout(0.3).named_modules()
        if isinstance(module, Dense) and module.dropout > 0
    }
    assert found == {
        *(f"backbone.int_blocks.{i}.atom_update" for i in range(2)),
        *(f"backbone.out_blocks.{i}" for i in range(3)),
    }


def test_the_mean_of_a_dense_layer_over_draws_is_its_value_without_dropout() -> None:
    torch.manual_seed(0)
    layer = Dense(4, 5, activation=True, dropout=0.3).double()
    nn.init.normal_(layer.linear.weight)
    x = Scaled(torch.randn(1, 4, dtype=torch.float64).expand(20000, 4), 2.0)
    drawn, expected = layer(x).tensor().detach(), layer.eval()(x).tensor()[0].detach()
    assert (drawn == 0).double().mean() == pytest.approx(0.3, abs=0.01)
    assert ((drawn.mean(0) - expected).abs() < 5 * drawn.std(0) / 20000**0.5).all()


@pytest.mark.parametrize("recompute", [plan for plan in PLANS if plan != "nothing"])
def test_what_is_computed_again_has_the_same_masks(recompute: Recompute) -> None:
    (plain, after), (lean, lean_after) = (
        training_gradients(with_dropout(0.3), plan) for plan in ("nothing", recompute)
    )
    assert torch.equal(after, lean_after)  # the next step draws the same numbers too
    for one, other in zip(plain, lean, strict=True):
        torch.testing.assert_close(
            other, one, rtol=1e-9, atol=1e-12 * max(1.0, float(one.detach().abs().max()))
        )


def training_gradients(potential: Potential, recompute: Recompute) -> tuple[list[Tensor], Tensor]:
    """Energies, forces and weight gradients for the seed 7, and the state of the random numbers
    afterwards."""
    torch.manual_seed(7)
    prediction = potential(structures(), heads="e", create_graph=True, recompute=recompute)
    loss = prediction.forces.square().sum() + prediction.energy.sum()
    gradients = torch.autograd.grad(loss, list(potential.parameters()), materialize_grads=True)
    return [prediction.energy, prediction.forces, *gradients], torch.get_rng_state()


@pytest.mark.parametrize("recompute", PLANS)
def test_forces_are_the_gradient_for_given_masks(recompute: Recompute) -> None:
    potential, batch = with_dropout(0.3), structures()
    direction, step = (
        torch.randn(batch.positions.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64),
        1e-5,
    )

    def energy(length: float) -> float:
        torch.manual_seed(7)
        moved = replace(batch, positions=batch.positions + length * direction)
        with torch.no_grad():
            return float(potential(moved, heads="e", forces="none").energy.sum())

    slope = (energy(step) - energy(-step)) / (2 * step)
    torch.manual_seed(7)
    forces = potential(batch, heads="e", recompute=recompute).forces
    assert -float((forces * direction).sum()) == pytest.approx(slope, rel=1e-6, abs=1e-8)


def test_frozen_networks_have_no_dropout() -> None:
    potential, plain = (
        with_dropout(0.3),
        small_potential("smooth", "quadruplets").with_config(small_potential("smooth", "quadruplets").config),
    )
    for network in (potential, plain):
        network.freeze("conservative")
    assert torch.equal(potential(structures(), heads="e").forces, plain(structures(), heads="e").forces)


def test_scale_factors_are_fitted_without_dropout() -> None:
    potential, plain = with_dropout(0.3), with_dropout(0.0)
    for network in (potential, plain):
        network.fit_scale_factors([structures()])
    assert potential.training
    for name, value in plain.state_dict().items():
        assert torch.equal(potential.state_dict()[name], value), name
