"""Computing in a forked process, which has one thread of its parent and all that the others left behind.

Worker threads of torch are not there in the child: a call that gives them work waits for ever. So a child
computes with one thread. Locks that another thread held stay locked: where one was computing when the process
forked, the child is told to use 'spawn' instead.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import UsageError

_SPAWN = "start processes with multiprocessing.get_context('spawn')"


class _Work:
    """What the threads of this process compute, and what its parent computed when it forked."""

    def __init__(self) -> None:
        self._running: dict[int, int] = {}
        """Evaluations by thread, one inside the other."""
        self._used_threads = False
        self._parent_used_threads = False
        self._cut_off = False
        """Another thread was computing when this process was forked."""

    def check(self) -> None:
        """UsageError if an evaluation in this process could wait for ever."""
        if self._cut_off:
            raise UsageError(
                "This process was forked while another thread of its parent was computing; what that thread "
                "held is never free here.",
                hint=f"{_SPAWN}, or fork when nothing is computed",
            )
        if self._parent_used_threads and (threads := _torch_threads()) > 1:
            raise UsageError(
                f"PyTorch cannot use {threads} threads in a process that was forked after its parent had "
                "used several: it would wait for ever.",
                hint=f"leave one thread to forked processes, or {_SPAWN}",
            )

    def begin(self) -> None:
        """An evaluation begins in this thread."""
        self.check()
        self._used_threads |= _torch_threads() > 1
        thread = threading.get_ident()
        self._running[thread] = self._running.get(thread, 0) + 1

    def end(self) -> None:
        """The evaluation that began last in this thread has ended."""
        thread = threading.get_ident()
        self._running[thread] -= 1
        if not self._running[thread]:
            del self._running[thread]

    def forked(self) -> None:
        """Called in the child: one thread, the one that forked, is left."""
        own = threading.get_ident()
        self._cut_off |= any(thread != own for thread in self._running)
        self._running = {thread: depth for thread, depth in self._running.items() if thread == own}
        self._parent_used_threads |= self._used_threads
        set_threads = getattr(sys.modules.get("torch"), "set_num_threads", None)
        if set_threads is not None and not self._cut_off:
            set_threads(1)


def _torch_threads() -> int:
    import torch

    return torch.get_num_threads()


_work = _Work()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_work.forked)


def check_process() -> None:
    """UsageError if this process was forked in such a way that an evaluation could wait for ever."""
    _work.check()


@contextmanager
def evaluating() -> Iterator[None]:
    """Around everything that torch computes; UsageError where it could wait for ever."""
    _work.begin()
    try:
        yield
    finally:
        _work.end()
