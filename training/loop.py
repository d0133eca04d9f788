"""The training loop: one for fine-tuning and pre-training, any number of data sets and heads per step.

``fit`` is the whole algorithm; what is compared lives in ``loss.py``, how gradients of tasks are combined in
``gradients.py``, how weights move in ``optim.py`` and ``ema.py``, what is validated, printed and saved in
``run_state.py``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from jmp_calc.errors import NotConvergedError, UsageError
from jmp_calc.machine.signals import Interrupted, deferred_signals

from .config import TrainConfig
from .distributed.cpu_pool import GradientPool
from .distributed.sharding import drop_unused, shard, whole
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
from .run.state import RunState
from .validation.history import History

if TYPE_CHECKING:
    from .batches.dataset import TargetBatch


@dataclass(frozen=True, eq=False)
class Fitted:
    """What the loop gives back, so that nobody has to read the state of the run again."""

    history: History
    progress: Progress
    last_weights: dict[str, Tensor]
    """Weights and constants after the last step as they are, not averaged, by name."""


def fit(job: Job, config: TrainConfig, checkpoint: Checkpoint | None = None) -> Fitted:
    """Train ``job.potential`` in place; afterwards it has the averaged weights of the last step.

    Writes ``state.pt`` (resumable), ``metrics.csv`` (and ``tasks.csv`` where there are several), and models
    through ``job.save_model`` ("best", "last"). ``checkpoint``: go on from there (``run.resume.resumed``
    reads it and checks that it fits).

    Raises:
        Interrupted: after saving the state.
        NotConvergedError: at the first loss that is not finite.
        UsageError: the time is over before the first step.
    """
    potential, optim, world = job.potential, config.optim, job.world
    check_combination(config, world, potential.dtype)
    torch.manual_seed(config.seed)
    potential.train()
    freeze(potential, config.freeze, job.fixed_heads)
    if config.lora_rank is not None:
        train_low_rank(potential, config.lora_rank, config.lora_alpha)
    world.same_weights(potential)
    network = shard(potential, world) if world.shards else potential
    trained = [p for p in network.parameters() if p.requires_grad]
    optimizer, ema = make_optimizer(network, optim), EMA(network, optim.ema_decay)
    shared = network.shared_parameters() if hasattr(network, "shared_parameters") else []
    run = RunState(job, config, network, optimizer, ema)
    if checkpoint is not None:
        run.load(checkpoint)
    # Of a run that was killed between a validation and the state after it, the row is written again.
    known = None if checkpoint is None else run.progress.validated_at
    history = History(job.folder if world.is_first else None, known, job.loggers)
    evaluate = (
        ProjectedGradients if optim.pcgrad else ShardedGradients if world.shards else SummedGradients
    )(config)

    with deferred_signals() as signals, GradientPool(network, evaluate, config.processes) as pool:
        if checkpoint is None:
            run.validate(history, lr=0.0)  # the errors before training; also a first best model
            run.begin(run.elapsed())
            run.save()
        elif run.validation_due(epoch_ended=False):
            run.validate(
                history, lr=largest_rate(optimizer)
            )  # the run was ended between a step and its validation
            run.save()
        progress = run.progress
        if progress.step == 0 and run.out_of_time():
            raise UsageError(
                f"The time of {config.max_time:g} s is over before the first step.",
                hint=f"reading, graphs and one validation took {run.elapsed():.0f} s; raise --max-time",
            )
        while not run.finished():
            epoch_ended, stop = False, None
            for step in job.train.steps(progress.epoch, progress.batch, config.processes):
                run.set_learning_rates()
                with world.own_random_numbers():
                    terms = pool.gradients(
                        step_shares(step, config, run.forces(), world, progress.loss_scale)
                    )
                stop = run.agree(signals.received)
                terms = world.add_gradients(trained, terms)
                if world.shards:
                    drop_unused(trained, world)
                undo_loss_scale(trained, progress.loss_scale)
                divide_shared_gradients(shared)
                largest = world.greatest(largest_gradient(trained))
                norm = clip_gradients(trained, optim.clip_norm, optim.clip_value)
                # The only wait for the device in a step; before the update, so that NaN never reaches the
                # weights.
                *numbers, peak = torch.cat(
                    [terms, norm.reshape(1).to(terms), largest.reshape(1).to(terms)]
                ).tolist()
                if all(math.isfinite(number) for number in numbers):
                    optimizer.step()
                    ema.update()
                    run.advance(numbers, peak)
                elif not run.skip(numbers):
                    run.save()
                    raise stopped_by_nan(
                        job, [part for parts in step for part in parts], progress.step, numbers
                    )
                if stop or run.finished() or run.validation_due(epoch_ended=False):
                    break
            else:
                progress.epoch, progress.batch, epoch_ended = progress.epoch + 1, 0, True
            if stop:
                run.save()
                raise Interrupted(stop, f"state saved after step {progress.step}; go on with --resume")
            if run.validation_due(epoch_ended=epoch_ended) or run.finished():
                run.validate(history, lr=largest_rate(optimizer))
                run.save()
    last = {name: value.clone() for name, value in whole(dict(network.state_dict())).items()}
    ema_to_weights(ema)
    run.show_weights({})
    if world.is_first:
        job.save_model("last", run.progress)
    return Fitted(history, run.progress, last)


def largest_rate(optimizer: torch.optim.Optimizer) -> float:
    """The learning rate of the group that has the largest."""
    return max(group["lr"] for group in optimizer.param_groups)


@torch.no_grad()
def ema_to_weights(ema: EMA) -> None:
    """Make the averaged weights the weights of the module, for good."""
    for name, averaged in ema.shadow.items():
        ema._weights[name].copy_(averaged)


def stopped_by_nan(
    job: Job, parts: Sequence[TargetBatch], step: int, numbers: Sequence[float]
) -> NotConvergedError:
    """Save the batch and make the error that names its frames."""
    from .data.to_ase import write_frames

    numbers_of_all = job.world.collect([i for part in parts for i in part.frames])
    path, frames = (
        job.folder / "nan-batch.extxyz",
        [job.train.frames[i] for found in numbers_of_all for i in found],
    )
    if job.world.is_first:
        write_frames(path, frames)
    what = "loss" if not math.isfinite(numbers[0]) else "gradient"
    return NotConvergedError(
        f"The {what} is not finite at step {step}.",
        where=", ".join(frame.where for frame in frames[:8]),
        hint=f"look at {path} (the batch); the state before this step is saved; lower --lr, or train with "
        "--dtype float64",
    )
