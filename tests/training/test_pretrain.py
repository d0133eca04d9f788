"""Pre-training on two made-up levels of theory: it learns, goes on where it stopped, and writes a model that
loads."""

from __future__ import annotations

import dataclasses
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.io import read

from jmp_calc.errors import NotConvergedError, UsageError
from jmp_calc.graph.batch import collate
from jmp_calc.graph.build import build_graph
from jmp_calc.model.config import DefaultHeads
from jmp_calc.training.data.cohesive import cohesive_energies
from jmp_calc.training.pretrain import PretrainResult, pretrain
from jmp_calc.training.pretraining.batches import training_batches
from jmp_calc.training.pretraining.build_pack import build
from jmp_calc.training.pretraining.mixture import load_mixture
from jmp_calc.training.pretraining.network import network_config, with_known_pairs
from jmp_calc.training.pretraining.options import PretrainOptions
from jmp_calc.training.pretraining.pack import load_packed, save_packed
from jmp_calc.training.pretraining.recipe import PretrainRecipe, load_recipe
from jmp_calc.training.pretraining.sets import packed_sets, source_sets, task_of
from jmp_calc.training.run.checkpoint import load_checkpoint
from jmp_calc.training.validation.history import read_history, read_tasks
from jmp_calc.zoo.container import load_model
from tests.training.helpers.mixture_data import write_mixture
from tests.training.helpers.stopped import stopped_at

Prepared = tuple[PretrainRecipe, Path]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    folder = tmp_path_factory.mktemp("mixture")
    recipe = write_mixture(folder)
    pack = folder / "pack.npz"
    save_packed(pack, build(load_mixture(recipe), folder, say=lambda text: None), {})
    return load_recipe(recipe), pack


def with_train(recipe: PretrainRecipe, **changes: object) -> PretrainRecipe:
    return replace(recipe, train=replace(recipe.train, **changes))


def trained(recipe: PretrainRecipe, pack: Path, out: Path, **how: bool) -> PretrainResult:
    return pretrain(recipe, out, PretrainOptions(pack=pack, workers=0), say=lambda text: None, **how)


@pytest.fixture(scope="module")
def finished(prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> PretrainResult:
    """One epoch; its folder is only read."""
    recipe, pack = prepared
    return trained(with_train(recipe, epochs=1), pack, tmp_path_factory.mktemp("finished") / "run")


def mean_forces(result: PretrainResult) -> float:
    """Mean force error over the sets, meV/Å."""
    return float(np.mean([errors.forces_mae_mev_per_a for errors in result.errors.values()]))


def test_it_learns_and_tells_the_errors_of_every_set(prepared: Prepared, tmp_path: Path) -> None:
    recipe, pack = prepared
    result = trained(with_train(recipe, epochs=6), pack, tmp_path)
    rows = read_tasks(tmp_path)
    assert (
        {row["task"] for row in rows}
        == set(result.errors)
        == {"copper", "copper-shifted", "molecules", "aside"}
    )
    first = np.mean([float(row["forces_mae_mev_per_a"]) for row in rows if row["step"] == "0"])
    assert mean_forces(result) < 0.8 * first
    assert result.n_epochs == 6 and (tmp_path / "tasks.svg").exists()


def test_interrupted_and_resumed_equals_uninterrupted_bit_for_bit(prepared: Prepared, tmp_path: Path) -> None:
    recipe, pack = prepared
    whole = load_model(trained(recipe, pack, tmp_path / "whole").model).potential.state_dict()
    with stopped_at(5):
        trained(recipe, pack, tmp_path / "parts")
    parts = load_model(trained(recipe, pack, tmp_path / "parts", resume=True).model).potential.state_dict()
    assert all(torch.equal(value, parts[name]) for name, value in whole.items())
    assert [row.step for row in read_history(tmp_path / "whole" / "metrics.csv")] == [
        row.step for row in read_history(tmp_path / "parts" / "metrics.csv")
    ]


def test_written_model_has_kept_heads_references_and_a_card(
    prepared: Prepared, finished: PretrainResult
) -> None:
    pack = prepared[1]
    loaded = load_model(finished.model.parent / "tiny.safetensors")
    config = loaded.potential.config
    assert [head.name for head in config.heads] == ["metal", "organic"]
    assert config.default_heads == DefaultHeads("organic", "metal")
    assert config.head("metal").theory.functional == "EMT"
    assert (config.head("metal").domain, config.head("organic").domain) == (("crystals",), ("liquids",))
    (errors,) = config.head("organic").errors
    assert (errors.domain, errors.frames) == ("liquids", finished.errors["molecules"].n_structures)
    found = finished.errors["molecules"].forces_mae_mev_per_a
    assert errors.forces_mae_mev_per_a == pytest.approx(found, rel=1e-4)
    assert config.head("metal").elements == (29,)
    assert config.head("organic").elements == (1, 6, 8)
    metal, mean = config.head("metal"), load_packed(pack).sets[0].references[29]
    assert metal.reference_kind == "least_squares"
    assert metal.binding == {29: -cohesive_energies()[29]}
    assert metal.references[29] + metal.binding[29] == pytest.approx(mean, abs=0.1)  # 7 eV are taken off
    assert loaded.card.training_data[1]["energy_constants_ev"] == {"Cu": pytest.approx(7.0, abs=0.1)}
    assert set(metal.pairs or {}) == {"Cu-Cu"}
    assert set(loaded.knowledge.heads) == {"metal", "organic"}
    names = {entry["name"] for entry in loaded.card.training_data}
    assert names == {
        "copper",
        "copper-shifted",
        "molecules",
        "aside",
    }  # trained on, even where the head is not kept
    assert loaded.card.metrics["copper"] == finished.errors["copper"].to_dict()
    atoms = read(pack.parent / "copper.xyz", "0")
    batch = collate([build_graph(atoms.positions, atoms.numbers, atoms.cell.array, atoms.pbc, config.policy)])
    energy = float(loaded.potential(batch, heads="metal").energy.detach())
    assert math.isfinite(energy)
    assert abs(energy - atoms.get_potential_energy()) / len(atoms) < 1.5


def test_another_pack_is_refused_when_resuming(
    prepared: Prepared, finished: PretrainResult, tmp_path: Path
) -> None:
    recipe, pack = prepared
    smaller = replace(
        recipe.mixture, sets=tuple(replace(item, cap=min(item.cap, 9)) for item in recipe.mixture.sets)
    )
    other = tmp_path / "other.npz"
    save_packed(other, build(smaller, pack.parent, say=lambda text: None), {})
    with pytest.raises(UsageError, match="data"):
        trained(with_train(recipe, epochs=1), other, finished.model.parent, resume=True)


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ("mixture.temperature=inf", "data.mixture.temperature: 2.0 -> inf"),
        ("mixture.seed=9", "data.mixture.seed: 0 -> 9"),
        ("mixture.normalisation=jmp", "normalisation: force_scale -> jmp"),
        ("sets.molecules.weight=50.0", "data.mixture.sets.molecules.weight: 2.0 -> 50.0"),
        ("model.dropout=0.3", "data.model.dropout: 0.0 -> 0.3"),
    ],
)
def test_another_mixture_or_network_is_refused_when_resuming(
    prepared: Prepared, finished: PretrainResult, change: str, difference: str
) -> None:
    folder = finished.model.parent
    other = with_train(load_recipe(prepared[1].parent / "tiny.toml", [change]), epochs=1)
    written = (folder / "recipe.yaml").read_text()
    with pytest.raises(UsageError) as refused:
        trained(other, prepared[1], folder, resume=True)
    assert difference in refused.value.fact
    if change.startswith("model"):
        with pytest.raises(UsageError, match="has another network: model.dropout"):
            trained(other, prepared[1], folder, resume=True, override=True)
    assert (folder / "recipe.yaml").read_text() == written


@pytest.mark.parametrize("lost", ["sets", "frames"])
def test_a_pack_without_a_set_of_the_recipe_is_refused(prepared: Prepared, tmp_path: Path, lost: str) -> None:
    """The head of the molecules would have random weights."""
    recipe, pack = prepared
    packed = load_packed(pack)
    molecules = packed.set_index == [item.name for item in packed.sets].index("molecules")
    if lost == "sets":
        packed = replace(
            packed,
            sets=tuple(
                replace(item, name="others") if item.name == "molecules" else item for item in packed.sets
            ),
        )
    else:
        packed = replace(packed, valid=packed.valid | molecules)
    save_packed(tmp_path / "other.npz", packed, {})
    with pytest.raises(UsageError, match="no frames to train on of molecules"):
        trained(recipe, tmp_path / "other.npz", tmp_path / "run")


def same_errors(one: PretrainResult, other: PretrainResult) -> bool:
    """Whether two runs learned the same from as many steps."""
    return one.n_steps == other.n_steps and all(
        other.errors[name].forces_mae_mev_per_a == pytest.approx(errors.forces_mae_mev_per_a, rel=5e-3)
        for name, errors in one.errors.items()
    )


@pytest.mark.slow
def test_batches_of_workers_train_like_those_of_one(
    prepared: Prepared, finished: PretrainResult, tmp_path: Path
) -> None:
    recipe, pack = prepared
    options = PretrainOptions(pack=pack, workers=2)
    helped = pretrain(with_train(recipe, epochs=1), tmp_path / "helped", options, say=lambda text: None)
    assert same_errors(finished, helped)


def test_steps_of_two_processes_train_like_those_of_one(prepared: Prepared, tmp_path: Path) -> None:
    """By AdamW in float64: optimizers follow rounding where few structures leave directions without a
    gradient."""
    recipe, pack = prepared
    plain = with_train(recipe, epochs=1, optim=replace(recipe.train.optim, method="adamw"))
    options = PretrainOptions(pack=pack, workers=0, dtype="float64")
    alone, helped = (
        pretrain(with_train(plain, processes=count), tmp_path / f"by {count}", options, say=lambda text: None)
        for count in (1, 2)
    )
    assert same_errors(alone, helped)


@pytest.mark.parametrize("processes", [1, 2])
def test_an_infinite_loss_stops_with_the_set_named_and_finite_weights_saved(
    prepared: Prepared, tmp_path: Path, processes: int
) -> None:
    recipe, pack = prepared
    packed = load_packed(pack)
    poisoned = tmp_path / "poisoned.npz"
    save_packed(poisoned, replace(packed, energy=np.where(packed.valid, packed.energy, np.inf)), {})
    with pytest.raises(NotConvergedError, match="loss is not finite at step 0") as caught:
        trained(with_train(recipe, processes=processes), poisoned, tmp_path / "run")
    assert any(item.name in str(caught.value.where) for item in packed.sets)
    state = load_checkpoint(tmp_path / "run" / "state.pt")
    assert all(torch.isfinite(value).all() for value in state.weights.values())


@pytest.mark.slow
def test_direct_forces_come_first_and_conservative_ones_last(prepared: Prepared, tmp_path: Path) -> None:
    recipe, pack = prepared
    late = with_train(recipe, epochs=4, forces="direct", conservative_after=0.5)
    result = trained(late, pack, tmp_path)
    loaded = load_model(result.model).potential
    assert all(head.direct_forces for head in loaded.config.heads)
    atoms = read(pack.parent / "copper.xyz", "0")
    batch = collate(
        [build_graph(atoms.positions, atoms.numbers, atoms.cell.array, atoms.pbc, loaded.config.policy)]
    )
    direct = loaded(batch, heads="metal", forces="direct").forces
    conservative = loaded(batch, heads="metal").forces
    assert direct.abs().max() > 0 and not torch.allclose(direct, conservative)
    # The error of the report is that of the slopes of the energy.
    sets = source_sets(recipe, None, PretrainOptions(pack=pack), lambda text: None)
    config = network_config(recipe.model, recipe.mixture, sets, direct_forces=True)
    assert config.backbone.force_branch and result.network == with_known_pairs(config, recipe.mixture, sets)


def test_published_normalisation_counts_energies_by_deviation_and_forces_by_mean_size(
    prepared: Prepared,
) -> None:
    recipe, pack = prepared
    mixture = replace(recipe.mixture, normalisation="jmp")
    for source in packed_sets(load_packed(pack), mixture):
        item = next(item for item in mixture.sets if item.name == source.name)
        task = task_of(source, item, mixture)
        frames = list(source.train)
        rest = [(f.energy or 0.0) - sum(source.references[int(z)] for z in f.numbers) for f in frames]
        assert task.energy_unit == pytest.approx(np.std(rest) or 1.0) and not task.energy_per_atom
        rms = math.sqrt(np.mean(np.concatenate([f.forces for f in frames if f.forces is not None]) ** 2))
        weight = round(np.mean([f.n_atoms for f in frames]))  # λ_F of training.md section 3
        assert task.forces_unit == pytest.approx(rms / weight, rel=1e-4)


def test_the_temperature_of_the_recipe_changes_what_is_drawn(prepared: Prepared, tmp_path: Path) -> None:
    recipe, pack = prepared
    sets = packed_sets(load_packed(pack), recipe.mixture)
    network = network_config(recipe.model, recipe.mixture, sets, direct_forces=False)
    from jmp_calc.model.potential import Potential

    potential, counts = Potential(network), {}
    for temperature in (1.0, 2.0, math.inf):
        warm = replace(recipe, mixture=replace(recipe.mixture, temperature=temperature))
        counts[temperature] = training_batches(sets, warm, potential, torch.device("cpu"), 0).order.enlarged
    assert counts[1.0] != counts[2.0] != counts[math.inf]
    spread = {t: max(c) / min(c) for t, c in counts.items()}
    assert spread[math.inf] < spread[2.0] or spread[math.inf] == pytest.approx(
        2.0
    )  # the weight of the molecules


def test_recipes_with_mistakes_name_table_and_key(prepared: Prepared, tmp_path: Path) -> None:
    text = (prepared[1].parent / "tiny.toml").read_text()
    for old, new, match, where in (
        ("epochs = 2", "epoch = 2", "Unknown key 'epoch'", "train"),
        ("lr = 5e-3", "lr = 'fast'", "Expected a number", "train.optim.lr"),
        ("lr = 5e-3", "", "no learning rate", "train.optim"),
        ("[model]", "[network]", "unknown table", ""),
        ("[mixture]", "[mixture]\ntemperature = 0.0", "not positive", ""),
        (
            "[mixture]",
            '[mixture]\nnormalisation = "none"',
            "Expected one of force_scale, jmp",
            "mixture.normalisation",
        ),
    ):
        path = tmp_path / "recipe.toml"
        path.write_text(text.replace(old, new))
        with pytest.raises(UsageError, match=match) as caught:
            load_recipe(path)
        assert where in str(caught.value.where)


def test_a_finished_folder_is_not_overwritten(
    prepared: Prepared, finished: PretrainResult, tmp_path: Path
) -> None:
    recipe, pack = prepared
    short, folder = with_train(recipe, epochs=1), tmp_path / "run"
    shutil.copytree(finished.model.parent, folder)
    with pytest.raises(UsageError, match="exists already"):
        trained(short, pack, folder)
    again = pretrain(short, folder, PretrainOptions(pack=pack), resume=True, say=lambda text: None)
    assert dataclasses.asdict(again)["n_epochs"] == 1


@pytest.mark.slow
def test_records_on_disk_train_like_the_files_they_come_from(prepared: Prepared, tmp_path: Path) -> None:
    pytest.importorskip("lmdb")
    from jmp_calc.training.records.preprocess import FileInputs, preprocess

    recipe, pack = prepared
    data = pack.parent
    folder = tmp_path / "records"
    preprocess(FileInputs((data / "molecules.xyz",)), folder / "molecules", say=lambda text: None)
    item = next(item for item in recipe.mixture.sets if item.name == "molecules")
    streamed = replace(item, files=(), records="molecules", cap=10**9)
    sets = tuple(streamed if known.name == "molecules" else known for known in recipe.mixture.sets)
    mixed = with_train(replace(recipe, mixture=replace(recipe.mixture, sets=sets)), epochs=2)
    (folder / "copper.xyz").write_bytes((data / "copper.xyz").read_bytes())
    for name in ("shifted.xyz", "aside.xyz"):
        (folder / name).write_bytes((data / name).read_bytes())
    options = PretrainOptions(data=folder)
    result = pretrain(mixed, tmp_path / "run", options, say=lambda text: None)
    rows = [row for row in read_tasks(tmp_path / "run") if row["task"] == "molecules"]
    assert float(rows[-1]["forces_mae_mev_per_a"]) < float(rows[0]["forces_mae_mev_per_a"])
    assert result.errors["molecules"].n_structures == max(1, int(0.2 * 16))
    config = load_model(result.model).potential.config
    assert config.head("organic").elements == (1, 6, 8)
