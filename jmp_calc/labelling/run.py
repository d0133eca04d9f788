"""The workers of a run: each takes the next batch that nobody has answered, until none is left."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ..errors import ModelError
from .labels import Labels, Refusal, TeacherSpec
from .plan import Batch, Window
from .process import SplitError, Worker, WorkerDiedError
from .store import Answers, Store, Writer

if TYPE_CHECKING:
    from ase import Atoms

MOST_DEATHS = 20
"""Processes that end one after the other without labels in between: then it is not the structures."""


class Answered(Protocol):
    """Is told of structures that have answers; called by several threads."""

    def __call__(self, count: int, /, *, computed: bool) -> None:
        """So many more; ``computed``: in this run."""
        ...


@dataclass(frozen=True)
class Crew:
    """How the processes of a run are started."""

    spec: TeacherSpec
    python: str | None
    processes: int
    threads: int
    timeout: float | None
    scratch: Path

    def start(self, number: int) -> Worker:
        """One process, whose teacher is not loaded yet; errors as of Worker."""
        spec = replace(self.spec, scratch=str(self.scratch / f"worker-{number}"))
        return Worker(spec, python=self.python, threads=self.threads)


@dataclass
class _Shared:
    """What the threads of a run share."""

    batches: Iterator[Batch]
    store: Store
    answered: Answered
    lock: threading.Lock = field(default_factory=threading.Lock)
    stop: threading.Event = field(default_factory=threading.Event)
    error: BaseException | None = None
    deaths: int = 0

    def next(self) -> Batch | None:
        """The next batch without answers; None at the end, and when the run is stopped."""
        with self.lock:
            for batch in self.batches:
                if self.stop.is_set():
                    return None
                if batch.key not in self.store:
                    return batch
                self.answered(len(batch.places), computed=False)
            return None

    def fail(self, error: BaseException) -> None:
        """Stop the run with an error; the first one counts."""
        with self.lock:
            self.error = self.error or error
        self.stop.set()


def answer_all(
    windows: Iterable[Window], crew: Crew, first: Worker, store: Store, answered: Answered
) -> None:
    """Ask about every batch that the store has no answers to; ``answered`` is told how many structures are
    done. Errors of the input, of the disk and of teachers are raised; what is answered stays in the store.

    ``first``: a process whose teacher is loaded already; it is ended here.

    Raises:
        ModelError: the teacher cannot be started again, or dies all the time.
    """
    batches = (batch for window in windows for batch in window.batches)
    shared = _Shared(batches, store, answered)
    started = time.monotonic()
    hands = [
        _Hand(crew, number, first if number == 0 else None, shared, Writer(store, started))
        for number in range(crew.processes)
    ]
    threads = [threading.Thread(target=hand.run, daemon=True) for hand in hands]
    try:
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            for thread in threads:
                thread.join(timeout=0.1)
    except BaseException as error:
        shared.fail(error)
        raise
    finally:
        shared.stop.set()
        for hand in hands:
            hand.interrupt()
        for thread in threads:
            thread.join()
    if shared.error is not None:
        raise shared.error


class _Hand:
    """One thread with its process."""

    def __init__(
        self, crew: Crew, number: int, worker: Worker | None, shared: _Shared, writer: Writer
    ) -> None:
        self._crew, self._number, self._shared, self._writer = crew, number, shared, writer
        self._worker = worker

    def run(self) -> None:
        """Answer batches until none is left; errors stop the whole run."""
        try:
            while not self._shared.stop.is_set() and (batch := self._shared.next()) is not None:
                answers = self._answers(batch.questions)
                self._writer.add(batch.key, answers, [len(atoms) for atoms in batch.questions])
                self._shared.answered(len(answers), computed=True)
        except StoppedError:
            pass
        except BaseException as error:
            self._shared.fail(error)
        finally:
            if self._worker is not None:
                self._worker.kill()
            try:
                self._writer.flush()
            except BaseException as error:
                self._shared.fail(error)

    def interrupt(self) -> None:
        """End what the process does, from another thread."""
        worker = self._worker
        if worker is not None:
            worker.interrupt()

    def _answers(self, questions: Sequence[Atoms]) -> Answers:
        try:
            return self._asked(questions)
        except SplitError:
            pass
        except WorkerDiedError as error:
            if len(questions) == 1:
                return [Refusal(error.reason, error.kind)]
        return [answer for atoms in questions for answer in self._answers([atoms])]

    def _asked(self, questions: Sequence[Atoms]) -> Answers:
        if self._worker is None:
            self._worker = self._crew.start(self._number)
            self._worker.load()
        try:
            answers = self._worker.label(questions, self._crew.timeout)
        except WorkerDiedError as error:
            self._worker = None
            if self._shared.stop.is_set():
                raise StoppedError from error
            self._count_death(error)
            raise
        if any(isinstance(answer, Labels) for answer in answers):
            self._shared.deaths = 0
        return answers

    def _count_death(self, error: WorkerDiedError) -> None:
        self._shared.deaths += 1
        if self._shared.deaths >= MOST_DEATHS:
            raise ModelError(
                f"The process of the teacher died {MOST_DEATHS} times without a label in between: "
                f"{error.reason}.",
                hint="check the teacher on one structure, then go on with --resume",
            ) from error


class StoppedError(Exception):
    """The run is being stopped: what was asked last has no answer."""
