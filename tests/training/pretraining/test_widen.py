"""A wider network begins as the narrower one that it goes on from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from torch import Tensor

from jmp_calc.errors import UsageError
from jmp_calc.graph.batch import collate
from jmp_calc.graph.build import build_graph
from jmp_calc.model.config import JMP_XS, JMP_XS_POLICY, BackboneConfig, HeadConfig, ModelConfig
from jmp_calc.model.potential import Potential
from jmp_calc.training.pretrain import pretrain
from jmp_calc.training.pretraining.chain import StageFile, StageOptions, read_stage
from jmp_calc.training.pretraining.options import PretrainOptions
from jmp_calc.training.pretraining.recipe import load_recipe, staged
from jmp_calc.training.pretraining.widen import widened
from jmp_calc.training.validation.history import read_history
from tests.training.helpers.mixture_data import write_chain
from tests.training.helpers.stopped import stopped_at

NARROW = replace(JMP_XS, emb_size_atom=24, emb_size_edge=24)
HEADS = ("metal", "organic")


def config(backbone: BackboneConfig, hidden: int) -> ModelConfig:
    direct = backbone.force_branch
    heads = tuple(HeadConfig(name, hidden=hidden, num_layers=3, direct_forces=direct) for name in HEADS)
    return ModelConfig(backbone, JMP_XS_POLICY, heads, "metal", subtract_lone_atom=True, pair_repulsion=True)


def stage(model: ModelConfig) -> StageFile:
    """What a stage of random weights would have left; averages are other weights."""
    states = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        potential = Potential(model).double()
        for parameter in potential.parameters():
            parameter.data += 0.01 * torch.randn_like(parameter)
        states.append(potential.state_dict())
    return StageFile("tiny", 1, 100, model, states[0], states[1], (), ())


def results(
    model: ModelConfig, state: Mapping[str, Tensor], atoms: Atoms, head: str
) -> tuple[Tensor, Tensor]:
    """Energy and forces in float64, by a direct head where there is one."""
    potential = Potential(model).double()
    potential.load_state_dict(dict(state))
    graph = build_graph(atoms.positions, atoms.numbers, atoms.cell.array, atoms.pbc, model.policy)
    kind = "direct" if model.backbone.force_branch else "conservative"
    output = potential(collate([graph]), heads=head, forces=kind)
    return output.energy.detach(), output.forces.detach()


def rattled(atoms: Atoms) -> Atoms:
    atoms.rattle(0.1, seed=3)
    return atoms


@pytest.mark.parametrize("width", [36, 48, 60, 80])
def test_energies_and_forces_stay_for_copies_of_some_of_all_and_of_many_features(width: int) -> None:
    before = stage(config(NARROW, 10))
    wide = replace(NARROW, emb_size_atom=width, emb_size_edge=width)
    after = widened(before, config(wide, 17), seed=0)
    assert (after.model.backbone, after.steps) == (wide, before.steps)
    structures = (rattled(bulk("NaCl", "rocksalt", a=5.7)), "metal"), (rattled(molecule("CH3OH")), "organic")
    for atoms, head in structures:
        for old, new in ((before.weights, after.weights), (before.averages, after.averages)):
            energy, forces = results(before.model, old, atoms, head)
            wider_energy, wider_forces = results(after.model, new, atoms, head)
            assert forces.abs().max() > 1e-3
            torch.testing.assert_close(wider_energy, energy, rtol=1e-10, atol=1e-10)
            torch.testing.assert_close(wider_forces, forces, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("hidden", [(10, 10), (20, 28)])
@pytest.mark.parametrize("direct", [False, True])
def test_atoms_and_edges_of_different_widths_grow_by_themselves(
    direct: bool, hidden: tuple[int, int]
) -> None:
    """Hidden layers for direct forces are as wide as edges where those for energies are as wide as atoms."""
    apart = replace(NARROW, emb_size_atom=20, force_branch=direct)
    before = stage(config(apart, hidden[0]))
    wide = replace(apart, emb_size_atom=40, emb_size_edge=32)
    after = widened(before, config(wide, hidden[1]), seed=0)
    atoms = rattled(molecule("CH3OH"))
    energy, forces = results(before.model, before.weights, atoms, "organic")
    wider = results(after.model, after.weights, atoms, "organic")
    torch.testing.assert_close(wider[0], energy, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(wider[1], forces, rtol=1e-10, atol=1e-10)


def test_copies_of_a_feature_are_read_by_weights_of_their_own() -> None:
    """Equal weights would have equal gradients for ever: the network would stay as narrow as it was."""
    before = stage(config(NARROW, 10))
    after = widened(before, config(replace(NARROW, emb_size_atom=48, emb_size_edge=48), 10), seed=0)
    old = before.weights["backbone.int_blocks.0.dense_ca.linear.weight"]
    new = after.weights["backbone.int_blocks.0.dense_ca.linear.weight"]
    assert new.shape == (48, 48)
    torch.testing.assert_close(new[:24, :24] + new[:24, 24:], old, rtol=1e-12, atol=1e-12)
    assert ((new[:, :24] - new[:, 24:]).abs() > 1e-6).double().mean() > 0.99
    assert ((new[:24] - new[24:]).abs() > 1e-6).double().mean() > 0.99


def test_the_same_widths_are_the_same_stage_and_other_networks_are_refused() -> None:
    before = stage(config(NARROW, 10))
    assert widened(before, config(NARROW, 10), seed=0) is before
    with pytest.raises(UsageError, match="narrower than that of the stage before"):
        widened(before, config(replace(NARROW, emb_size_atom=20, emb_size_edge=20), 10), seed=0)
    with pytest.raises(UsageError, match="narrower"):
        widened(before, config(NARROW, 8), seed=0)
    for other in (
        replace(NARROW, num_blocks=3),
        replace(NARROW, emb_size_trip_out=48),
        replace(NARROW, emb_size_atom=48),  # a layer from edges to atoms, which the stage before has not
    ):
        with pytest.raises(UsageError, match="has another network"):
            widened(before, config(other, 10), seed=0)
    direct = replace(NARROW, force_branch=True, emb_size_atom=20)
    with pytest.raises(UsageError, match="narrower"):  # hidden layers for forces were as wide as edges, 24
        widened(stage(config(direct, 20)), config(direct, 22), seed=0)


@pytest.mark.slow
def test_a_stage_that_was_widened_begins_with_the_errors_of_the_one_before_and_is_resumed(
    tmp_path: Path,
) -> None:
    write_chain(tmp_path)
    options = PretrainOptions(data=tmp_path, shards=tmp_path / "shards")

    def run(out: str, given: StageOptions, width: int, *, resume: bool = False) -> None:
        recipe = load_recipe(tmp_path / "links.toml", [f"model.head_width={width}"])
        pretrain(staged(recipe, given), tmp_path / out, options, resume=resume, say=lambda text: None)

    run("first", StageOptions(steps=4), 32)
    second = StageOptions(tmp_path / "first" / "links_stage.pt", steps=6)
    with stopped_at(4):
        run("second", second, 40)
    run("second", second, 40, resume=True)
    stage = read_stage(tmp_path / "second" / "links_stage.pt")
    assert {head.hidden for head in stage.model.heads} == {40}
    assert stage.steps == 10
    start, end = (read_history(tmp_path / name / "metrics.csv") for name in ("second", "first"))
    assert start[0].valid_forces_mae_mev_per_a == pytest.approx(
        end[-1].values("forces_mae_mev_per_a")["averaged"], rel=0.02
    )
