"""Fine-tuning: from a labelled file to a model, with an audit before and a report after.

Example: ``finetune("train.extxyz", model="jmp-xs", out="run")`` writes ``run/best.safetensors``; then
``atoms.calc = JMPCalculator("run/best.safetensors")``.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from jmp_calc.io.atomic import remove_partial
from jmp_calc.io.outdir import check_free, locked, make_folder, remove_old
from jmp_calc.io.progress import Say
from jmp_calc.model.config import to_dict

from .config import TrainConfig, config_to_dict
from .distributed.launch import DistributedConfig, started
from .distributed.world import World
from .finetuning.batches import evaluation_batches, training_batches
from .finetuning.fitted_energies import with_fitted_energies
from .finetuning.forgetting import Forgetting, retained
from .finetuning.identity import run_identity
from .finetuning.options import DataOptions, ModelOptions
from .finetuning.prepare import Prepared, prepare, prepare_recipe
from .finetuning.recipes import finetune_recipe
from .finetuning.report import OUTPUTS, TrainResult
from .finetuning.start import _to_publish, make_start, resolved
from .loop import fit
from .optim.lora import merged
from .optim.schedule_report import rate_lines
from .run.checkpoint import Progress
from .run.folder import has_state
from .run.job import Job, total_steps
from .run.log import RunLog, silent
from .run.resume import resumed
from .targets.classes import FittedClasses
from .targets.options import TargetTask
from .validation.confusion import confusion, confusion_text
from .validation.loggers import LoggerName, open_loggers, require_installed
from .validation.metrics import Errors, Predictions
from .validation.validate import validate

if TYPE_CHECKING:
    from .validation.history import Row


def finetune(
    train: str | Path,
    *,
    valid: str | Path | None = None,
    test: str | Path | None = None,
    model: str = "jmp-xs",
    out: str | Path = "run",
    head: str = "finetuned",
    target: str | None = None,
    config: TrainConfig | None = None,
    data: DataOptions | None = None,
    start: ModelOptions | None = None,
    recipe: str | None = None,
    device: str = "auto",
    resume: bool = False,
    override: bool = False,
    overwrite: bool = False,
    loggers: Sequence[LoggerName] = (),
    distributed: DistributedConfig = DistributedConfig(),
    say: Say = print,
) -> TrainResult:
    """Fine-tune a model on labelled structures (any format that ASE reads, packed or not).

    Args:
        train: labelled frames; without ``valid``, a share of them is set aside in blocks.
        valid: frames to choose the best model by.
        test: frames that are evaluated once, at the end.
        model: name or path of the start model; ``scratch:NAME`` uses its architecture only.
        out: folder for the results; refused if it holds earlier ones, unless ``overwrite`` or ``resume``.
        head: name of the new head.
        target: key in ``info`` of a scalar, class or vector to train on instead of energies and forces
            (``data.target`` says more about it: its kind, pooling, unit).
        config: loss, optimizer, length; None: the defaults.
        data: label keys, split, references (its files are replaced by ``train``, ``valid``, ``test``).
        start: further choices about the start model (its model and head are replaced).
        recipe: name of a published task (``rmd17-aspirin``); ``train`` is then the folder of its data set,
            and ``config`` replaces the settings of the recipe if it is given.
        device: auto, cpu, cuda, cuda:N.
        resume: go on with the run in ``out`` (from the start, if it was killed before its first saved state).
        override: resume although settings or data have changed.
        overwrite: replace earlier results.
        loggers: ``tensorboard``, ``wandb``: receive the rows of metrics.csv too.
        distributed: processes that share the run; all return the same result.
        say: receives lines of progress.
    """
    data = dataclasses.replace(data or DataOptions(train), train=train, valid=valid, test=test)
    if target is not None:
        data = dataclasses.replace(
            data, target=dataclasses.replace(data.target or TargetTask(target), key=target)
        )
    start = dataclasses.replace(start or ModelOptions(), model=model, head=head)
    if recipe is not None:
        data = dataclasses.replace(data, recipe=finetune_recipe(recipe))
        start = start.for_recipe(finetune_recipe(recipe))
    require_installed(loggers)
    folder = Path(out)
    with started(distributed, device) as world, ExitStack() as stack:
        log = silent
        if world.is_first:
            stack.enter_context(locked(make_folder(folder)))
            remove_partial(folder, OUTPUTS)
            if overwrite and not resume:
                remove_old(folder, OUTPUTS)
            elif not resume:
                check_free(folder, OUTPUTS, resume_hint="--resume goes on with it")
            resume = resume and has_state(folder, say)
            log = stack.enter_context(RunLog(folder, say, resumed=resume))
        resume = world.from_first(resume)
        if recipe is None:
            config = config or TrainConfig()
            config = config.for_target() if data.target else config
            prepared = prepare(data, start, config, log)
        else:
            prepared, data, config = prepare_recipe(data, start, lambda published: config or published, log)
        prepared.audit.raise_if_refused()
        return run(
            prepared,
            data,
            start,
            config,
            folder,
            device=device,
            resume=resume,
            override=override,
            loggers=loggers,
            world=world,
            say=log,
        )


def run(
    prepared: Prepared,
    data: DataOptions,
    start: ModelOptions,
    config: TrainConfig,
    folder: Path,
    *,
    device: str,
    resume: bool,
    override: bool,
    loggers: Sequence[LoggerName] = (),
    world: World = World(),
    say: Say,
) -> TrainResult:
    """Train, choose the best model, evaluate, and write everything into ``folder`` (locked by the caller).

    Called by all processes of ``world``, which see the same folder; the first one writes.
    """
    from jmp_calc.machine.device import choose_device

    from .finetuning.report import Card, saved_weights, write_report, write_settings

    where = world.device or choose_device(device)
    begun = make_start(
        prepared.loaded,
        start,
        prepared.train,
        prepared.references,
        direct_forces=config.forces == "direct",
        device=where,
        seed=config.seed,
        max_edges=config.max_edges_per_batch,
        target=prepared.target,
        retained=prepared.retained,
        replayed=prepared.replayed,
    )
    for message in begun.messages:
        say(message)
    config = resolved(config, begun.potential, prepared)
    facts = run_identity(prepared, begun, data, start)
    potential, state = begun.potential, None
    if resume:
        potential, state = resumed(
            folder, config, facts, dtype=potential.dtype, device=where, override=override
        )
    test_before = None
    sets = {
        "train": training_batches(prepared, potential, begun, config, data.replay_share, where, world),
        **{
            name: evaluation_batches(getattr(prepared, name), potential, begun, config, where, world)
            for name in ("valid", "test")
        },
    }
    watched = {
        few: retained(begun.retained, potential.config, config, where, world, few=few)
        for few in (True, False)
    }
    card = Card(prepared, begun, data, config)
    if world.is_first:
        write_settings(folder, data, start, config, prepared)
    if prepared.test and not resume:
        test_before = validate(potential, sets["test"], config.loss, config.final_forces, world)[1].errors()
        say(f"test, before training: {test_before}")

    # Of the start, so that a resumed run compares with the same numbers.
    known_before = [item.errors(begun.potential) for item in watched[False]]
    for item, errors in zip(watched[False], known_before):
        say(f"retained, before training: {item.title}: {errors}")

    def save(name: str, progress: Progress) -> None:
        # The best model has the heads of earlier data until it has been evaluated on them.
        written = merged(potential) if name == "best" else _to_publish(merged(potential), start)
        if config.loss.energy_weight == 0:
            # Forces leave the constant of the energy open: it is fitted to the energies of the training
            # frames.
            written = with_fitted_energies(written, begun.head.name, prepared.train, where)
        card.write(folder / f"{name}.safetensors", written, saved_weights(name, progress, config))

    steps = total_steps(sets["train"], config)
    say(
        f"training: {len(prepared.train)} structures, {sets['train'].n_steps(0)} batches per epoch, "
        f"{f'{steps} steps' if steps else 'as many steps as fit'}, "
        f"{sum(p.numel() for p in potential.parameters()):,} weights, {where}"
    )
    for line in rate_lines(config, sets["train"].n_steps(0), steps):
        say(line)
    job = Job(
        potential,
        sets["train"],
        sets["valid"],
        folder,
        to_dict(potential.config),
        facts,
        save,
        say,
        time.monotonic() - prepared.began,
        world=world,
        fixed_heads=begun.fixed_heads,
        retained=watched[True],
    )
    done = None if state is None else state.progress.validated_at
    with open_loggers(loggers if world.is_first else (), folder, config_to_dict(config), done) as opened:
        fitted = fit(dataclasses.replace(job, loggers=opened), config, state)
    history, progress = fitted.history, fitted.progress

    from jmp_calc.zoo.container import load_model

    best = load_model(folder / "best.safetensors").potential.to(where)
    found: dict[str, Predictions] = {
        name: validate(best, sets[name], config.loss, config.final_forces, world)[1]
        for name in ("valid", "test")
        if getattr(prepared, name)
    }
    groups = {name: [frame.group for frame in getattr(prepared, name)] for name in found}
    history.rows = world.from_first(history.rows)
    before, last, raw = _first_and_last(history.rows, config, len(prepared.valid))
    constant = (
        {}
        if prepared.target is None
        else {name: prepared.target.constant(getattr(prepared, name)) for name in found}
    )
    baseline = None if prepared.target is None else prepared.target.baseline
    result = TrainResult(
        best=folder / "best.safetensors",
        last=folder / "last.safetensors",
        out=folder,
        before=before,
        valid=found["valid"].errors(),
        test=found["test"].errors() if "test" in found else None,
        test_before=test_before,
        valid_by_group=found["valid"].errors_by_group(groups["valid"]),
        test_by_group=found["test"].errors_by_group(groups["test"]) if "test" in found else {},
        history=tuple(history.rows),
        n_steps=progress.step,
        n_epochs=progress.epoch,
        train_s=progress.elapsed,
        valid_last=last,
        valid_last_raw=raw,
        n_clipped=progress.n_clipped,
        init_head=begun.init_head,
        probe=begun.probe,
        constant_mae=constant if baseline == "mae" else {},
        constant_accuracy=constant if baseline == "accuracy" else {},
        messages=prepared.messages + begun.messages,
        forgetting=tuple(
            Forgetting(item.title, earlier.task.head, errors, item.errors(best))
            for item, earlier, errors in zip(watched[False], begun.retained, known_before)
        ),
        n_trained=sum(p.numel() for p in potential.parameters() if p.requires_grad),
    )
    outputs: list[Path] = []
    if world.is_first:
        card.write(result.best, _to_publish(best, start), saved_weights("best", progress, config), result)
        outputs = write_report(folder, result, prepared, found, config.final_forces)
    for name, values in found.items():
        note = (
            f"; constant predictor: {'MAE' if baseline == 'mae' else baseline} {constant[name]:.4g}"
            if constant
            else ""
        )
        say(f"{name}: {values.errors()}{note}")
        if isinstance(prepared.target, FittedClasses):
            say(confusion_text(confusion(values, prepared.target.names), prepared.target.names))
    for forgotten in result.forgetting:
        say(f"retained: {forgotten}")
    if progress.n_clipped > 0:
        say(f"gradients were clipped in {progress.n_clipped} of {progress.step} steps")
    return dataclasses.replace(result, outputs=world.from_first(tuple(outputs)))


def _first_and_last(
    rows: Sequence[Row], config: TrainConfig, n_structures: int
) -> tuple[Errors, Errors, Errors | None]:
    """Errors of the first and the last validation, and of the last one without averaging, if weights are
    averaged; none if somebody took the file of a resumed run away."""
    if not rows:
        return Errors(n_structures), Errors(n_structures), None
    before, last = (rows[i].errors(rows[i].weights, n_structures) or Errors(n_structures) for i in (0, -1))
    return before, last, None if config.optim.ema_decay is None else rows[-1].errors("raw", n_structures)


__all__ = [
    "OUTPUTS",
    "DataOptions",
    "Prepared",
    "TrainResult",
    "config_to_dict",
    "finetune",
    "prepare",
    "prepare_recipe",
    "run",
]
