"""Pre-training: one backbone on several data sets, a head per level of theory, from a recipe (``training.md`` part I).

Example: ``pretrain("jmp-xs", data="data", out="run")`` writes ``run/jmp_xs.safetensors`` with the averaged weights. The loop
is that of fine-tuning; here are the network, the data sets and the files.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jmp_calc.errors import UsageError
from jmp_calc.io.atomic import remove_partial
from jmp_calc.io.outdir import check_free, locked, make_folder, remove_old
from jmp_calc.io.summary import plain, write_text_atomic
from jmp_calc.model.config import ModelConfig, model_config_from_dict, to_dict
from jmp_calc.model.potential import Potential

from .batches import Batches
from .checkpoint import Progress, load_checkpoint
from .config import TrainConfig, config_to_dict
from .continuation import refuse_changes
from .dataset import FrameGraphs
from .distributed import DistributedConfig, started
from .history import METRICS, TASKS
from .loop import fit
from .metrics import Errors
from .mixture import Mixture, changed, mixture_of, parse_table, read_recipe
from .order import Fixed, Mixed
from .pack import build
from .packed import Packed, load_packed, save_packed
from .plots import plot_tasks
from .pretrain_identity import pretrain_identity, refuse_other_network
from .pretrain_model import NetworkOptions, fresh_network, network_config
from .pretrain_sets import Joined, SourceSet, packed_sets, record_set, task_of, with_few_valid
from .publish import publish
from .run_state import STATE_FILE, Job, total_steps
from .runfolder import RunLog, has_state, silent
from .validation import validate
from .world import World

Say = Callable[[str], None]
PACK_FILE = "mixture.npz"
OUTPUTS = (STATE_FILE, METRICS, TASKS, "recipe.yaml", "report.yaml", "tasks.svg", PACK_FILE, "nan-batch.extxyz")
GRAPH_CACHE_BYTES = 4 << 30


@dataclass(frozen=True)
class PretrainOptions:
    """Where a run gets its frames and where it computes."""

    data: Path | None = None
    """Folder with the files of the recipe; they are packed once into the output folder."""
    pack: Path | None = None
    """A pack that was made before, instead of ``data``."""
    device: str = "auto"
    dtype: str = "float32"
    workers: int = 0
    """Processes that prepare batches for a GPU."""
    valid_frames: int | None = None
    """Most validation frames per set while training; None: all. The report always has all."""


@dataclass(frozen=True)
class PretrainRecipe:
    """Everything that a recipe file says."""

    mixture: Mixture
    model: NetworkOptions
    train: TrainConfig
    content: dict[str, Any]
    """The file as it is."""


@dataclass(frozen=True)
class PretrainResult:
    """What a pre-training gave; errors are those of the averaged weights on all validation frames."""

    model: Path
    out: Path
    errors: dict[str, Errors]
    """By data set."""
    n_steps: int
    n_epochs: int
    train_s: float
    network: ModelConfig = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Plain dict without the network."""
        return {"model": str(self.model), "n_steps": self.n_steps, "n_epochs": self.n_epochs,
                "train_s": round(self.train_s, 1),
                "valid": {name: errors.to_dict() for name, errors in self.errors.items()}}


def load_recipe(name_or_path: str | Path, changes: Sequence[str] = ()) -> PretrainRecipe:
    """Read and check a recipe (name or TOML file); UsageError names the table and key that cannot be meant.

    ``changes``: settings to replace, each written as ``train.optim.lr=1e-3``.
    """
    return recipe_of(changed(read_recipe(name_or_path), changes), str(name_or_path))


def recipe_of(content: dict[str, Any], where: str) -> PretrainRecipe:
    """The same from the content of a recipe; ``where`` is named in errors."""
    unknown = sorted(set(content) - {"mixture", "model", "train", "heads", "sets"})
    if unknown:
        raise UsageError(f"The recipe has an unknown table [{unknown[0]}].", where=where,
                         hint="its tables are mixture, model, train, heads and sets")
    model = parse_table(NetworkOptions, content.get("model", {}), "model", where)
    train = parse_table(TrainConfig, _without_averaging(content.get("train", {})), "train", where)
    if train.optim.lr is None:
        raise UsageError("The recipe has no learning rate.", where=f"{where} [train.optim]", hint="lr = 3e-4")
    if train.forces == "none":
        raise UsageError("Pre-training needs forces: conservative or direct.", where=f"{where} [train]")
    return PretrainRecipe(mixture_of(content, where), model, train, content)


def _without_averaging(train: dict[str, Any]) -> dict[str, Any]:
    """The [train] table with ``ema_decay = "none"`` as what it means: TOML has no null."""
    optim = train.get("optim")
    if not isinstance(optim, dict) or optim.get("ema_decay") != "none":
        return train
    return {**train, "optim": {**optim, "ema_decay": None}}


def pretrain(
    recipe: str | Path | PretrainRecipe, out: str | Path, options: PretrainOptions = PretrainOptions(), *,
    resume: bool = False, override: bool = False, overwrite: bool = False,
    distributed: DistributedConfig = DistributedConfig(), say: Say = print,
) -> PretrainResult:
    """Pre-train the network of a recipe, or go on with the run in ``out``.

    Args:
        recipe: name, TOML file, or what ``load_recipe`` gave.
        out: folder for the results; refused if it holds earlier ones, unless ``overwrite`` or ``resume``.
        options: data and device.
        resume: go on with the run in ``out``.
        override: resume although settings or data have changed.
        overwrite: replace earlier results.
        distributed: processes that share the run; all return the same result.
        say: receives lines of progress.
    """
    recipe = recipe if isinstance(recipe, PretrainRecipe) else load_recipe(recipe)
    folder = Path(out)
    with started(distributed, options.device) as world, ExitStack() as stack:
        log = silent
        if world.is_first:
            stack.enter_context(locked(make_folder(folder)))
            remove_partial(folder, outputs(recipe))
            if overwrite and not resume:
                remove_old(folder, outputs(recipe))
            elif not resume:
                check_free(folder, outputs(recipe), resume_hint="--resume goes on with it")
            resume = resume and has_state(folder, say)
            log = stack.enter_context(RunLog(folder, say, resumed=resume))
        return run(recipe, folder, options, resume=world.from_first(resume), override=override, world=world, say=log)


def run(
    recipe: PretrainRecipe, folder: Path, options: PretrainOptions, *, resume: bool, override: bool,
    world: World = World(), say: Say,
) -> PretrainResult:
    """Read, train, validate and write everything into ``folder`` (locked by the caller).

    Called by all processes of ``world``, which see the same folder; the first one packs the data, writes and talks.
    """
    from jmp_calc.device import choose_device, choose_dtype

    began = time.monotonic()
    device, train = world.device or choose_device(options.device), recipe.train
    say = say if world.is_first else silent
    if world.is_first:
        sets = source_sets(recipe, folder, options, say)
    world.wait()  # for the pack, which the others only read
    if not world.is_first:
        sets = source_sets(recipe, folder, options, say)
    facts = pretrain_identity(recipe, sets)
    if resume:
        # The state names its own network, so that an architecture that has changed since cannot slip in.
        state = load_checkpoint(folder / STATE_FILE)
        refuse_changes(state, config_to_dict(train), facts, folder / STATE_FILE, override=override)
        refuse_other_network(state, recipe, folder / STATE_FILE)
        network = model_config_from_dict(state.model_config)
        potential = Potential.from_state(network, state.weights).to(dtype=choose_dtype(options.dtype), device=device)
    else:
        network = network_config(recipe.model, recipe.mixture, sets, direct_forces=train.forces == "direct")
        potential = fresh_network(network, sets, device=device, dtype=choose_dtype(options.dtype), seed=train.seed)
    if world.is_first:
        write_text_atomic(folder / "recipe.yaml", _yaml({"recipe": recipe.content, "training": config_to_dict(train)}))
    path = folder / model_name(recipe.mixture)
    everything = validation_batches(sets, recipe, potential, device, world)
    some = everything if options.valid_frames is None else validation_batches(
        [with_few_valid(source, options.valid_frames) for source in sets], recipe, potential, device, world)
    described = [source.described for source in sets]

    def save(name: str, progress: Progress) -> None:
        if name == "last":
            publish(path, potential, recipe.mixture, described, {})

    job = Job(potential, training_batches(sets, recipe, potential, device, options.workers, world), some, folder,
              to_dict(network), facts, save, say, time.monotonic() - began, world=world)
    steps = total_steps(job.train, train)
    say(f"{sum(p.numel() for p in potential.parameters()):,} weights, {len(sets)} sets under {len(network.heads)} heads, "
        f"{job.train.n_structures} structures per epoch at temperature {recipe.mixture.temperature:g}, "
        f"{f'{steps} steps' if steps else 'as many steps as fit'}, {device}")
    history = fit(job, train, resume=resume, override=override)
    progress = load_checkpoint(folder / STATE_FILE).progress
    _, predictions = validate(potential, everything, train.loss, train.final_forces, world)
    errors = predictions.errors_by_group(everything.task_names)
    rows = world.from_first(history.rows)
    result = PretrainResult(path, folder, errors, progress.step, progress.epoch, rows[-1].elapsed_s, network)
    if world.is_first:
        publish(path, potential, recipe.mixture, described, errors)
        plot_tasks(folder / "tasks.svg", folder)
        write_text_atomic(folder / "report.yaml", _yaml(result.to_dict()))
    for name, found in errors.items():
        say(f"{name}: {found}")
    return result


def outputs(recipe: PretrainRecipe) -> tuple[str, ...]:
    """Names of all files that a run writes."""
    return (model_name(recipe.mixture), *OUTPUTS)


def model_name(mixture: Mixture) -> str:
    """Name of the model file."""
    return f"{mixture.name.replace('-', '_')}.safetensors"


def source_sets(
    recipe: PretrainRecipe, folder: Path | None, options: PretrainOptions, say: Say
) -> list[SourceSet]:
    """All data sets in the order of the recipe, from the pack and from record folders; see ``mixture_frames``.

    UsageError naming those that the pack lacks.
    """
    mixture, found = recipe.mixture, {}
    if any(item.files for item in mixture.sets):
        found = {source.name: source for source in packed_sets(mixture_frames(recipe, folder, options, say), mixture)}
    for item in mixture.sets:
        if item.records:
            found[item.name] = record_set(item, options.data or Path(), mixture)
    absent = [item.name for item in mixture.sets if item.name not in found]
    if absent:  # their heads would be written untrained
        raise UsageError(f"The pack has no frames to train on of {', '.join(absent)}.", where=str(options.pack or folder),
                         hint="pack anew with --data FOLDER, or take the sets (and heads that only they train) out of the recipe")
    return [found[item.name] for item in mixture.sets]


def mixture_frames(recipe: PretrainRecipe, folder: Path | None, options: PretrainOptions, say: Say) -> Packed:
    """The frames of all files: from a given pack, from the one in ``folder``, or read from the data and packed there.

    Without a folder nothing is written.
    """
    own = None if folder is None else folder / PACK_FILE
    if options.pack is not None:
        return load_packed(options.pack)
    if own is not None and own.is_file():
        return load_packed(own)
    if options.data is None:
        raise UsageError("There are no data.", where=recipe.mixture.name, hint="--data FOLDER with the files of the recipe")
    packed = build(recipe.mixture, options.data, say=say)
    if own is not None:
        save_packed(own, packed, recipe.content)
    return packed


def training_batches(
    sets: Sequence[SourceSet], recipe: PretrainRecipe, potential: Potential, device: torch.device, workers: int,
    world: World = World(),
) -> Batches:
    """The mixed stream of training frames."""
    mixture, config = recipe.mixture, recipe.train
    sizes = np.concatenate([source.train_sizes for source in sets])
    weights = {item.name: item.weight for item in mixture.sets}
    order = Mixed(
        tuple(len(source.train) for source in sets), sizes, mixture.temperature, config.max_edges_per_batch,
        config.batch_size or 32, tuple(weights[source.name] for source in sets), mixture.seed, config.accumulate,
    )
    graphs = _graphs(sets, [source.train for source in sets], sizes, recipe, potential)
    return Batches(graphs, order, device=device, workers=workers, rank=world.rank, world_size=world.size)


def validation_batches(
    sets: Sequence[SourceSet], recipe: PretrainRecipe, potential: Potential, device: torch.device, world: World = World()
) -> Batches:
    """All validation frames, never re-balanced."""
    sizes = np.concatenate([source.valid_sizes for source in sets])
    if not len(sizes):
        raise UsageError("No set has validation frames.", where=f"recipe {recipe.mixture.name}",
                         hint="raise mixture.validation_fraction or mixture.validation_max, or give valid_records")
    graphs = _graphs(sets, [source.valid for source in sets], sizes, recipe, potential)
    room = max(recipe.train.max_edges_per_batch, int(sizes[:, 1].max()))
    return Batches(graphs, Fixed(sizes, max_edges=room), device=device, rank=world.rank, world_size=world.size)


def _graphs(
    sets: Sequence[SourceSet], frames: Sequence[Sequence[Any]], sizes: np.ndarray, recipe: PretrainRecipe,
    potential: Potential,
) -> FrameGraphs:
    items = {item.name: item for item in recipe.mixture.sets}
    tasks = [task_of(source, items[source.name], recipe.mixture) for source in sets]
    numbers = np.repeat(np.arange(len(sets), dtype=np.uint8), [len(part) for part in frames])
    return FrameGraphs(
        Joined(frames), potential.config.policy, tasks, task_of=numbers, qint_tags=potential.config.backbone.qint_tags,
        cache_bytes=GRAPH_CACHE_BYTES, sizes=sizes, edge_dropout=recipe.train.edge_dropout,
        dropout_seed=recipe.train.seed, dropout_compensation=recipe.train.edge_dropout_compensation,
    )


def _yaml(content: Any) -> str:
    import yaml

    return yaml.safe_dump(plain(content), sort_keys=False, allow_unicode=True, width=110)


