"""Pre-training on two made-up levels of theory: it learns, goes on where it stopped, and writes a model that loads."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase.io import read

from jmp_calc.errors import NotConvergedError, UsageError
from jmp_calc.graph.batch import collate
from jmp_calc.graph.build import build_graph
from jmp_calc.model.config import BackboneConfig, GraphPolicy, HeadConfig, ModelConfig
from jmp_calc.training.checkpoint import load_checkpoint
from jmp_calc.training.mixture import load_mixture, read_recipe
from jmp_calc.training.pack import build
from jmp_calc.training.packed import Packed
from jmp_calc.training.pretrain import Limits, run_stage, training_model
from jmp_calc.zoo.container import load_model

from .mixture_data import write_mixture

BACKBONE = BackboneConfig(
    num_spherical=3, num_radial=12, num_blocks=1, emb_size_atom=12, emb_size_edge=16, emb_size_trip_in=8,
    emb_size_trip_out=8, emb_size_quad_in=4, emb_size_quad_out=4, emb_size_aint_in=8, emb_size_aint_out=8,
    emb_size_rbf=8, emb_size_cbf=4, emb_size_sbf=4, num_before_skip=1, num_after_skip=1, num_concat=1, num_atom=1,
    num_output_afteratom=1, num_atom_emb_layers=1, num_global_out_layers=1, radial_cutoff=4.0, quad_interaction=False,
    force_branch=False,
)
POLICY = GraphPolicy(name="smooth", cutoff=3.5, a2a_cutoff=4.0, a2ee2a_cutoff=3.5, qint_cutoff=0.0)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Packed]:
    folder = tmp_path_factory.mktemp("mixture")
    recipe = write_mixture(folder)
    return recipe, build(load_mixture(recipe), folder, say=lambda text: None)


def stage(
    prepared: tuple[Path, Packed], folder: Path, n_steps: int, resume: Path | None = None, workers: int = 0,
    processes: int = 1,
) -> Any:
    """One stage with a tiny network; its rows of errors."""
    recipe, packed = prepared
    mixture = load_mixture(recipe)
    heads = tuple(HeadConfig(**{**vars(h), "hidden": 8}) for h in training_model(mixture, packed).heads)
    model = ModelConfig(BACKBONE, POLICY, heads, mixture.default_head, subtract_lone_atom=True, pair_repulsion=True)
    limits = Limits(
        torch.device("cpu"), workers, max_time=1e6, total_time=1e6, processes=processes, max_steps=n_steps,
        cache_bytes=1 << 26,
    )
    return run_stage(
        mixture, read_recipe(recipe), packed, folder, limits, resume=resume, model=model, say=lambda text: None
    )


def mean_forces(rows: list[dict[str, Any]]) -> float:
    """Mean force error over the sets, meV/Å."""
    return float(np.mean([row["forces_mae_meV_per_A"] for row in rows]))


def test_forces_improve_and_two_stages_equal_one(prepared: tuple[Path, Packed], tmp_path: Path) -> None:
    start = mean_forces(stage(prepared, tmp_path / "start", 1))
    stage(prepared, tmp_path / "first", 20)
    rows = stage(prepared, tmp_path / "second", 20, resume=tmp_path / "first")
    at_once = stage(prepared, tmp_path / "whole", 40)
    assert mean_forces(rows) < 0.8 * start
    for row, other in zip(rows, at_once):
        assert row["forces_mae_meV_per_A"] == pytest.approx(other["forces_mae_meV_per_A"], rel=1e-3)
        assert row["step"] == other["step"] == 40
    with (tmp_path / "second" / "metrics.csv").open() as stream:
        assert {row["step"] for row in csv.DictReader(stream)} == {"20", "40"}


def test_written_model_has_kept_heads_references_and_a_card(prepared: tuple[Path, Packed], tmp_path: Path) -> None:
    stage(prepared, tmp_path, 2)
    loaded = load_model(tmp_path / "tiny.safetensors")
    config = loaded.potential.config
    assert [head.name for head in config.heads] == ["metal", "organic"]
    assert config.default_head == "metal"
    assert config.head("metal").elements == (29,)
    assert config.head("organic").elements == (1, 6, 8)
    packed = prepared[1]
    assert config.head("metal").references == packed.sets[0].references  # the first set that the recipe names
    names = {entry["name"] for entry in loaded.card.training_data}
    assert names == {"copper", "copper-shifted", "molecules", "aside"}  # trained on, even where the head is not kept
    assert loaded.card.metrics["copper"]["forces_mae_meV_per_A"] > 0
    atoms = read(prepared[0].parent / "copper.xyz", "0")
    batch = collate([build_graph(atoms.positions, atoms.numbers, atoms.cell.array, atoms.pbc, config.policy)])
    energy = float(loaded.potential(batch, heads="metal").energy)
    assert math.isfinite(energy)
    assert abs(energy - atoms.get_potential_energy()) / len(atoms) < 1.5


def test_another_pack_is_refused_when_resuming(prepared: tuple[Path, Packed], tmp_path: Path) -> None:
    stage(prepared, tmp_path / "first", 1)
    recipe, packed = prepared
    folder = recipe.parent
    other = tmp_path / "other.toml"
    other.write_text(recipe.read_text().replace("cap = 12", "cap = 9"))
    changed = build(load_mixture(other), folder, say=lambda text: None)
    with pytest.raises(UsageError, match="another pack"):
        stage((recipe, changed), tmp_path / "second", 1, resume=tmp_path / "first")
    assert len(changed) != len(packed)


def test_batches_from_worker_processes_are_those_of_this_process(prepared: tuple[Path, Packed], tmp_path: Path) -> None:
    alone = stage(prepared, tmp_path / "alone", 6)
    helped = stage(prepared, tmp_path / "helped", 6, workers=2)
    for row, other in zip(alone, helped):
        assert row["forces_mae_meV_per_A"] == pytest.approx(other["forces_mae_meV_per_A"], rel=1e-3)


def test_two_processes_train_like_one(prepared: tuple[Path, Packed], tmp_path: Path) -> None:
    alone = stage(prepared, tmp_path / "alone", 4)
    shared = stage(prepared, tmp_path / "shared", 4, processes=2)
    for row, other in zip(alone, shared):
        assert row["forces_mae_meV_per_A"] == pytest.approx(other["forces_mae_meV_per_A"], rel=1e-3)


@pytest.mark.parametrize("processes", [1, 2])
def test_an_infinite_loss_stops_with_the_set_named_and_finite_weights_saved(
    prepared: tuple[Path, Packed], tmp_path: Path, processes: int
) -> None:
    recipe, packed = prepared
    energy = np.where(packed.valid, packed.energy, np.inf)
    poisoned = replace(packed, energy=energy)
    with pytest.raises(NotConvergedError, match="loss is not finite at step 0") as caught:
        stage((recipe, poisoned), tmp_path, 3, processes=processes)
    assert packed.sets[0].name in str(caught.value.where)
    state = load_checkpoint(tmp_path / "state.pt")
    assert all(torch.isfinite(value).all() for value in state.weights.values())


def test_the_temperature_of_the_recipe_changes_what_is_drawn(prepared: tuple[Path, Packed], tmp_path: Path) -> None:
    recipe, packed = prepared
    hot = tmp_path / "hot.toml"
    hot.write_text(recipe.read_text().replace("[mixture]", "[mixture]\ntemperature = 1.0"))
    assert mean_forces(stage((hot, packed), tmp_path / "hot", 3)) != mean_forces(stage(prepared, tmp_path / "own", 3))
