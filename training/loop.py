"""The training loop: one for fine-tuning and pre-training, any number of heads per batch.

``fit`` is the whole algorithm; what is compared lives in ``loss.py``, how weights move in ``optim.py`` and
``ema.py``, what is saved in ``checkpoint.py``. Data come in as batches that name the head of every structure.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import nn

from jmp_calc.errors import NotConvergedError, UsageError
from jmp_calc.interrupt import Interrupted, deferred_signals
from jmp_calc.memory import choose_recompute
from jmp_calc.model.cost import GraphCounts

from .checkpoint import Checkpoint, Progress, load_checkpoint, refuse_changes, rng_state, save_checkpoint, set_rng_state
from .config import TrainConfig, config_to_dict
from .ema import EMA
from .history import History, Row, duration
from .loss import LossShare, loss_shares, loss_terms
from .metrics import Collector, Errors, Predictions
from .optim import (
    Schedule,
    clip_gradients,
    divide_shared_gradients,
    freeze,
    is_clipped,
    largest_gradient,
    make_optimizer,
)
from .parallel import GradientPool
from .schedules import GroupRates, Plateau, is_exhausted

if TYPE_CHECKING:
    from jmp_calc.model.potential import Potential

    from .dataset import TargetBatch
    from .labels import Frame

STATE_FILE = "state.pt"
SAVE_EVERY_S = 120.0
"""Seconds between saved states when validations are further apart."""
VALIDATION_SHARE = 0.15
"""Validation runs so often that it costs about this share of the time."""


class Batches(Protocol):
    """Where batches come from; the order of an epoch depends on its number only, so that a run can be resumed."""

    def epoch(self, number: int, skip: int = 0) -> Iterator[TargetBatch]:
        """Batches of epoch ``number`` without the first ``skip``."""
        ...

    def shares(self, number: int, skip: int = 0, processes: int = 1) -> Iterator[list[TargetBatch]]:
        """The same batches, each in at most ``processes`` parts."""
        ...

    def n_batches(self, number: int) -> int:
        """Number of batches in epoch ``number``."""
        ...

    @property
    def n_structures(self) -> int:
        """Structures per epoch."""
        ...

    @property
    def frames(self) -> Sequence[Frame]:
        """Frames that ``TargetBatch.frames`` counts."""
        ...


@dataclass(frozen=True)
class Job:
    """What ``fit`` works on, beside the settings."""

    potential: Potential
    train: Batches
    valid: Batches
    folder: Path
    model_config: dict[str, Any]
    """Plain dict of the model's configuration; stored in the state, so that it can be rebuilt."""
    data: dict[str, Any]
    """Fingerprint of the data; a resumed run must have the same."""
    save_model: Callable[[str, Progress], None]
    """Writes the model as it is now (averaged weights are swapped in) under the given file name."""
    say: Callable[[str], None] = lambda text: None
    spent_s: float = 0.0
    """Seconds of the time budget that were spent before the loop (reading, graphs)."""


@dataclass
class Totals:
    """Running sums of the training loss since the last validation; part of the saved state."""

    steps: int = 0
    sums: list[float] = field(default_factory=lambda: [0.0] * 6)
    """total, energy, forces, stress, scalar, gradient norm"""

    def add(self, values: list[float]) -> None:
        """Add the numbers of one step."""
        self.steps += 1
        self.sums = [a + b for a, b in zip(self.sums, values)]

    def means(self) -> list[float]:
        """Means since the last call; the sums start again."""
        means = [value / max(self.steps, 1) for value in self.sums]
        self.steps, self.sums = 0, [0.0] * 6
        return means


def fit(job: Job, config: TrainConfig, *, resume: bool = False, override: bool = False) -> History:
    """Train ``job.potential`` in place; afterwards it has the averaged weights of the last step.

    Writes ``state.pt`` (resumable), ``metrics.csv``, and models through ``job.save_model`` ("best", "last").
    Raises Interrupted after saving the state, NotConvergedError at the first loss that is not finite.
    """
    potential, optim = job.potential, config.optim
    torch.manual_seed(config.seed)
    potential.train()
    freeze(potential, config.freeze)
    trained = [p for p in potential.parameters() if p.requires_grad]
    optimizer, ema = make_optimizer(potential, optim), EMA(potential, optim.ema_decay)
    shared = potential.shared_parameters() if hasattr(potential, "shared_parameters") else []
    run = RunState(job, config, optimizer, ema)
    if resume:
        run.load(override)
    history = History(job.folder / "metrics.csv", run.progress.step if resume else None)
    every = validation_interval(job)

    with deferred_signals() as signals, GradientPool(potential, BatchGradients(config), config.processes) as pool:
        if not resume:
            run.validate(history, lr=0.0)  # the errors before training; also a first best model
        progress = run.progress
        if progress.step == 0 and run.out_of_time():
            raise UsageError(f"The time of {config.max_time:g} s is over before the first step.",
                             hint=f"reading, graphs and one validation took {run.elapsed():.0f} s; raise --max-time")
        while not run.finished():
            for targets in job.train.shares(progress.epoch, progress.batch, config.processes):
                run.set_learning_rates()
                stress = [has_stress(job.train, target) for target in targets]
                terms = pool.gradients(loss_shares(targets, stress, config.loss))
                divide_shared_gradients(shared)
                largest = largest_gradient(trained)
                norm = clip_gradients(trained, optim.clip_norm, optim.clip_value)
                # The only wait for the device in a step; before the update, so that NaN never reaches the weights.
                *numbers, peak = torch.cat([terms, norm.reshape(1).to(terms), largest.reshape(1).to(terms)]).tolist()
                if not all(math.isfinite(number) for number in numbers):
                    raise stopped_by_nan(job, targets, progress, numbers)
                optimizer.step()
                ema.update()
                progress.step, progress.batch = progress.step + 1, progress.batch + 1
                progress.n_clipped += is_clipped(optim, numbers[-1], peak)
                run.totals.add(numbers)
                run.tick()
                if signals.received or run.out_of_time():
                    break
            else:
                progress.epoch, progress.batch = progress.epoch + 1, 0
            if signals.received:
                run.save()
                raise Interrupted(signals.received, f"state saved after step {progress.step}; go on with --resume")
            if progress.epoch % every == 0 or run.finished():
                run.validate(history, lr=max(group["lr"] for group in optimizer.param_groups))
                run.save()
    ema_to_weights(ema)
    job.save_model("last", run.progress)
    return history


@dataclass(frozen=True)
class BatchGradients:
    """Gradients of the loss of one batch or a part of it (called in every process of a GradientPool)."""

    config: TrainConfig

    def __call__(self, potential: Potential, share: LossShare) -> torch.Tensor:
        """Add the gradients to the weights; returns total, energy, forces, stress, scalar (5,)."""
        config, target = self.config, share.target
        stress = share.has_stress and config.loss.stress_weight > 0
        recompute = choose_recompute(
            potential.config, GraphCounts.of_batch(target.batch), potential.dtype.itemsize, "training",
            config.activation_checkpointing, target.batch.numbers.device,
        )  # fmt: skip
        prediction = potential(
            target.batch, heads=target.heads, forces=config.forces, stress=stress, create_graph=True, recompute=recompute
        )
        terms = share.of(loss_terms(prediction, target, config.loss))
        terms[0].backward()
        return terms.detach()


class RunState:
    """Counters, clock and files of one run: everything around the algorithm."""

    def __init__(self, job: Job, config: TrainConfig, optimizer: torch.optim.Optimizer, ema: EMA) -> None:
        self.job, self.config, self.optimizer, self.ema = job, config, optimizer, ema
        self.progress, self.totals = Progress(elapsed=job.spent_s), Totals()
        self.rates = GroupRates(
            config.optim, tuple(group["lr_factor"] for group in optimizer.param_groups),
            Schedule(config.optim, total_steps(job.train, config), config.max_time), job.train.n_batches(0),
        )
        self.reserve = 0.0
        """Seconds kept for the last validation."""
        self._start = self._saved = self._spoken = time.monotonic()
        self._first_step, self._before = 0, job.spent_s

    def elapsed(self) -> float:
        """Seconds of wall time since the run began, over all restarts."""
        return self._before + time.monotonic() - self._start

    def out_of_time(self) -> bool:
        """Whether only the last validation still fits into the time budget."""
        return self.config.max_time is not None and self.elapsed() + self.reserve >= self.config.max_time

    @property
    def plateau(self) -> Plateau | None:
        """What the plateau stage remembers; None before it has begun."""
        return None if self.progress.plateau is None else Plateau(**self.progress.plateau)

    def set_learning_rates(self) -> None:
        """Give every parameter group the learning rate of the next step."""
        rates = self.rates.at(self.progress.step, self.elapsed() + self.reserve, self.plateau)
        for group, rate in zip(self.optimizer.param_groups, rates):
            group["lr"] = rate

    def finished(self) -> bool:
        """Whether the epochs, the time, the patience or the learning rate are used up."""
        epochs, patience = self.config.n_epochs, self.config.patience
        plateau, stages = self.plateau, self.config.optim.stages
        if plateau is not None and stages is not None and is_exhausted(plateau.rates, stages):
            return True
        done = epochs is not None and self.progress.epoch >= epochs
        tired = patience is not None and self.progress.since_best >= patience
        return done or tired or self.out_of_time()

    def validate(self, history: History, lr: float) -> None:
        """Errors of the averaged weights on the validation set; keeps the best model."""
        began, progress = time.monotonic(), self.progress
        with self.ema.swapped():
            loss, predictions = validate(self.job.potential, self.job.valid, self.config)
            errors = predictions.errors()
            metric = chosen_metric(self.config, loss, errors)
            best = metric < progress.best_loss
            if best:
                progress.best_loss, progress.best_epoch, progress.since_best = metric, progress.epoch, 0
                self.job.save_model("best", progress)
            else:
                progress.since_best += 1
        self.reserve = time.monotonic() - began
        plateau = self.rates.after_validation(progress.step, metric, self.plateau)
        progress.plateau = None if plateau is None else vars(plateau)
        total, energy, forces, stress, scalar, gradient = self.totals.means()
        history.add(Row(
            progress.epoch, progress.step, round(self.elapsed(), 3), lr, total, energy, forces, stress, scalar, gradient,
            progress.n_clipped, loss, errors.energy_mae_mev_per_atom, errors.forces_mae_mev_per_a, errors.stress_mae_gpa,
            errors.scalar_mae, best,
        ))
        rate = f", {self._speed()}" if progress.step else " (before training)"
        self.job.say(f"epoch {progress.epoch}, step {progress.step}: valid {errors}{rate}")
        self._spoken = time.monotonic()

    def tick(self) -> None:
        """Called after every step: a line every half minute, a saved state every two minutes."""
        now = time.monotonic()
        if now - self._spoken > 30.0:
            loss = self.totals.sums[0] / self.totals.steps
            self.job.say(f"epoch {self.progress.epoch}, step {self.progress.step}: loss {loss:.4g}, {self._speed()}")
            self._spoken = now
        if now - self._saved > SAVE_EVERY_S:
            self.save()

    def _speed(self) -> str:
        """Steps per second and time left."""
        progress, config = self.progress, self.config
        rate = (progress.step - self._first_step) / max(time.monotonic() - self._start, 1e-9)
        left = math.inf
        steps = total_steps(self.job.train, config)
        if steps is not None and rate > 0:
            left = (steps - progress.step) / rate
        if config.max_time is not None:
            left = min(left, config.max_time - self.elapsed())
        return f"{rate:.2f} steps/s, {duration(left)} left" if math.isfinite(left) else f"{rate:.2f} steps/s"

    def save(self) -> None:
        """Write the resumable state atomically."""
        self.progress.elapsed = self.elapsed()
        save_checkpoint(self.job.folder / STATE_FILE, Checkpoint(
            self.progress, weights=self.job.potential.state_dict(), ema=self.ema.state_dict(),
            optimizer=self.optimizer.state_dict(), rng=rng_state(), totals=vars(self.totals),
            config=config_to_dict(self.config), model_config=self.job.model_config, data=self.job.data,
        ))
        self._saved = time.monotonic()

    def load(self, override: bool) -> None:
        """Go on from the saved state; UsageError if settings or data differ and ``override`` is not set."""
        path = self.job.folder / STATE_FILE
        state = load_checkpoint(path, next(self.job.potential.parameters()).device)
        if not override:
            refuse_changes(state, config_to_dict(self.config), self.job.data, path)
        try:
            self.job.potential.load_state_dict(state.weights)
            self.ema.load_state_dict(state.ema)
            self.optimizer.load_state_dict(state.optimizer)
        except (ValueError, KeyError, RuntimeError) as err:
            raise UsageError("The saved state belongs to another network.", where=str(path),
                             hint="start again with --overwrite") from err
        set_rng_state(state.rng)
        self.progress, self.totals = state.progress, Totals(**state.totals)
        self._before, self._first_step = state.progress.elapsed, state.progress.step
        self._start = time.monotonic()


def validate(potential: Potential, batches: Batches, config: TrainConfig) -> tuple[float, Predictions]:
    """Mean loss and all predictions of ``batches``, in their order; weights are left as they are."""
    collector, total, count = Collector(), torch.zeros((), dtype=torch.float64), 0
    with without_weight_gradients(potential):
        for target in batches.epoch(0):
            stress = config.forces != "none" and has_stress(batches, target)
            prediction = potential(target.batch, heads=target.heads, forces=config.forces, stress=stress)
            loss = loss_terms(prediction, target, config.loss).total.detach().double()
            total = total.to(loss.device) + loss * target.batch.n_structures
            count += target.batch.n_structures
            collector.add(prediction, target)
    return float(total) / max(count, 1), collector.finish()


def chosen_metric(config: TrainConfig, loss: float, errors: Errors) -> float:
    """The validation error that decides which model is the best; UsageError if no frame has its label."""
    if config.metric == "loss":
        return loss
    value = {"forces_mae": errors.forces_mae_mev_per_a, "energy_mae": errors.energy_mae_mev,
             "scalar_mae": errors.scalar_mae}[config.metric]
    if value is None:
        raise UsageError(f"The metric {config.metric} needs validation frames with this label.")
    return value


@contextmanager
def without_weight_gradients(potential: nn.Module) -> Iterator[None]:
    """Inside the block no graph is built for the weights, which saves time and memory in evaluation."""
    trained = [p for p in potential.parameters() if p.requires_grad]
    was_training = potential.training
    potential.eval()
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        potential.train(was_training)
        for parameter in trained:
            parameter.requires_grad_(True)


def total_steps(train: Batches, config: TrainConfig) -> int | None:
    """Optimizer steps of the whole run (an estimate where batches differ between epochs); None: time decides."""
    return None if config.n_epochs is None else config.n_epochs * train.n_batches(0)


def validation_interval(job: Job) -> int:
    """Epochs between validations; depends on the data only, so that a resumed run validates at the same steps."""
    # A training step costs about three evaluations: forces, and the gradient of the forces.
    share = job.valid.n_structures / (3.0 * max(job.train.n_structures, 1))
    return max(1, math.ceil(share / VALIDATION_SHARE))


@torch.no_grad()
def ema_to_weights(ema: EMA) -> None:
    """Make the averaged weights the weights of the module, for good."""
    for name, averaged in ema.shadow.items():
        ema._weights[name].copy_(averaged)


def has_stress(batches: Batches, target: TargetBatch) -> bool:
    """Whether a structure of the batch has a stress label (asked on the host, not on the device)."""
    return any(batches.frames[i].stress is not None for i in target.frames)


def stopped_by_nan(job: Job, targets: list[TargetBatch], progress: Progress, numbers: list[float]) -> NotConvergedError:
    """Save the batch and make the error that names its frames."""
    from .frames import write_frames

    path, frames = job.folder / "nan-batch.extxyz", [job.train.frames[i] for target in targets for i in target.frames]
    write_frames(path, frames)
    what = "loss" if not math.isfinite(numbers[0]) else "gradient"
    return NotConvergedError(
        f"The {what} is not finite at step {progress.step}.", where=", ".join(frame.where for frame in frames[:8]),
        hint=f"look at {path} (the batch); lower --lr, or train with --dtype float64",
    )
