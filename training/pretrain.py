"""Pre-training: one backbone on several data sets, a head per level of theory, from a recipe (``training.md``
part I).

Example: ``pretrain("jmp-xs", data="data", out="run")`` writes ``run/jmp_xs.safetensors`` with the averaged
    weights. The loop is that of fine-tuning; here are the network, the data sets and the files.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jmp_calc.io.atomic import remove_partial
from jmp_calc.io.outdir import check_free, locked, make_folder, remove_old
from jmp_calc.io.progress import Say
from jmp_calc.io.summary import plain, write_text_atomic
from jmp_calc.model.config import ModelConfig, to_dict

from .config import config_to_dict
from .distributed.launch import DistributedConfig, started
from .distributed.world import World
from .loop import fit
from .pretraining.batches import training_batches, validation_batches
from .pretraining.identity import pretrain_identity, refuse_other_network
from .pretraining.network import fresh_network, network_config
from .pretraining.options import PretrainOptions
from .pretraining.publish import publish
from .pretraining.recipe import PretrainRecipe, load_recipe, model_name, outputs
from .pretraining.sets import source_sets, with_few_valid
from .run.checkpoint import Progress
from .run.folder import has_state
from .run.job import STATE_FILE, Job, total_steps
from .run.log import RunLog, silent
from .run.resume import resumed
from .validation.metrics import Errors
from .validation.plots import plot_tasks
from .validation.validate import validate


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
        return {
            "model": str(self.model),
            "n_steps": self.n_steps,
            "n_epochs": self.n_epochs,
            "train_s": round(self.train_s, 1),
            "valid": {name: errors.to_dict() for name, errors in self.errors.items()},
        }


def pretrain(
    recipe: str | Path | PretrainRecipe,
    out: str | Path,
    options: PretrainOptions = PretrainOptions(),
    *,
    resume: bool = False,
    override: bool = False,
    overwrite: bool = False,
    distributed: DistributedConfig = DistributedConfig(),
    say: Say = print,
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
        return run(
            recipe, folder, options, resume=world.from_first(resume), override=override, world=world, say=log
        )


def run(
    recipe: PretrainRecipe,
    folder: Path,
    options: PretrainOptions,
    *,
    resume: bool,
    override: bool,
    world: World = World(),
    say: Say,
) -> PretrainResult:
    """Read, train, validate and write everything into ``folder`` (locked by the caller).

    Called by all processes of ``world``, which see the same folder; the first one packs the data, writes and
    talks.
    """
    from jmp_calc.machine.device import choose_device, choose_dtype

    began = time.monotonic()
    device, train = world.device or choose_device(options.device), recipe.train
    say = say if world.is_first else silent
    if world.is_first:
        sets = source_sets(recipe, folder, options, say)
    world.wait()  # for the pack, which the others only read
    if not world.is_first:
        sets = source_sets(recipe, folder, options, say)
    facts = pretrain_identity(recipe, sets)
    state, dtype = None, choose_dtype(options.dtype)
    if resume:
        potential, state = resumed(folder, train, facts, dtype=dtype, device=device, override=override)
        refuse_other_network(state, recipe, folder / STATE_FILE)
    else:
        network = network_config(recipe.model, recipe.mixture, sets, direct_forces=train.forces == "direct")
        potential = fresh_network(network, sets, device=device, dtype=dtype, seed=train.seed)
    network = potential.config
    if world.is_first:
        write_text_atomic(
            folder / "recipe.yaml", _yaml({"recipe": recipe.content, "training": config_to_dict(train)})
        )
    path = folder / model_name(recipe.mixture)
    everything = validation_batches(sets, recipe, potential, device, world)
    some = (
        everything
        if options.valid_frames is None
        else validation_batches(
            [with_few_valid(source, options.valid_frames) for source in sets],
            recipe,
            potential,
            device,
            world,
        )
    )
    described = [source.described for source in sets]

    def save(name: str, progress: Progress) -> None:
        if name == "last":
            publish(path, potential, recipe.mixture, described, {})

    job = Job(
        potential,
        training_batches(sets, recipe, potential, device, options.workers, world),
        some,
        folder,
        to_dict(network),
        facts,
        save,
        say,
        time.monotonic() - began,
        world=world,
    )
    steps = total_steps(job.train, train)
    say(
        f"{sum(p.numel() for p in potential.parameters()):,} weights, {len(sets)} sets under "
        f"{len(network.heads)} heads, "
        f"{job.train.n_structures} structures per epoch at temperature {recipe.mixture.temperature:g}, "
        f"{f'{steps} steps' if steps else 'as many steps as fit'}, {device}"
    )
    fitted = fit(job, train, state)
    progress = fitted.progress
    _, predictions = validate(potential, everything, train.loss, train.final_forces, world)
    errors = predictions.errors_by_group(everything.task_names)
    rows = world.from_first(fitted.history.rows)
    result = PretrainResult(path, folder, errors, progress.step, progress.epoch, rows[-1].elapsed_s, network)
    if world.is_first:
        publish(path, potential, recipe.mixture, described, errors)
        plot_tasks(folder / "tasks.svg", folder)
        write_text_atomic(folder / "report.yaml", _yaml(result.to_dict()))
    for name, found in errors.items():
        say(f"{name}: {found}")
    return result


def _yaml(content: Any) -> str:
    import yaml

    return yaml.safe_dump(plain(content), sort_keys=False, allow_unicode=True, width=110)
