"""A campaign at work: units go to an executor, answers into the journal, until every unit has one.

Only this process writes, so workers need no shared folder. An answer is on disk before the unit counts as
done; what a kill interrupts is computed again as a whole, with the same neighbours in the same batches, and
so with the same numbers.
"""

from __future__ import annotations

import uuid
import warnings
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import JMPWarning, ModelError, UsageError
from ..io.progress import Progress
from ..machine.signals import DeferredSignals, Interrupted
from ..workflows.outcomes import Outcome
from .answers import Answers
from .engines import Engine
from .plan import Unit
from .settings import ScreenSettings
from .worker import Order, Reply, compute

MOST_DEATHS = 20
"""Workers that end one after the other without an answer in between: then it is not the structures."""
DIED = "The process that computed it died: killed, out of memory, or a crash of the calculator."
POLL_S = 0.5
"""Signals are looked for at least so often."""


@dataclass(frozen=True, eq=False)
class Job:
    """Structures of a unit that have no answer yet, or a bad one."""

    unit: Unit
    members: tuple[int, ...]
    """Their numbers in the unit."""
    suspect: bool = False
    """A worker died while it was computed, perhaps of it: nothing else is computed beside it."""


@dataclass
class _State:
    """What is under way, and what waits to be computed alone."""

    running: dict[Future[Reply], Job] = field(default_factory=dict)
    suspects: deque[Job] = field(default_factory=deque)
    deaths: int = 0

    @property
    def alone(self) -> bool:
        """Whether what runs must have nothing beside it."""
        return any(job.suspect for job in self.running.values())


class Campaign:
    """One call of ``screen``: what is asked, who computes, where the answers go."""

    def __init__(
        self,
        settings: ScreenSettings,
        calculator: bytes,
        answers: Answers,
        words: Mapping[str, Any],
        engine: Engine,
        progress: Progress,
    ) -> None:
        """``calculator``: pickled, see ``worker``; ``words``: what identifies it."""
        self._settings, self._calculator, self._words = settings, calculator, words
        self._answers, self._engine, self._progress = answers, engine, progress
        self._id = uuid.uuid4().hex
        self._told: set[str] = set()
        self.computed = 0
        """Structures that this call has computed."""

    def run(self, units: Iterator[Unit], signals: DeferredSignals) -> None:
        """Compute what the journal does not have.

        Raises:
            Interrupted: a signal; answers so far are kept. ModelError: workers die all the time.
            The errors of the calculator itself.
        """
        jobs, state, ended = self._jobs(units), _State(), False
        while not ended:
            with self._engine.executor() as executor:
                try:
                    self._feed(executor, jobs, state, signals)
                    ended = True
                except BrokenExecutor as error:
                    self._after_death(state, error)

    def _jobs(self, units: Iterator[Unit]) -> Iterator[Job]:
        """What is to be computed; what is done already is counted."""
        for unit in units:
            known = self._answers.known(unit)
            retry = self._settings.retry
            wanted = tuple(
                number
                for number, record in enumerate(known)
                if record is None or (retry and record["status"] != "ok")
            )
            self._count(len(known) - len(wanted), "done before")
            if wanted:
                yield Job(unit, wanted)

    def _feed(self, executor: Executor, jobs: Iterator[Job], state: _State, signals: DeferredSignals) -> None:
        """Keep the executor busy until nothing is left; BrokenExecutor where a worker died."""
        while True:
            if signals.received is not None:
                raise Interrupted(signals.received)
            if state.suspects:
                if not state.running:
                    self._submit(executor, state.suspects.popleft(), state)
            elif not state.alone:
                while len(state.running) < self._engine.width and (job := next(jobs, None)) is not None:
                    self._submit(executor, job, state)
            if not state.running:
                return
            done, _ = wait(state.running, timeout=POLL_S, return_when=FIRST_COMPLETED)
            for future in done:
                self._take(state, future)

    def _submit(self, executor: Executor, job: Job, state: _State) -> None:
        settings = self._settings
        structures = tuple(job.unit.structures[number] for number in job.members)
        order = Order(
            task=settings.task,
            settings=settings.task_settings,
            batch=settings.batch,
            structures=structures,
            calculator=self._calculator,
            campaign=self._id,
            threads=self._engine.threads,
        )
        try:
            state.running[executor.submit(compute, order)] = job
        except BrokenExecutor:
            state.suspects.appendleft(job)
            raise

    def _take(self, state: _State, future: Future[Reply]) -> None:
        """Keep an answer; errors of the calculator and of a broken executor are raised."""
        error = future.exception()
        if isinstance(error, BrokenExecutor):
            raise error
        job = state.running.pop(future)
        if type(error).__name__ == "KilledWorker":  # Dask's: it has tried several workers, and has others
            self._blame(state, job)
            return
        if error is not None:
            raise error
        state.deaths = 0
        reply = future.result()
        if reply.potential != self._words:
            raise UsageError(
                f"A worker has another calculator than this process: {reply.potential}, here {self._words}.",
                hint="give the calculator itself, or a function that makes the same one everywhere",
            )
        self._keep(job, reply.records)
        for text in reply.warnings:
            if text not in self._told:
                self._told.add(text)
                warnings.warn(text, JMPWarning, stacklevel=2)

    def _keep(self, job: Job, records: Sequence[Any]) -> None:
        self._answers.keep(job.unit, job.members, records)
        self.computed += len(records)
        self._count(len(records), job.unit.places[job.members[-1]].formula)

    def _after_death(self, state: _State, error: BrokenExecutor) -> None:
        """Everything that was under way is suspect; what was alone is to blame.

        Raises:
            ModelError: there is no other executor, or the workers die all the time.
        """
        state.deaths += 1
        if not self._engine.replaceable:
            raise ModelError(
                f"A worker of the executor died, and it gives no other: {error}.",
                hint="start the workers again, then go on with --resume",
            ) from error
        if state.deaths >= MOST_DEATHS:
            raise ModelError(
                f"The workers died {MOST_DEATHS} times without an answer in between.",
                hint="check the calculator on one structure, then go on with --resume",
            ) from error
        jobs = list(state.running.values())
        state.running.clear()
        if len(jobs) == 1:
            self._blame(state, jobs[0])
        else:
            state.suspects.extendleft(replace(job, suspect=True) for job in reversed(jobs))

    def _blame(self, state: _State, job: Job) -> None:
        """A worker died of this job: of one structure that is its outcome, several are tried one by one."""
        if len(job.members) > 1:
            alone = [replace(job, members=(number,), suspect=True) for number in job.members]
            state.suspects.extendleft(reversed(alone))
            return
        outcome = Outcome("failed", DIED, atoms=job.unit.structures[job.members[0]].copy())
        self._keep(job, [outcome.to_json()])

    def _count(self, number: int, note: str) -> None:
        for _ in range(number):
            self._progress.update(note)
