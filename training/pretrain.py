"""Pre-training: one backbone on several data sets, a head per level of theory, from a recipe (``training.md``
part I).

Example: ``pretrain("jmp-xs", data="data", out="run")`` writes ``run/jmp_xs.safetensors`` with the averaged
    weights. The loop is that of fine-tuning; here are the network, the data sets and the files.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jmp_calc.errors import ModelError
from jmp_calc.io.outdir import HeldFolder
from jmp_calc.io.progress import Say
from jmp_calc.io.summary import plain, write_text_atomic
from jmp_calc.machine.device import choose_device, choose_dtype
from jmp_calc.model.config import ModelConfig, to_dict

from .config import config_to_dict
from .distributed.launch import DistributedConfig, started
from .distributed.world import World
from .loop import Fitted, fit
from .pretraining.batches import training_batches, validation_batches
from .pretraining.chain import write_stage
from .pretraining.domains import Domains, domains_with_errors
from .pretraining.identity import pretrain_identity, refuse_other_network
from .pretraining.network import continued_network, fresh_network, network_config, with_known_pairs
from .pretraining.options import PretrainOptions, pack_file
from .pretraining.publish import publish
from .pretraining.recipe import PretrainRecipe, load_recipe, model_name, outputs, stage_name
from .pretraining.sets import source_sets, task_of, with_few_valid
from .pretraining.source_set import SourceSet
from .pretraining.widen import widened
from .run.checkpoint import Checkpoint, Progress
from .run.folder import OpenedRun, Restart, opened_run
from .run.job import STATE_FILE, Job, total_steps
from .run.resume import resumed
from .targets.next_line import next_line
from .validation.judged import judged, left_out
from .validation.knowledge import Seen, knowledge_of
from .validation.metrics import Errors, Predictions
from .validation.plots import plot_tasks
from .validation.validate import validate

if TYPE_CHECKING:
    import torch

    from jmp_calc.model.potential import Potential
    from jmp_calc.zoo.knowledge import Knowledge

    from .batches.loader import Batches


@dataclass(frozen=True)
class PretrainResult:
    """What a pre-training gave; errors are those of the averaged weights on all validation frames."""

    model: Path
    """The file with all kept heads."""
    out: Path
    """Folder of the run."""
    errors: dict[str, Errors]
    """By data set."""
    n_steps: int
    """Optimizer steps, over all restarts."""
    n_epochs: int
    """Passes over the data."""
    train_s: float
    """Seconds of the time budget that were used, over all restarts."""
    next_line: str
    """The line of Python that uses the model."""
    network: ModelConfig
    """Configuration of the network that was trained."""

    def __repr__(self) -> str:
        errors = "; ".join(f"{name} {found}" for name, found in self.errors.items())
        return f"PretrainResult({self.model}: {self.n_steps} steps, {errors})"

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
    out: str | Path | HeldFolder,
    options: PretrainOptions = PretrainOptions(),
    *,
    resume: bool = False,
    override: bool = False,
    overwrite: bool = False,
    distributed: DistributedConfig | World = DistributedConfig(),
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
        distributed: processes that share the run; all return the same result. A World: this process is one of
            them already.
        say: receives lines of progress.

    Raises:
        UsageError: settings that contradict each other, or a folder that cannot be used.
        BadInputError: data that cannot be read.
        ModelError: no head is fit to be saved.
    """
    recipe = recipe if isinstance(recipe, PretrainRecipe) else load_recipe(recipe)
    options.check()
    restart = Restart(resume, override, overwrite)
    folder, inputs = out if isinstance(out, HeldFolder) else Path(out), pack_file(options)
    with (
        started(distributed, options.device) as world,
        opened_run(folder, outputs(recipe), world, restart, inputs=inputs, say=say) as opened,
    ):
        run = begun_run(recipe, options, opened)
        return evaluated(run, trained(run))


@dataclass(frozen=True, eq=False)
class BegunRun:
    """A pre-training that is ready to train: every process of it has one."""

    recipe: PretrainRecipe
    opened: OpenedRun
    began: float
    """time.monotonic() at the start; the time budget counts from here."""
    device: torch.device
    sets: list[SourceSet]
    facts: dict[str, Any]
    """Identity of data and network; a resumed run must have the same."""
    potential: Potential
    """Trained in place; of a resumed run the one of its state."""
    checkpoint: Checkpoint | None
    train: Batches
    few: Batches
    """Validation frames while training;"""
    all_: Batches
    """and all of them, for the report."""

    @property
    def model_file(self) -> Path:
        """Where the model is written."""
        return self.opened.folder / model_name(self.recipe.mixture)

    def publish(
        self,
        errors: Mapping[str, Errors],
        unfit: Mapping[str, str] | None = None,
        domains: Domains | None = None,
    ) -> None:
        """Write the model as it is now; with ``domains`` it is final, and has statistics of its features on
        the training data."""
        described = [source.described for source in self.sets]
        known = None if domains is None else self.known(unfit or {})
        publish(
            self.model_file,
            self.potential,
            self.recipe.mixture,
            described,
            errors,
            unfit=unfit,
            knowledge=known,
            domains=domains or Domains(),
        )

    def known(self, unfit: Mapping[str, str]) -> Knowledge:
        """Statistics of the heads that are written."""
        mixture, items = self.recipe.mixture, {item.name: item for item in self.recipe.mixture.sets}
        seen = [
            Seen(task_of(source, items[source.name], mixture), source.train, source.valid)
            for source in self.sets
            if mixture.head(items[source.name].head).keep and items[source.name].head not in unfit
        ]
        return knowledge_of(self.potential, seen, self.device)

    def write_stage(self, state: Checkpoint) -> None:
        """Write what the next stage of a chain starts from."""
        stage, mixture = self.recipe.stage, self.recipe.mixture
        if stage is not None:
            described = [source.described for source in self.sets]
            write_stage(self.opened.folder / stage_name(mixture), state, stage, mixture.name, described)


def begun_run(recipe: PretrainRecipe, options: PretrainOptions, opened: OpenedRun) -> BegunRun:
    """Read the data, make the network and the batches, read the state of a resumed run, and write the
    settings.

    The first process packs the data, and the others read the pack.
    """
    began, world, train = time.monotonic(), opened.world, recipe.train
    device, dtype = world.device or choose_device(options.device), choose_dtype(options.dtype)
    if world.is_first:
        sets = source_sets(recipe, opened.folder, options, opened.say)
    world.wait()  # for the pack, which the others only read
    if not world.is_first:
        sets = source_sets(recipe, opened.folder, options, opened.say)
    if recipe.stage is not None:  # the time of a stage is for training, that of making frames is not known
        began = time.monotonic()
    facts = pretrain_identity(recipe, sets)
    checkpoint: Checkpoint | None = None
    if opened.resume:
        potential, checkpoint = resumed(
            opened.folder, train, facts, dtype=dtype, device=device, override=opened.override
        )
        refuse_other_network(checkpoint, recipe, opened.folder / STATE_FILE)
        recipe = in_widths_of(potential.config, recipe)
    else:
        network = network_config(recipe.model, recipe.mixture, sets, direct_forces=train.forces == "direct")
        network = with_known_pairs(network, recipe.mixture, sets)
        recipe = in_widths_of(network, recipe)
        potential = started_network(recipe, network, sets, device, dtype)
    if world.is_first:
        settings = {"recipe": recipe.content, "training": config_to_dict(train)}
        write_text_atomic(opened.folder / "recipe.yaml", _yaml(settings))
    batches = training_batches(sets, recipe, potential, device, options.workers, world)
    few = all_ = validation_batches(sets, recipe, potential, device, world)
    if options.valid_frames is not None:
        fewer = [with_few_valid(source, options.valid_frames) for source in sets]
        few = validation_batches(fewer, recipe, potential, device, world)
    return BegunRun(recipe, opened, began, device, sets, facts, potential, checkpoint, batches, few, all_)


def in_widths_of(network: ModelConfig, recipe: PretrainRecipe) -> PretrainRecipe:
    """The recipe with the stage before as wide as the network that goes on from it."""
    if recipe.stage is None or recipe.stage.start is None:
        return recipe
    start = widened(recipe.stage.start, network, seed=recipe.train.seed)
    return replace(recipe, stage=replace(recipe.stage, start=start))


def started_network(
    recipe: PretrainRecipe,
    network: ModelConfig,
    sets: list[SourceSet],
    device: torch.device,
    dtype: torch.dtype,
) -> Potential:
    """The network before its first step: new, or as the stage before left it."""
    seed = recipe.train.seed
    if recipe.stage is None or recipe.stage.start is None:
        return fresh_network(network, sets, device=device, dtype=dtype, seed=seed)
    return continued_network(network, recipe.stage.start, device=device, dtype=dtype, seed=seed)


def trained(run: BegunRun) -> Fitted:
    """Train the network in place; the model is written at the end."""
    recipe, opened, potential = run.recipe, run.opened, run.potential

    def save(name: str, progress: Progress) -> None:
        if name == "last":
            run.publish({})

    steps = total_steps(run.train, recipe.train)
    opened.say(
        f"{sum(p.numel() for p in potential.parameters()):,} weights, {len(run.sets)} sets under "
        f"{len(potential.config.heads)} heads, "
        f"{run.train.n_structures} structures per epoch at temperature {recipe.mixture.temperature:g}, "
        f"{f'{steps} steps' if steps else 'as many steps as fit'}, {run.device}"
    )
    start = None if recipe.stage is None else recipe.stage.start
    job = Job(
        potential,
        run.train,
        run.few,
        opened.folder,
        to_dict(potential.config),
        run.facts,
        save,
        opened.say,
        time.monotonic() - run.began,
        world=opened.world,
        averages={} if start is None else start.averages,
        steps_before=0 if start is None else start.steps,
        state_saved=run.write_stage,
    )
    return fit(job, recipe.train, run.checkpoint)


def evaluated(run: BegunRun, fitted: Fitted) -> PretrainResult:
    """Errors on all validation frames; writes the report and the final card."""
    train, opened, progress = run.recipe.train, run.opened, fitted.progress
    _, predictions = validate(run.potential, run.all_, train.loss, train.final_forces, opened.world)
    errors = predictions.errors_by_group(run.all_.task_names)
    rows = opened.world.from_first(fitted.history.rows)
    result = PretrainResult(
        run.model_file,
        opened.folder,
        errors,
        progress.step,
        progress.epoch,
        rows[-1].elapsed_s,
        next_line(run.model_file, None, train.final_forces),
        run.potential.config,
    )
    unfit = unfit_heads(run, predictions)
    for name, reason in unfit.items():
        opened.say(f"the head {name} is left out: {reason}")
    if opened.world.is_first:
        try:
            run.publish(errors, unfit, domains_with_errors(run.recipe.mixture, run.sets, predictions))
        except ModelError:
            run.model_file.unlink(missing_ok=True)  # written while training, before anything was judged
            raise
        plot_tasks(opened.folder / "tasks.svg", opened.folder)
        write_text_atomic(opened.folder / "report.yaml", _yaml(result.to_dict()))
    for name, found in errors.items():
        opened.say(f"{name}: {found}")
    opened.say(f"next: {result.next_line}")
    return result


def unfit_heads(run: BegunRun, predictions: Predictions) -> dict[str, str]:
    """Heads that are not shipped, and why; between the stages of a chain nothing is shipped yet."""
    stage, network = run.recipe.stage, run.potential.config
    if stage is not None and not stage.options.last:
        return {}
    heads = {item.name: item.head for item in run.recipe.mixture.sets}
    skills = judged(predictions, [heads[name] for name in run.all_.task_names])
    return left_out(skills, network.heads, lone_atoms=network.subtract_lone_atom)


def _yaml(content: Any) -> str:
    import yaml

    return yaml.safe_dump(plain(content), sort_keys=False, allow_unicode=True, width=110)
