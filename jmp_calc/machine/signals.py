"""Interruption by Ctrl-C and by the batch system, so that a run can end between two steps.

A signal that arrives inside ``deferred_signals()`` is remembered instead of raised; the loop asks
``signals.received`` after every step. A second signal is raised at once.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(KeyboardInterrupt):
    """A run was stopped by a signal; ``exit_code`` is 128 + signal number (130 or 143)."""

    def __init__(self, signum: int, note: str = "") -> None:
        self.signum, self.note = signum, note
        self.exit_code = 128 + signum
        super().__init__(note or f"stopped by {signal.Signals(signum).name}")


class DeferredSignals:
    """Remembers the first SIGINT or SIGTERM; raises Interrupted at the second."""

    def __init__(self) -> None:
        self.received: int | None = None

    def handle(self, signum: int, frame: FrameType | None) -> None:
        """Signal handler: note the first, raise the second."""
        if self.received is not None:
            raise Interrupted(signum)
        self.received = signum


@contextmanager
def deferred_signals() -> Iterator[DeferredSignals]:
    """Within the block, SIGINT and SIGTERM are remembered; outside the main thread this does nothing."""
    signals = DeferredSignals()
    if threading.current_thread() is not threading.main_thread():
        yield signals
        return
    old = {number: signal.signal(number, signals.handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield signals
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


@contextmanager
def sigterm_raises() -> Iterator[None]:
    """Within the block, SIGTERM raises Interrupted (exit 143) instead of ending the process without
    clean-up."""

    def handler(signum: int, frame: FrameType | None) -> None:
        raise Interrupted(signum)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    old = signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, old)
