"""The training loop: one for fine-tuning and pre-training, any number of data sets and heads per step.

``fit`` is the whole algorithm; what is compared lives in ``loss.py``, how gradients of tasks are combined in
``optim/gradients.py``, how weights move in ``optim/optimizer.py`` and ``optim/ema.py``, what is validated,
printed and saved in ``run/state.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from jmp_calc.errors import NotConvergedError, UsageError
from jmp_calc.machine.signals import Interrupted, deferred_signals

from .compiled.background import compiled_gradients, compiling
from .compiled.programs import CompiledGradients
from .config import TrainConfig
from .distributed.cpu_pool import GradientPool
from .distributed.sharding import drop_unused, shard
from .optim.ema import EMA
from .optim.gradients import ProjectedGradients, ShardedGradients, SummedGradients, step_shares
from .optim.lora import train_low_rank
from .optim.optimizer import (
    clip_gradients,
    divide_shared_gradients,
    freeze,
    largest_gradient,
    make_optimizer,
    undo_loss_scale,
)
from .run.checkpoint import Checkpoint, Progress
from .run.job import Job, check_combination
from .run.numbers import StepNumbers
from .run.state import RunState
from .validation.history import History

if TYPE_CHECKING:
    from .batches.dataset import TargetBatch


@dataclass(frozen=True, eq=False)
class Fitted:
    """What the loop gives back, so that nobody has to read the state of the run again."""

    history: History
    progress: Progress


def fit(job: Job, config: TrainConfig, checkpoint: Checkpoint | None = None) -> Fitted:
    """Train ``job.potential`` in place; it ends with the better weights of the last validation.

    Writes ``state.pt``, ``metrics.csv``, ``tasks.csv``, and models through ``job.save_model``.
    ``checkpoint``: go on from there; ``run.resume.resumed`` reads and checks it.

    Raises:
        Interrupted: after saving the state.
        NotConvergedError: at the first loss that is not finite.
        UsageError: the time is over before the first step.
    """
    run = begun_run(job, config)
    history = run.start_history(checkpoint)
    programs = compiled_gradients(run.network, job.train.data.tasks, config, job.world, job.say)
    with (
        deferred_signals() as signals,
        gradient_pool(run, programs) as pool,
        compiling(programs, job.potential.config, config, job.world, job.say) as compiler,
    ):
        first_validation(run, history, resumed=checkpoint is not None)
        while not run.finished():
            stop = None
            for batch in job.train.steps(run.progress.epoch, run.progress.batch, config.processes):
                run.set_learning_rates()
                numbers = one_step(batch, run, pool)
                stop = run.clock.agree(signals.received)
                if numbers.are_finite:
                    run.optimizer.step()
                    run.ema.update(run.progress.step)
                    run.advance(numbers)
                    if compiler is not None:
                        compiler.after_step(run.progress.step, run.left_s)
                elif not run.skip(numbers):
                    raise stopped_by_nan(run, batch, numbers)
                if stop or run.finished() or run.validation_due():
                    break
            else:
                run.end_epoch()
            if stop:
                raise stopped_by_signal(run, stop)
            if run.finished() or run.validation_due():
                run.settle(history)
    run.keep_weights()
    return Fitted(history, run.progress)


def begun_run(job: Job, config: TrainConfig) -> RunState:
    """The run before its first step: what is trained is chosen, the same in all processes, and may be shared
    out."""
    potential, world = job.potential, job.world
    check_combination(config, world, potential.dtype)
    torch.manual_seed(config.seed)
    potential.train()
    freeze(potential, config.freeze, job.fixed_heads)
    if config.lora_rank is not None:
        train_low_rank(potential, config.lora_rank, config.lora_alpha)
    world.same_weights(potential)
    network = shard(potential, world) if world.shards else potential
    ema = EMA(network, config.optim.ema_decay, warmup=config.optim.ema_warmup)
    ema.start_from(job.averages, job.steps_before)
    return RunState(job, config, network, make_optimizer(network, config.optim, sharded=world.shards), ema)


def gradient_pool(run: RunState, programs: CompiledGradients | None) -> GradientPool:
    """The processes that share a step, and how the gradients of its parts are made and combined."""
    config = run.config
    kind = ShardedGradients if run.job.world.shards else SummedGradients
    combined = ProjectedGradients(config) if config.optim.pcgrad else kind(config, programs)
    return GradientPool(run.network, combined, config.processes)


def first_validation(run: RunState, history: History, *, resumed: bool) -> None:
    """The errors before training, which are also a first best model; of a run that goes on what it missed.

    UsageError if the time is over before the first step.
    """
    if not resumed:
        run.validate(history)
        run.begin(run.clock.elapsed())
        run.save()
    elif run.validation_due():  # the run was ended between a step and its validation
        run.settle(history)
    if run.progress.step == 0 and run.out_of_time():
        raise UsageError(
            f"The time of {run.config.max_time:g} s is over before the first step.",
            hint=f"reading, graphs and one validation took {run.clock.elapsed():.0f} s; raise --max-time",
        )


def one_step(batch: Sequence[Sequence[TargetBatch]], run: RunState, pool: GradientPool) -> StepNumbers:
    """Set the gradients of one optimizer step: of the loss over its whole batch, in all processes, clipped.

    ``batch``: what this process has of it, in shares for the processes of ``pool``, each in parts.
    """
    config, world, scale = run.config, run.job.world, run.progress.loss_scale
    with world.own_random_numbers():
        terms = pool.gradients(step_shares(batch, config, run.forces(), world, scale))
    terms = world.add_gradients(run.trained, terms)
    if world.shards:
        drop_unused(run.trained, world)
    undo_loss_scale(run.trained, scale)
    divide_shared_gradients(run.shared)
    largest = world.greatest(largest_gradient(run.trained))
    norm = clip_gradients(run.trained, config.optim.clip_norm, config.optim.clip_value)
    # All numbers come to the host at once, because each transfer waits for the device; and before the
    # optimizer moves the weights, so that NaN never reaches them.
    sizes: list[Tensor] = [norm.reshape(1).to(terms), largest.reshape(1).to(terms)]
    return StepNumbers(*torch.cat([terms, *sizes]).tolist())


def stopped_by_signal(run: RunState, signal: int) -> Interrupted:
    """Save the state and make the error that says how to go on."""
    run.save()
    return Interrupted(signal, f"state saved after step {run.progress.step}; go on with --resume")


def stopped_by_nan(
    run: RunState, batch: Sequence[Sequence[TargetBatch]], numbers: StepNumbers
) -> NotConvergedError:
    """Save the state and the batch, and make the error that names its frames."""
    from .data.to_ase import write_frames

    run.save()
    job = run.job
    mine = [i for parts in batch for part in parts for i in part.frames]
    frames = [job.train.frames[i] for of_process in job.world.collect(mine) for i in of_process]
    path = job.folder / "nan-batch.extxyz"
    if job.world.is_first:
        write_frames(path, frames)
    what = "gradient" if numbers.loss_is_finite else "loss"
    return NotConvergedError(
        f"The {what} is not finite at step {run.progress.step}.",
        where=", ".join(frame.where for frame in frames[:8]),
        hint=f"look at {path} (the batch); the state before this step is saved; lower --lr, or train with "
        "--dtype float64",
    )
