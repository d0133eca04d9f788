"""Fine-tuning: from labelled structures to a model, with an audit before and a report after.

Example: ``finetune("train.extxyz", model="jmp-xs", out="run")`` writes ``run/best.safetensors``; then
``atoms.calc = JMPCalculator("run/best.safetensors")``. A run is begun (network, batches, settings on disk),
trained and evaluated, in this order.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from jmp_calc.io.outdir import HeldFolder
from jmp_calc.io.progress import Say
from jmp_calc.machine.device import choose_device
from jmp_calc.model.config import to_dict

from .combined import combined
from .config import ForcesMode, TrainConfig, config_to_dict
from .data.keys import LabelKeys
from .data.label_units import StressSign
from .data.sources import Labelled
from .distributed.launch import DistributedConfig, started
from .distributed.world import World
from .finetuning.arguments import Given, TrainSettings
from .finetuning.batches import evaluation_batches, training_batches
from .finetuning.bound import binding_notes, put_back
from .finetuning.card import Card, saved_weights
from .finetuning.continued import with_data_of_now, with_fixed_heads
from .finetuning.final import Model, same_weights, write_models
from .finetuning.fitted_energies import with_fitted_energies
from .finetuning.forgetting import retained
from .finetuning.identity import run_identity
from .finetuning.options import DataOptions, ModelOptions, input_files, start_file
from .finetuning.prepare import Prepared, prepare
from .finetuning.recipes import finetune_recipe
from .finetuning.report import OUTPUTS, write_report, write_settings
from .finetuning.result import Before, TrainResult, result_of, spoken
from .finetuning.start import Start, make_start, resolved, to_publish
from .loop import Fitted, fit
from .optim.lora import merged
from .optim.schedule_report import rate_lines
from .run.checkpoint import Checkpoint, Progress
from .run.folder import OpenedRun, Restart, opened_run
from .run.job import Job, total_steps
from .run.resume import resumed
from .targets.options import TargetTask, as_task
from .validation.loggers import LoggerName, open_loggers, require_installed
from .validation.metrics import Errors
from .validation.validate import validate

if TYPE_CHECKING:
    from jmp_calc.model.potential import Potential

    from .batches.loader import Batches
    from .validation.validate import Retained


def finetune(
    train: Labelled | None = None,
    *,
    valid: Labelled | None = None,
    test: Labelled | None = None,
    model: str = ModelOptions.model,
    out: str | Path | HeldFolder = "run",
    head: str = ModelOptions.head,
    head_name: str = ModelOptions.head_name,
    target: str | TargetTask | None = None,
    recipe: str | None = None,
    epochs: int | None = None,
    max_steps: int | None = None,
    max_time: float | None = None,
    lr: float | None = None,
    batch_size: int | None = None,
    forces: ForcesMode | None = None,
    seed: int | None = None,
    energy_key: str | None = None,
    forces_key: str | None = None,
    stress_key: str | None = None,
    virials_key: str | None = None,
    energy_unit: str | None = None,
    length_unit: str | None = None,
    forces_unit: str | None = None,
    stress_unit: str | None = None,
    stress_sign: StressSign | None = None,
    valid_fraction: float | None = None,
    references: str | Path | dict[str, float] | None = None,
    config: TrainSettings | None = None,
    data: DataOptions | None = None,
    start: ModelOptions | None = None,
    device: str = "auto",
    dtype: str = ModelOptions.dtype,
    resume: bool = False,
    override: bool = False,
    overwrite: bool = False,
    loggers: Sequence[LoggerName] = (),
    distributed: DistributedConfig | World | None = None,
    say: Say = print,
) -> TrainResult:
    """Fine-tune a model on labelled structures.

    What an argument and a dataclass of settings (``config``, ``data``, ``start``) both say must be the same.

    Args:
        train: labelled frames: a file in any format that ASE reads, packed or not; a folder; a pattern
            (``runs/*.traj``); several of them; or a list of ase.Atoms with their labels in ``calc``,
            ``info`` or ``arrays``. Default: None.
        valid: frames to choose the best model by; a share of the training frames if none are given. Default:
            None.
        test: frames that are evaluated before and after training. Default: None.
        model: name (jmp-xs, jmp-s, jmp-l), or path of a .safetensors file of ours or of an official .pt file,
            to start from; ``scratch:NAME`` takes its architecture only. Default: "jmp-xs".
        out: output folder; refused if it holds an earlier run, unless ``overwrite`` or ``resume``. Default:
            "run".
        head: old head that the new one starts from: auto (smallest force error on a few frames), scratch (new
            weights), or a name. Default: "auto".
        head_name: name of the new head. Default: "finetuned".
        target: key of a scalar, class or vector of every structure to train on instead of energies and
            forces; from Python a TargetTask says more about it. Default: None.
        recipe: published task by name (rmd17-aspirin), see jmp-calc recipes list; the training data are then
            the folder of its data set. Default: None.
        epochs: passes over the data; 100, or as many as the time allows, if no number is given. Default:
            None.
        max_steps: optimizer steps after which the run ends. Default: None.
        max_time: wall time, seconds (on the command line also 10m, 2h); the learning rate reaches its end
            within it. Default: None.
        lr: peak learning rate; by size of the network if none is given. Default: None.
        batch_size: most structures per batch; 4 to 32, by number of frames, if no number is given. Default:
            None.
        forces: kind of forces, conservative (slope of the energy) or direct (a network of their own);
            conservative if nothing is said. Default: None.
        seed: random seed of the split and of the training; 0 if none is given. Default: None.
        energy_key: name of the energy in the data; found automatically if none is given. Default: None.
        forces_key: name of the forces. Default: None.
        stress_key: name of the stress (ASE's sign). Default: None.
        virials_key: name of the virials (stress = -virials / volume). Default: None.
        energy_unit: unit of energies that are not in eV, in all files: hartree, kcal/mol, ... Default: None.
        length_unit: unit of lengths that are not in Å, in all files: bohr, nm. Default: None.
        forces_unit: unit of forces, such as hartree/bohr. Default: None.
        stress_unit: unit of stresses, such as GPa or kbar. Default: None.
        stress_sign: what is positive: tension as in ASE, or pressure as VASP prints it. Default: None.
        valid_fraction: share of the training frames used for validation, in contiguous blocks; 0.1 if none is
            given. Default: None.
        references: reference energies: auto, isolated, lstsq, a YAML file {C: -1029.5, ...} in eV, or a file
            of atoms; from Python also energies by symbol. Default: None.
        config: loss, optimizer, length; or a function that changes the settings of a recipe or the defaults.
            Default: None.
        data: further choices about the data: index, split, audit, earlier data. Default: None.
        start: further choices about the start model: kept heads, graphs. Default: None.
        device: where the network runs: auto (CUDA if there is one), cpu, cuda or cuda:N. Default: "auto".
        dtype: precision of the weights, float32 or float64. Default: "float32".
        resume: go on with the run in the output folder; from the start, if it was killed before its first
            saved state. Default: False.
        override: resume although settings or data have changed. Default: False.
        overwrite: replace earlier outputs (default: refuse). Default: False.
        loggers: ``tensorboard``, ``wandb``: receive the rows of metrics.csv too. Default: ().
        distributed: processes that share the run, all of which return the same result; those of torchrun or
            srun, or one, if nothing is said. A World: this process is one of them already. Default: None.
        say: receives lines of progress. Default: print.

    Returns:
        errors before and after, paths of the models, all settings as they were resolved.

    Raises:
        UsageError: settings that contradict each other, or a folder that cannot be used.
        BadInputError: data that cannot be read, or that the audit refuses.
        ModelError: a start model or head that is not there or does not fit.
    """
    given = Given(
        {"epochs": epochs, "max_steps": max_steps, "max_time": max_time, "batch_size": batch_size}
        | {"forces": forces, "seed": seed},
        optim={"lr": lr},
    )
    settings, data = given.beside(config), data or DataOptions()
    keys = {"energy": energy_key, "forces": forces_key, "stress": stress_key, "virials": virials_key}
    about_data = {
        "train": train,
        "valid": valid,
        "test": test,
        "keys": combined(data.keys, keys, "data.keys"),
        "target": as_task(target, data.target),
        "recipe": None if recipe is None else finetune_recipe(recipe),
        "energy_unit": energy_unit,
        "length_unit": length_unit,
        "forces_unit": forces_unit,
        "stress_unit": stress_unit,
        "stress_sign": stress_sign,
        "valid_fraction": valid_fraction,
        "references": references,
        "seed": seed,
    }
    data = combined(dataclasses.replace(data, keys=LabelKeys()), about_data, "data")
    about_start = {"model": model, "head": head, "head_name": head_name, "dtype": dtype}
    start = combined(start or ModelOptions(), about_start, "start")
    restart = Restart(resume, override, overwrite)
    require_installed(loggers)
    folder = out if isinstance(out, HeldFolder) else Path(out)
    inputs = (*input_files(data), *start_file(start))
    with (
        started(distributed or DistributedConfig(), device) as world,
        opened_run(folder, OUTPUTS, world, restart, inputs=inputs, say=say) as opened,
    ):
        prepared = prepare(data, start, settings, opened.say)
        prepared.audit.raise_if_refused()
        run = begun_run(prepared, opened, world.device or choose_device(device))
        before = measured_before(run)
        return evaluated(run, before, trained(run, loggers))


@dataclass(frozen=True, eq=False)
class BegunRun:
    """A run that is ready to train: every process of it has one."""

    prepared: Prepared
    """With all settings resolved."""
    begun: Start
    card: Card
    opened: OpenedRun
    device: torch.device
    potential: Potential
    """Trained in place; of a resumed run the one of its state."""
    checkpoint: Checkpoint | None
    """Where a resumed run goes on."""
    facts: dict[str, object]
    """Identity of the data and the start model; a resumed run must have the same."""
    train: Batches
    valid: Batches
    test: Batches
    few: tuple[Retained, ...]
    """Some frames of the earlier data, for validations;"""
    all_: tuple[Retained, ...]
    """and all of them, for before and after."""


def begun_run(prepared: Prepared, opened: OpenedRun, device: torch.device) -> BegunRun:
    """Make the network and the batches, read the state of a resumed run, and write the settings."""
    world = opened.world
    begun = make_start(prepared, device)
    for message in begun.messages:
        opened.say(message)
    prepared = resolved(prepared, begun.potential)
    config, facts = prepared.config, run_identity(prepared, begun)
    potential, checkpoint = begun.potential, None
    if opened.resume:
        dtype = potential.dtype
        potential, checkpoint = resumed(
            opened.folder, config, facts, dtype=dtype, device=device, override=opened.override
        )
        potential = with_data_of_now(potential, checkpoint, facts, begun, prepared.train, config)
    valid, test = (
        evaluation_batches(frames, potential, begun, config, device, world)
        for frames in (prepared.valid, prepared.test)
    )
    few, all_ = (
        retained(begun.retained, potential.config, config, device, world, few=few) for few in (True, False)
    )
    if world.is_first:
        write_settings(opened.folder, prepared)
    train, card = training_batches(prepared, potential, begun, device, world), Card.of(prepared, begun)
    return BegunRun(
        prepared, begun, card, opened, device, potential, checkpoint, facts, train, valid, test, few, all_
    )


def measured_before(run: BegunRun) -> Before:
    """Errors on the test frames and on all earlier data, the latter of the start: a resumed run compares with
    the same numbers."""
    config, say, test = run.prepared.config, run.opened.say, None
    if run.prepared.test and run.checkpoint is None:
        _, predictions = validate(run.potential, run.test, config.loss, config.final_forces, run.opened.world)
        test = predictions.errors()
        say(f"test, before training: {test}")
    earlier = tuple(item.errors(run.begun.potential) for item in run.all_)
    for item, errors in zip(run.all_, earlier, strict=True):
        say(f"retained, before training: {item.title}: {errors}")
    return Before(test, earlier)


def trained(run: BegunRun, loggers: Sequence[LoggerName]) -> Fitted:
    """Train the network in place, and keep the best and the last model as files."""
    prepared, config, opened, potential = run.prepared, run.prepared.config, run.opened, run.potential
    steps, per_epoch = total_steps(run.train, config), run.train.n_steps(0)
    opened.say(
        f"training: {len(prepared.train)} structures, {per_epoch} batches per epoch, "
        f"{f'{steps} steps' if steps else 'as many steps as fit'}, "
        f"{sum(p.numel() for p in potential.parameters()):,} weights, {run.device}"
    )
    for line in rate_lines(config, per_epoch, steps):
        opened.say(line)
    if opened.resume and opened.world.is_first:
        put_back(opened.folder)

    def save(name: str, progress: Progress) -> None:
        # The best model has the heads of earlier data until it has been evaluated on them.
        written = merged(potential) if name == "best" else to_publish(merged(potential), prepared.start)
        if config.loss.energy_weight == 0:
            # Forces leave the constant of the energy open: it is fitted to the energies of the training
            # frames.
            written = with_fitted_energies(written, run.begun.head.name, prepared.train, run.device)
        run.card.write(opened.folder / f"{name}.safetensors", written, saved_weights(name, progress, config))

    done = None if run.checkpoint is None else run.checkpoint.progress.validated_at
    names = loggers if opened.world.is_first else ()
    with open_loggers(names, opened.folder, config_to_dict(config), done) as receivers:
        job = Job(
            potential,
            run.train,
            run.valid,
            opened.folder,
            to_dict(potential.config),
            run.facts,
            save,
            opened.say,
            time.monotonic() - prepared.began,
            loggers=receivers,
            world=opened.world,
            fixed_heads=run.begun.fixed_heads,
            retained=run.few,
        )
        return fit(job, config, run.checkpoint)


def evaluated(run: BegunRun, before: Before, fitted: Fitted) -> TrainResult:
    """Errors of the best model; writes the report, and both models with what is known of them.

    ModelError for a head under which nothing holds together.
    """
    from jmp_calc.zoo.container import load_model

    prepared, config, opened = run.prepared, run.prepared.config, run.opened
    potential = load_model(opened.folder / "best.safetensors").potential.to(run.device)
    potential = with_fixed_heads(potential, run.begun)
    parts: Mapping[str, Batches] = {"valid": run.valid, **({"test": run.test} if prepared.test else {})}
    predictions = {
        name: validate(potential, batches, config.loss, config.final_forces, opened.world)[1]
        for name, batches in parts.items()
    }
    best, is_first = Model("best", potential, predictions), opened.world.is_first
    models = best, last_model(run, best)
    notes = [
        binding_notes(model, run.begun.head.name, prepared, opened.folder, is_first=is_first)
        for model in models
    ]
    rows = opened.world.from_first(fitted.history.rows)
    result = result_of(
        prepared,
        run.begun,
        opened.folder,
        before=before,
        retained=measured_after(run, potential),
        predictions=predictions,
        rows=rows,
        progress=fitted.progress,
        n_trained=sum(p.numel() for p in run.potential.parameters() if p.requires_grad),
    )
    outputs: tuple[Path, ...] = ()
    if is_first:
        write_models(opened.folder, models, run.card, fitted.progress, run.valid, run.device, notes)
        outputs = write_report(opened.folder, result, prepared, predictions)
    for line in (*notes[0], *spoken(result, prepared, predictions)):
        opened.say(line)
    return dataclasses.replace(result, outputs=opened.world.from_first(outputs))


def measured_after(run: BegunRun, best: Potential) -> list[Errors | None]:
    """Errors of the best model on all earlier data; None of a head that was trained too, and that a run which
    was complete before has published without."""
    having, found = {head.name for head in best.config.heads}, list[Errors | None]()
    for item, task in zip(run.all_, run.begun.retained, strict=True):
        known = task.task.head in having
        found.append(item.errors(best) if known else None)
        if not known:
            run.opened.say(f"retained: {item.title}: the best model was saved without this head: no errors")
    return found


def last_model(run: BegunRun, best: Model) -> Model:
    """The model at the end of the run; what it predicts for the test frames only where it is the best one."""
    from jmp_calc.zoo.container import load_model

    config, opened = run.prepared.config, run.opened
    opened.world.wait()  # for the first process, which writes it
    potential = load_model(opened.folder / "last.safetensors").potential.to(run.device)
    if same_weights(potential, best.potential):
        return Model("last", best.potential, best.predictions)
    _, found = validate(potential, run.valid, config.loss, config.final_forces, opened.world)
    return Model("last", potential, {"valid": found})


__all__ = ["OUTPUTS", "DataOptions", "ModelOptions", "TrainConfig", "TrainResult", "finetune"]
