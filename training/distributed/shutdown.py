"""The end of a training run of several processes: one message by the first, none of them left behind.

What the others have to say goes through a store that lives in the first process, because the group may be
broken.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch.distributed as dist

from jmp_calc.errors import JMPError

from .world import ProcessEnded, World

LAST_WORDS = 5.0
"""Seconds that a process waits for what the others have to say about an error."""
PARTING = 1.0
"""Seconds that the others stay after the last word of the first process, which is still to be printed."""


@dataclass(frozen=True)
class LastWords:
    """Why a process that is not the first has ended, for the first to tell."""

    cause: Literal["another", "signal", "error"]
    """another: the end of another process."""
    code: int
    """For the exit."""
    fact: str
    where: str | None = None
    hint: str | None = None

    @staticmethod
    def of(error: BaseException) -> LastWords:
        """What there is to say about an error."""
        code = getattr(error, "exit_code", 1)
        if isinstance(error, JMPError):
            cause: Literal["another", "error"] = "another" if isinstance(error, ProcessEnded) else "error"
            return LastWords(cause, code, error.fact, error.where, error.hint)
        return LastWords("signal" if isinstance(error, KeyboardInterrupt) else "error", code, str(error))

    @staticmethod
    def heard(store: dist.TCPStore, rank: int) -> LastWords:
        """Those that a process has left in the store."""
        return LastWords(**json.loads(store.get(f"error {rank}")))

    def explains(self, error: BaseException) -> bool:
        """Whether the first process had ``error`` because of this."""
        if isinstance(error, ProcessEnded):
            return self.cause != "another"
        return isinstance(error, KeyboardInterrupt) and self.cause == "error"

    def told(self, process: str) -> JMPError:
        """As an error of the first process."""
        error = JMPError(f"{process}: {self.fact}", where=self.where, hint=self.hint)
        error.exit_code = self.code
        return error


def common_store(world: World) -> dist.TCPStore:
    """A store that lives in the first process; the group's own one is not public."""
    address = os.environ["MASTER_ADDR"]
    if world.is_first:
        store = dist.TCPStore(address, 0, is_master=True, wait_for_workers=False)
        world.from_first(store.port)
        return store
    return dist.TCPStore(address, world.from_first(0), is_master=False)


def leave(store: dist.TCPStore, world: World, error: BaseException) -> None:
    """End a process that is not the first: its error is told by the first, which may have the same one."""
    words = LastWords.of(error)
    if not _listens(store) or not _try(
        store.set, f"error {world.rank}", json.dumps(dataclasses.asdict(words))
    ):
        raise error  # nobody is left to tell it
    hang_up()
    if threading.current_thread() is threading.main_thread():
        signal.signal(
            signal.SIGTERM, signal.SIG_DFL
        )  # a launcher that ends all of them gets no second message
    # Launchers end the whole run when one process is gone: the first may still be writing its state or its
    # message.
    if _comes(store, ["ending"], LAST_WORDS):
        _comes(store, ["ended"], 60.0)
        _try(store.set, f"heard {world.rank}", "1")
        time.sleep(PARTING)
    if not isinstance(error, JMPError | KeyboardInterrupt | SystemExit):
        raise error  # with its traceback
    raise SystemExit(words.code)


def gathered(
    store: dist.TCPStore, world: World, error: BaseException, children: Sequence[subprocess.Popen[bytes]]
) -> BaseException:
    """What the first process tells about the end of the run: its own error, or the one of the process that
    ended it.

    Waits until all others have left theirs, because the store ends with this process. A launcher that has
    noticed the end of another one before this process did says so by SIGTERM, hence an interruption is not
    always a reason either.
    """
    _try(store.set, "ending", "1")
    hang_up()
    until, others = time.monotonic() + LAST_WORDS, range(1, world.size)
    while time.monotonic() < until:
        left = {rank: LastWords.heard(store, rank) for rank in others if store.check([f"error {rank}"])}
        for rank, words in left.items():
            if words.explains(error):
                return words.told(f"Process {rank + 1} of {world.size}")
        for rank, child in enumerate(children, start=1):
            if isinstance(error, ProcessEnded) and (code := child.poll()) is not None and code < 0:
                return ProcessEnded(
                    f"Process {rank + 1} of {world.size} was ended by {signal.Signals(-code).name}.",
                    hint="memory may have run out; the last saved state is whole: go on with --resume",
                )
        if len(left) == len(others):
            break
        time.sleep(0.05)
    return error


def release(store: dist.TCPStore, world: World) -> None:
    """Let the others end, and wait until those that had an error have heard it; called by the first when all
    is written."""
    _try(store.set, "ended", "1")
    heard = [f"heard {rank}" for rank in range(1, world.size) if store.check([f"error {rank}"])]
    _comes(store, heard, PARTING)


def hang_up() -> None:
    """Leave the group, so that processes that wait for this one notice."""
    if dist.is_initialized():
        dist.destroy_process_group()


def _listens(store: dist.TCPStore) -> bool:
    """Whether the first process is still there; a store that is asked in vain prints a backtrace of C++."""
    time.sleep(0.2)  # a process that dies closes its connections one after the other
    try:
        with socket.create_connection((store.host, store.port), timeout=LAST_WORDS):
            return True
    except OSError:
        return False


def _comes(store: dist.TCPStore, words: list[str], seconds: float) -> bool:
    """Whether all of the words come within the time; a store that waits itself prints a warning at its
    end."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            if not words or store.check(words):
                return True
        except RuntimeError:
            return False
        time.sleep(0.02)
    return False


def _try(action: Any, *arguments: Any) -> bool:
    """Whether the store could be asked; it ends with the first process."""
    try:
        action(*arguments)
    except RuntimeError:
        return False
    return True
