"""Shares of the input of ``preprocess`` written to shards, here or by several processes, with progress."""

from __future__ import annotations

import multiprocessing
import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from jmp_calc.errors import JMPError, UsageError
from jmp_calc.io.progress import duration

from ..data.frame import Frame
from ..data.screen import Screen
from .format import DoesNotFitError
from .writer import ShardWriter, WrittenShard

if TYPE_CHECKING:
    pass

_SAY_EVERY = 10.0
"""Seconds."""
_TELL_EVERY = 0.5
Tell = Callable[[int, "float | None"], None]
"""Takes frames written and the share of the input that was read (None: not known)."""


class Progress:
    """Frames, rate and time left of all shares, as a line every ten seconds."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._began = self._said = time.monotonic()
        self._frames: dict[int, int] = {}
        self._fractions: dict[int, float | None] = {}

    def start(self, shares: int) -> None:
        """Shares 0 ... shares-1 begin."""
        self._frames, self._fractions = dict.fromkeys(range(shares), 0), dict.fromkeys(range(shares), 0.0)
        self._began = self._said = time.monotonic()

    def update(self, share: int, frames: int, fraction: float | None) -> None:
        """How far one share is."""
        self._frames[share], self._fractions[share] = frames, fraction
        if time.monotonic() - self._said >= _SAY_EVERY:
            self._said = time.monotonic()
            self._say(self.line())

    def line(self) -> str:
        """What there is to say now."""
        elapsed = max(time.monotonic() - self._began, 1e-9)
        frames = sum(self._frames.values())
        text = f"{frames} frames, {frames / elapsed:.0f} frames/s"
        known = [fraction for fraction in self._fractions.values() if fraction is not None]
        done = sum(known) / max(len(self._fractions), 1)
        if len(known) < len(self._fractions) or done <= 0.0:
            return text
        return f"{text}, {duration(elapsed * (1.0 - done) / done)} left"


def write_shares(
    shares: Sequence[Share], folder: Path, screen: Screen, progress: Progress
) -> tuple[list[WrittenShard], Counter[str]]:
    """The shards in order, one process each, and how many frames were left out for which reason."""
    progress.start(len(shares))
    if len(shares) == 1:
        written = [
            _write(
                shares[0], folder, 0, screen, lambda frames, fraction: progress.update(0, frames, fraction)
            )
        ]
    else:
        written = _side_by_side(shares, folder, screen, progress)
    counts: Counter[str] = Counter()
    for _, left_out in written:
        counts.update(left_out)
    return [shard for shard, _ in written], counts


def _write(
    share: Share, folder: Path, number: int, screen: Screen, tell: Tell
) -> tuple[WrittenShard, Counter[str]]:
    own = Screen(screen.on_bad, screen.min_atoms, screen.max_force)
    read: float | None = None
    told = 0.0

    def position(fraction: float | None) -> None:
        nonlocal read
        read = fraction

    writer = ShardWriter(folder, number)
    try:
        for frame in share.frames(own, position):
            try:
                writer.add(frame)
            except DoesNotFitError:
                if own.on_bad == "fail":
                    raise
                own.counts["does not fit into a record"] += 1
                continue
            if time.monotonic() - told > _TELL_EVERY:
                told = time.monotonic()
                tell(writer.sums.count, read)
        return writer.close(), own.counts
    finally:
        writer.abandon()


def _side_by_side(
    shares: Sequence[Share], folder: Path, screen: Screen, progress: Progress
) -> list[tuple[WrittenShard, Counter[str]]]:
    context = multiprocessing.get_context("spawn")
    pipes: dict[Connection, int] = {}
    processes = []
    written: dict[int, tuple[WrittenShard, Counter[str]]] = {}
    try:
        for number, share in enumerate(shares):
            here, there = context.Pipe(duplex=False)
            process = context.Process(target=_work, args=(share, folder, number, screen, there), daemon=True)
            process.start()
            there.close()
            processes.append(process)
            pipes[here] = number
        while pipes:
            for pipe in wait(list(pipes)):
                assert isinstance(pipe, Connection)
                try:
                    answer = pipe.recv()
                except EOFError:
                    raise UsageError(
                        f"Process {pipes[pipe]} has ended before its work was done.",
                        hint="memory may have run out: take fewer --workers",
                    ) from None
                if isinstance(answer, (JMPError, OSError)):
                    raise answer
                if isinstance(answer, str):
                    raise RuntimeError(f"a process of preprocess failed:\n{answer}")
                if isinstance(answer[0], WrittenShard):
                    written[pipes.pop(pipe)] = answer
                else:
                    progress.update(pipes[pipe], *answer)
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.join()
    return [written[number] for number in range(len(shares))]


def _work(share: Share, folder: Path, number: int, screen: Screen, pipe: Connection) -> None:
    """In a process of its own: progress, and at last the shard or an error, into the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process decides when to stop
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        pipe.send(
            _write(share, folder, number, screen, lambda frames, fraction: pipe.send((frames, fraction)))
        )
    except (JMPError, OSError) as error:
        pipe.send(error)
    except Exception:
        pipe.send(traceback.format_exc())


class Share(Protocol):
    """A contiguous part of the input; picklable."""

    def frames(self, screen: Screen, position: Callable[[float | None], None]) -> Iterator[Frame]:
        """The frames that ``screen`` accepts; ``position`` is told the share of the input that was read."""
        ...
