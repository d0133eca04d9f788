"""ASE's readers in a process of their own, with an end: some of them wait for ever, or fill the memory, on a
file that is damaged.

Between two structures a reader may compute for a few seconds, and hold as much memory as a sound file of that
size needs. The process is started, not forked, and reads nothing but the file.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

from ..errors import BadInputError
from .images import images

if TYPE_CHECKING:
    from ase import Atoms

SECONDS, SECONDS_PER_MB = 4, 0.4
"""Processor time between two structures: at least so much, more for files beyond 10 MB."""
MEMORY, MEMORY_PER_BYTE = 450 << 20, 40
"""Bytes beyond those of Python with ASE: at least so many, more for files beyond 10 MB."""
_FREE = 10 << 20
_START = "from jmp_calc.io.apart import serve; serve()"


def images_apart(source: Path, form: str) -> Iterator[Atoms]:
    """The structures of ``images``, and its errors.

    BadInputError for a file that takes too long, too much memory, or ends the process.
    """
    command = [sys.executable, "-P", "-c", _START, str(source.resolve()), form]
    paths = os.pathsep.join(path for path in sys.path if path)
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    assert process.stdout is not None
    try:
        while (item := _received(process.stdout)) is not None:
            if isinstance(item, Exception):
                raise item
            yield item
        _check_end(process.wait(), source, form)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _received(channel: IO[bytes]) -> Atoms | Exception | None:
    """The next structure or error; None at the end, or where the process ended within one."""
    try:
        item: Atoms | Exception = pickle.load(channel)
    except (EOFError, pickle.UnpicklingError):
        return None
    return item


def _check_end(status: int, source: Path, form: str) -> None:
    if status == 0:
        return
    fact = f"The file ends ASE's reader of {form} files (status {status})."
    if status == -getattr(signal, "SIGXCPU", 0):
        fact = f"The file takes ASE's reader of {form} files longer than any sound one of its size."
    raise BadInputError(
        fact,
        where=str(source),
        hint="check that it is what it says it is; a sound one can be converted to extxyz",
    )


# ---- in the other process --------------------------------------------------------------------------------


def serve() -> None:
    """Send the structures of the file that the command line names, or the error; the whole program of the
    other process."""
    source, form = Path(sys.argv[1]), sys.argv[2]
    channel = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a reader prints is no structure
    import ase.io  # noqa: F401, its memory and time are not the file's

    size = max(source.stat().st_size - _FREE, 0)
    seconds = SECONDS + SECONDS_PER_MB * size / (1 << 20)
    try:
        _bound_memory(MEMORY + MEMORY_PER_BYTE * size)
        _bound_time(seconds)
        for atoms in images(source, form):
            _send(channel, atoms)
            _bound_time(seconds)
    except MemoryError:
        _send(channel, MemoryError("more memory than a sound file of this size needs"))
    # ASE's readers raise whatever their parsers raise.
    except Exception as error:
        _send(channel, error)


def _send(channel: IO[bytes], item: Atoms | Exception) -> None:
    try:
        data = pickle.dumps(item)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        data = pickle.dumps(ValueError(f"{type(item).__name__} cannot be handed over: {error}"))
    channel.write(data)
    channel.flush()


def _bound_memory(more: int) -> None:
    """Refuse to allocate more than so many further bytes, where the system can."""
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * os.sysconf("SC_PAGE_SIZE") + more
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))
    except (ImportError, OSError, ValueError):
        pass  # bounded by its time alone


def _bound_time(seconds: float) -> None:
    """End this process after so much further processor time, where the system can."""
    try:
        import resource
    except ImportError:
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.getrlimit(resource.RLIMIT_CPU)[1]))
