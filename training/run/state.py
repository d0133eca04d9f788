"""Everything around the algorithm of a run: counters, clock, learning rates, validations and files."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from jmp_calc.errors import UsageError
from jmp_calc.io.progress import duration

from ..config import ForcesMode, TrainConfig, config_to_dict
from ..distributed.sharding import copy_whole, optimizer_parts, part_of, whole
from ..optim.ema import EMA
from ..optim.optimizer import Schedule, is_clipped
from ..optim.schedules import GroupRates, Plateau, is_exhausted
from ..validation.history import History, Row
from ..validation.validate import chosen_metric, validate
from .checkpoint import Checkpoint, Progress, rng_state, save_checkpoint, set_rng_state
from .job import STATE_FILE, Job, total_steps, validation_interval
from .resume import has_other_rates, is_measured_otherwise

if TYPE_CHECKING:
    pass

FIRST_LOSS_SCALE, SCALE_HOLDS = 2.0**16, 2000
"""Of float16: the loss scale starts here, is halved where a gradient overflows, and doubled after so many
good steps."""
OF_GROUPS = ("lr_factor", "weight_decay", "betas", "eps")
"""Settings in the groups of the optimizer, which its saved state must not bring back."""


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


class RunState:
    """Counters, clock and files of one run: everything around the algorithm."""

    def __init__(
        self, job: Job, config: TrainConfig, network: nn.Module, optimizer: torch.optim.Optimizer, ema: EMA
    ) -> None:
        """``network``: what is trained; the potential of the job, or its copy that is shared out."""
        self.job, self.config, self.network, self.optimizer, self.ema = job, config, network, optimizer, ema
        scale = FIRST_LOSS_SCALE if config.precision == "16-mixed" else 1.0
        self.progress, self.totals = Progress(elapsed=job.spent_s, loss_scale=scale), Totals()
        self.rates = GroupRates(
            config.optim,
            tuple(group["lr_factor"] for group in optimizer.param_groups),
            Schedule(config.optim, total_steps(job.train, config), config.max_time),
            job.train.n_steps(0),
        )
        self.reserve = 0.0
        """Seconds kept for the last validation."""
        self.every = validation_interval(
            job.train.n_structures,
            job.valid.n_structures + sum(item.batches.n_structures for item in job.retained),
        )
        """Epochs between validations."""
        self.tasks = list(dict.fromkeys(job.valid.task_names))
        self._start = time.monotonic()
        self._first_step, self._before, self._agreed = 0, job.spent_s, job.spent_s
        self._saved = self._spoken = self.elapsed()

    def elapsed(self) -> float:
        """Seconds of wall time since the run began, over all restarts; of several processes: at the last
        ``agree``."""
        if self.job.world.size > 1:
            return self._agreed
        return self._before + time.monotonic() - self._start

    def agree(self, signal: int | None = None) -> int | None:
        """A signal that any process has received; from here all have the time of the first, so that they
        decide alike."""
        signal, self._agreed = self.job.world.agree(signal, self._before + time.monotonic() - self._start)
        return signal

    def out_of_time(self) -> bool:
        """Whether only the last validation still fits into the time budget."""
        return self.config.max_time is not None and self.elapsed() + self.reserve >= self.config.max_time

    def out_of_steps(self) -> bool:
        """Whether the run has taken all the steps that it may take."""
        return self.config.max_steps is not None and self.progress.step >= self.config.max_steps

    def begin(self, begun: float) -> None:
        """From ``begun`` seconds on, the time is spent on training: schedules by time count from here."""
        self.progress.begun = begun
        self.rates = replace(self.rates, schedule=replace(self.rates.schedule, begun=begun))

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
        return done or tired or self.out_of_steps() or self.out_of_time()

    def forces(self) -> ForcesMode:
        """How forces are predicted in the next step, and in validations before it."""
        late = self.config.conservative_after
        if late is None:
            return self.config.forces
        done = self.rates.schedule.progress(self.progress.step, self.elapsed() + self.reserve)
        return "conservative" if done >= late else "direct"

    def advance(self, numbers: list[float], peak: float) -> None:
        """Count one step: ``numbers`` are its loss terms and the norm of its gradient, ``peak`` the largest
        element."""
        progress = self.progress
        progress.step, progress.batch = progress.step + 1, progress.batch + 1
        progress.n_clipped += is_clipped(self.config.optim, numbers[-1], peak)
        self.totals.add(numbers)
        if self.config.precision == "16-mixed":
            progress.scale_held += 1
            if progress.scale_held == SCALE_HOLDS:
                progress.loss_scale, progress.scale_held = 2 * progress.loss_scale, 0
        self.tick()

    def skip(self, numbers: list[float]) -> bool:
        """Leave out a step whose gradient was too large for float16 and halve the loss scale; False: it is
        not that."""
        progress = self.progress
        if progress.loss_scale <= 1.0 or not all(math.isfinite(number) for number in numbers[:-1]):
            return False
        progress.batch, progress.loss_scale, progress.scale_held = (
            progress.batch + 1,
            progress.loss_scale / 2,
            0,
        )
        return True

    def validation_due(self, *, epoch_ended: bool) -> bool:
        """Whether it is time for a validation: after some steps, or after some epochs."""
        steps = self.config.validate_every
        if steps is not None:
            return self.progress.step % steps == 0 and self.progress.step > self.progress.validated_at
        return epoch_ended and self.progress.epoch % self.every == 0

    def validate(self, history: History, lr: float) -> None:
        """Errors of the averaged weights on the validation set; keeps the best model."""
        progress, job = self.progress, self.job
        self.agree()
        began, mode = self.elapsed(), self.forces()
        if progress.validated_forces not in ("", mode):
            progress.forget_best()  # errors of direct and of conservative forces are of two kinds
        progress.validated_forces = mode
        with self.averaged():
            loss, predictions = validate(job.potential, job.valid, self.config.loss, mode, job.world)
            errors = predictions.errors()
            metric = chosen_metric(self.config, loss, errors)
            best = metric < progress.best_loss
            if best:
                progress.best_loss, progress.best_epoch, progress.since_best = metric, progress.epoch, 0
                if job.world.is_first:
                    job.save_model("best", progress)
            else:
                progress.since_best += 1
            by_task = predictions.errors_by_group(job.valid.task_names) if len(self.tasks) > 1 else {}
            by_task |= {item.title: item.errors(job.potential) for item in job.retained}
        self.agree()
        self.reserve, progress.validated_at = self.elapsed() - began, progress.step
        plateau = self.rates.after_validation(progress.step, metric, self.plateau)
        progress.plateau = None if plateau is None else vars(plateau)
        total, energy, forces, stress, scalar, gradient = self.totals.means()
        history.add(
            Row(
                progress.epoch,
                progress.step,
                round(self.elapsed(), 3),
                lr,
                total,
                energy,
                forces,
                stress,
                scalar,
                gradient,
                progress.n_clipped,
                loss,
                errors.energy_mae_mev_per_atom,
                errors.forces_mae_mev_per_a,
                errors.stress_mae_gpa,
                errors.scalar_mae,
                errors.accuracy,
                errors.balanced_accuracy,
                errors.vector_mae,
                best,
            )
        )
        rate = f", {self._speed()}" if progress.step else " (before training)"
        job.say(f"epoch {progress.epoch}, step {progress.step}: valid {errors}{rate}")
        if by_task:
            history.add_tasks(progress.step, round(self.elapsed(), 3), by_task)
        for name, found in by_task.items():
            job.say(f"  {name}: {found}")
        self._spoken = self.elapsed()

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside, the potential of the job has the averaged weights."""
        if self.job.world.shards:
            self.show_weights(self.ema.shadow)
            yield
            return
        with self.ema.swapped():
            yield

    def show_weights(self, instead: Mapping[str, Tensor]) -> None:
        """Gather the weights that are shared out (with some ``instead``) into the potential of the job."""
        if self.job.world.shards:
            copy_whole({**self.network.state_dict(), **instead}, self.job.potential)

    def tick(self) -> None:
        """Called after every step: a line every half minute, a saved state every ``save_every_s``."""
        now = self.elapsed()
        if now - self._spoken > 30.0:
            loss = self.totals.sums[0] / self.totals.steps
            self.job.say(
                f"epoch {self.progress.epoch}, step {self.progress.step}: loss {loss:.4g}, {self._speed()}"
            )
            self._spoken = now
        if now - self._saved > self.config.save_every_s:
            self.save()

    def _speed(self) -> str:
        """Steps per second and time left."""
        progress, config = self.progress, self.config
        rate = (progress.step - self._first_step) / max(self.elapsed() - self._before, 1e-9)
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
        state = Checkpoint(
            self.progress,
            weights=whole(dict(self.network.state_dict())),
            ema=whole(self.ema.state_dict()),
            optimizer=whole(self.optimizer.state_dict()),
            rng=rng_state(),
            totals=vars(self.totals),
            config=config_to_dict(self.config),
            model_config=self.job.model_config,
            data=self.job.data,
        )
        if self.job.world.is_first:
            save_checkpoint(self.job.folder / STATE_FILE, state)
        self.job.world.wait()  # a process that ended now could take the one that writes with it
        self._saved = self.elapsed()

    def load(self, state: Checkpoint) -> None:
        """Go on from a saved state that ``resumed`` has let pass; UsageError if it is of another network.

        Settings of the optimizer are those of now. What was best, and a plateau, are forgotten where they
        mean nothing any more.
        """
        config = config_to_dict(self.config)
        settings = [{key: group[key] for key in OF_GROUPS} for group in self.optimizer.param_groups]
        try:
            self.job.potential.load_state_dict(state.weights)
            for name, weight in self.network.named_parameters():
                weight.detach().copy_(part_of(state.weights[name], weight))
            self.ema.load_state_dict(
                {name: part_of(value, self.ema.shadow.get(name, value)) for name, value in state.ema.items()}
            )
            self.optimizer.load_state_dict(optimizer_parts(state.optimizer, self.optimizer))
        except (ValueError, KeyError, RuntimeError) as err:
            raise UsageError(
                "The saved state belongs to another network.",
                where=str(self.job.folder / STATE_FILE),
                hint="start again with --overwrite",
            ) from err
        for group, own in zip(self.optimizer.param_groups, settings, strict=True):
            group.update(own)
        if is_measured_otherwise(state, config, self.job.data):
            state.progress.forget_best()
        if has_other_rates(state, config):
            state.progress.plateau = None
        set_rng_state(state.rng)
        self.progress, self.totals = state.progress, Totals(**state.totals)
        self.begin(state.progress.begun)
        self._before, self._first_step = state.progress.elapsed, state.progress.step
        self._start, self._agreed = time.monotonic(), self._before
        self._saved = self._spoken = self._before
