"""Everything around the algorithm of a run: counters, learning rates, validations and files."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from jmp_calc.errors import UsageError
from jmp_calc.io.progress import duration

from ..config import ForcesMode, TrainConfig, WeightSet, config_to_dict
from ..distributed.sharding import copy_whole, optimizer_parts, part_of, whole
from ..optim.ema import EMA
from ..optim.optimizer import Schedule, is_clipped
from ..optim.schedules import GroupRates, Plateau, is_exhausted
from ..validation.history import History, Row, columns
from ..validation.metrics import Errors
from ..validation.validate import Measured, better, measured
from .checkpoint import Checkpoint, Progress, rng_state, save_checkpoint, set_rng_state
from .clock import Clock
from .job import STATE_FILE, Job, total_steps, validation_interval
from .numbers import StepNumbers, Totals
from .resume import has_other_rates, is_measured_otherwise

if TYPE_CHECKING:
    from jmp_calc.model.potential import Potential

FIRST_LOSS_SCALE, SCALE_HOLDS = 2.0**16, 2000
"""Of float16: the loss scale starts here, is halved where a gradient overflows, and doubled after so many
good steps."""
OF_GROUPS = ("lr_factor", "weight_decay", "betas", "eps")
"""Settings in the groups of the optimizer, which its saved state must not bring back."""


class RunState:
    """Where a run stands, and what happens at its validations and saved states."""

    def __init__(
        self, job: Job, config: TrainConfig, network: Potential, optimizer: torch.optim.Optimizer, ema: EMA
    ) -> None:
        """``network``: what is trained; the potential of the job, or its copy that is shared out."""
        self.job, self.config, self.network, self.optimizer, self.ema = job, config, network, optimizer, ema
        self.trained = [weight for weight in network.parameters() if weight.requires_grad]
        self.shared = network.shared_parameters()
        """Weights that several blocks use, with the number of uses."""
        scale = FIRST_LOSS_SCALE if config.precision == "16-mixed" else 1.0
        self.progress, self.totals = Progress(elapsed=job.spent_s, loss_scale=scale), Totals()
        self.clock, self._first_step = Clock(job.world, job.spent_s), 0
        self.rates = GroupRates(
            config.optim,
            tuple(group["lr_factor"] for group in optimizer.param_groups),
            Schedule(config.optim, total_steps(job.train, config), config.max_time),
            job.train.n_steps(0),
        )
        self.every = validation_interval(
            config,
            job.train.n_structures,
            job.valid.n_structures,
            sum(item.batches.n_structures for item in job.retained),
        )
        """Epochs between validations."""

    def start_history(self, checkpoint: Checkpoint | None) -> History:
        """Go on from a saved state, if there is one, and open the history, which the first process writes."""
        first = self.job.world.is_first
        if checkpoint is None:
            return History(self.job.folder if first else None, None, self.job.loggers)
        self.load(checkpoint)
        done = self.validation_due() or not self.finished()
        self.job.say(
            f"resumed at step {self.progress.step}, epoch {self.progress.epoch}"
            if done
            else f"the run is already complete: {self.progress.step} steps, {self.progress.epoch} epochs"
        )
        # Of a run that was killed between a validation and the state after it, the row is written again.
        return History(self.job.folder if first else None, self.progress.validated_at, self.job.loggers)

    # --- the length of the run and the settings of the next step ---

    def finished(self) -> bool:
        """Whether the epochs, the steps, the time, the patience or the learning rate are used up."""
        progress, config = self.progress, self.config
        plateau, stages = self.plateau, config.optim.stages
        return (
            (config.n_epochs is not None and progress.epoch >= config.n_epochs)
            or (config.max_steps is not None and progress.step >= config.max_steps)
            or self.out_of_patience()
            or (plateau is not None and stages is not None and is_exhausted(plateau.rates, stages))
            or self.out_of_time()
        )

    def out_of_patience(self) -> bool:
        """Whether too many validations in a row were no better; those of direct forces, after which
        conservative ones are still to come, do not count."""
        patience, progress = self.config.patience, self.progress
        last = self.config.conservative_after is None or progress.validated_forces == "conservative"
        return patience is not None and last and progress.since_best >= patience

    def out_of_time(self) -> bool:
        """Whether only the last validation still fits into the time budget."""
        return self.config.max_time is not None and self.spent() >= self.config.max_time

    def spent(self) -> float:
        """Seconds of the run, with those that the last validation will take."""
        return self.clock.elapsed() + self.progress.reserve

    def validation_due(self) -> bool:
        """Whether it is time for a validation: after some steps, after some epochs, or at the end."""
        progress, steps = self.progress, self.config.validate_every
        if progress.step == progress.validated_at:
            return False
        if steps is not None and progress.step % steps == 0:
            return True
        epoch_ended = steps is None and progress.batch == 0 and progress.epoch % self.every == 0
        return epoch_ended or self.finished()

    @property
    def plateau(self) -> Plateau | None:
        """What the plateau stage remembers; None before it has begun."""
        return None if self.progress.plateau is None else Plateau(**self.progress.plateau)

    def set_learning_rates(self) -> None:
        """Give every parameter group the learning rate of the next step."""
        rates = self.rates.at(self.progress.step, self.spent(), self.plateau)
        for group, rate in zip(self.optimizer.param_groups, rates):
            group["lr"] = rate

    def forces(self) -> ForcesMode:
        """How forces are predicted in the next step, and in validations before it."""
        late = self.config.conservative_after
        if late is None:
            return self.config.forces
        done = self.rates.schedule.progress(self.progress.step, self.spent())
        return "conservative" if done >= late else "direct"

    # --- what a step changes ---

    def begin(self, begun: float) -> None:
        """From ``begun`` seconds on, the time is spent on training: schedules by time count from here."""
        self.progress.begun = begun
        self.rates = replace(self.rates, schedule=replace(self.rates.schedule, begun=begun))

    def advance(self, numbers: StepNumbers) -> None:
        """Count one step; says where the run stands every half minute and saves it every ``save_every_s``."""
        progress, config = self.progress, self.config
        progress.step, progress.batch = progress.step + 1, progress.batch + 1
        progress.n_clipped += is_clipped(config.optim, numbers.norm, numbers.largest)
        self.totals.add(numbers)
        if config.precision == "16-mixed":
            progress.scale_held += 1
            if progress.scale_held == SCALE_HOLDS:
                progress.loss_scale, progress.scale_held = 2 * progress.loss_scale, 0
        self.tick()

    def skip(self, numbers: StepNumbers) -> bool:
        """Leave out a step whose gradient was too large for float16 and halve the loss scale; False: it is
        not that."""
        progress = self.progress
        if progress.loss_scale <= 1.0 or not numbers.loss_is_finite:
            return False
        progress.batch, progress.scale_held = progress.batch + 1, 0
        progress.loss_scale /= 2
        return True

    def end_epoch(self) -> None:
        """Count one epoch."""
        self.progress.epoch, self.progress.batch = self.progress.epoch + 1, 0

    def tick(self) -> None:
        """Called after every step: a line every half minute, a saved state every ``save_every_s``."""
        progress = self.progress
        if self.clock.must_speak():
            loss = self.totals.sums[0] / self.totals.steps
            self.job.say(f"epoch {progress.epoch}, step {progress.step}: loss {loss:.4g}, {self._speed()}")
            self.clock.spoken()
        if self.clock.must_save(self.config.save_every_s):
            self.save()

    def _speed(self) -> str:
        """Steps per second and time left."""
        left = self.left_s()
        rate = f"{self._rate():.2f} steps/s"
        return f"{rate}, {duration(left)} left" if math.isfinite(left) else rate

    def _rate(self) -> float:
        """Steps per second since the run began or went on."""
        return (self.progress.step - self._first_step) / max(self.clock.here(), 1e-9)

    def left_s(self) -> float:
        """Seconds that the run will still take; infinite where nobody knows."""
        left, rate = math.inf, self._rate()
        steps = total_steps(self.job.train, self.config)
        if steps is not None and rate > 0:
            left = (steps - self.progress.step) / rate
        if self.config.max_time is not None:
            left = min(left, self.config.max_time - self.clock.elapsed())
        return left

    # --- validation ---

    def settle(self, history: History) -> None:
        """The validation of the last step, unless it has been made, and the state after it."""
        if self.progress.step != self.progress.validated_at:
            self.validate(history)
        self.save()

    def validate(self, history: History) -> None:
        """Errors on the validation set, of the averaged weights and of those as they are; keeps the best
        model."""
        progress = self.progress
        self.clock.agree()
        began, mode = self.clock.elapsed(), self.forces()
        if progress.validated_forces not in ("", mode):
            progress.forget_best()  # errors of direct and of conservative forces are of two kinds
        progress.validated_forces = mode
        chosen, other = better([self._measured(kind, mode) for kind in self._weight_sets()])
        best = self._is_best(chosen)
        with self.shown(chosen.weights):
            if best and self.job.world.is_first:
                self.job.save_model("best", progress)
            by_task = self._errors_by_task(chosen)
        self.clock.agree()
        progress.reserve, progress.validated_at = self.clock.elapsed() - began, progress.step
        plateau = self.rates.after_validation(progress.step, chosen.metric, self.plateau)
        progress.plateau = None if plateau is None else vars(plateau)
        history.add(self._row(chosen, other, best=best))
        if by_task:
            history.add_tasks(progress.step, round(self.clock.elapsed(), 3), by_task)
        self._say_errors(chosen, by_task)

    def _weight_sets(self) -> list[WeightSet]:
        """The weights that a validation has to evaluate."""
        if self.config.optim.ema_decay is None:
            return ["raw"]
        # Before the first step both are the same.
        return ["averaged", "raw"] if self.progress.step else ["averaged"]

    def _measured(self, kind: WeightSet, mode: ForcesMode) -> Measured:
        with self.shown(kind):
            return measured(kind, self.job.potential, self.job.valid, self.config, mode, self.job.world)

    def _is_best(self, chosen: Measured) -> bool:
        """Whether a validation is the best so far; counts it."""
        progress = self.progress
        progress.weights = chosen.weights
        if chosen.metric >= progress.best_loss:
            progress.since_best += 1
            return False
        progress.best_loss, progress.since_best = chosen.metric, 0
        progress.best_epoch, progress.best_step = progress.epoch, progress.step
        progress.best_weights = chosen.weights
        return True

    def _errors_by_task(self, chosen: Measured) -> dict[str, Errors]:
        """Errors of every data set, if there are several, and of earlier data."""
        names, retained = self.job.valid.task_names, self.job.retained
        several = len(set(names)) > 1
        by_task = chosen.predictions.errors_by_group(names) if several else {}
        return by_task | {item.title: item.errors(self.job.potential) for item in retained}

    def _row(self, chosen: Measured, other: Measured | None, *, best: bool) -> Row:
        progress = self.progress
        total, energy, forces, stress, scalar, gradient = self.totals.means()
        return Row(
            epoch=progress.epoch,
            step=progress.step,
            elapsed_s=round(self.clock.elapsed(), 3),
            lr=max(group["lr"] for group in self.optimizer.param_groups) if progress.step else 0.0,
            train_loss=total,
            train_energy_loss=energy,
            train_forces_loss=forces,
            train_stress_loss=stress,
            train_scalar_loss=scalar,
            gradient_norm=gradient,
            n_clipped=progress.n_clipped,
            best=best,
            weights=chosen.weights,
            **columns("valid", chosen.loss, chosen.errors),
            **({} if other is None else columns("other", other.loss, other.errors)),
        )

    def _say_errors(self, chosen: Measured, by_task: dict[str, Errors]) -> None:
        progress, say = self.progress, self.job.say
        note = f", {self._speed()}" if progress.step else " (before training)"
        if chosen.weights == "raw" and self.config.optim.ema_decay is not None:
            note = f" (weights not averaged){note}"
        say(f"epoch {progress.epoch}, step {progress.step}: valid {chosen.errors}{note}")
        for name, found in by_task.items():
            say(f"  {name}: {found}")
        self.clock.spoken()

    @contextmanager
    def shown(self, kind: WeightSet) -> Iterator[None]:
        """Inside, the potential of the job has the averaged weights, or those as they are."""
        if self.job.world.shards:
            self.show_weights(kind)
            yield
        elif kind == "averaged":
            with self.ema.swapped():
                yield
        else:
            yield

    def show_weights(self, kind: WeightSet) -> None:
        """Gather weights that are shared out into the potential of the job."""
        averaged = self.ema.shadow if kind == "averaged" else {}
        copy_whole({**self.network.state_dict(), **averaged}, self.job.potential)

    def keep_weights(self) -> None:
        """Give the potential of the job, for good, the weights that the last validation found better, and
        save it as the last model."""
        if self.job.world.shards:
            self.show_weights(self.progress.weights)
        elif self.progress.weights == "averaged":
            self.ema.to_weights()
        if self.job.world.is_first:
            self.job.save_model("last", self.progress)

    # --- files ---

    def save(self) -> None:
        """Write the resumable state atomically."""
        self.progress.elapsed = self.clock.elapsed()
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
            self.job.state_saved(state)
        self.job.world.wait()  # a process that ended now could take the one that writes with it
        self.clock.saved()

    def load(self, state: Checkpoint) -> None:
        """Go on from a saved state that ``resumed`` has let pass; UsageError if it is of another network.

        Settings of the optimizer are those of now. What was best, and a plateau, are forgotten where they
        mean nothing any more.
        """
        self._take_over(state)
        config, progress = config_to_dict(self.config), replace(state.progress)
        if is_measured_otherwise(state, config, self.job.data):
            progress.forget_best()
        if has_other_rates(state, config):
            progress.plateau = None
        set_rng_state(state.rng)
        self.progress, self.totals = progress, Totals(**state.totals)
        self.begin(progress.begun)
        self._first_step = progress.step
        self.clock.go_on(progress.elapsed)

    def _take_over(self, state: Checkpoint) -> None:
        """Weights, averages and moments of a state, which may be shared out."""
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
