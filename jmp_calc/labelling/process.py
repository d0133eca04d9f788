"""A worker process seen from the run: it is asked, waited for no longer than its time, and killed."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ..errors import ModelError, UsageError
from .labels import Labels, Refusal, TeacherFacts, TeacherSpec
from .pipe import arrays_to_answers, frames_to_arrays, packed, received
from .teachers.names import NAMED

if TYPE_CHECKING:
    from ase import Atoms

LOADING_S = 900.0
"""A teacher that is not ready after this time hangs, or waits for a download."""
LONGEST_BATCH_S = 600.0
"""Several structures get their times together, but no more than this: then they are asked one by one."""
_STUB = (
    "import sys, types; package = types.ModuleType('jmp_calc'); package.__path__ = [sys.argv[1]]; "
    "sys.modules['jmp_calc'] = package; from jmp_calc.labelling.worker import main; main()"
)
"""Another interpreter sees our worker, and nothing else that lies beside jmp-calc."""
_MISSING = re.compile(r"No module named '([\w.]+)'")


class WorkerDiedError(Exception):
    """The process of a worker ended, or was killed because its time was over."""

    def __init__(self, reason: str, kind: str) -> None:
        self.reason, self.kind = reason, kind
        super().__init__(reason)


class SplitError(Exception):
    """A batch failed as a whole; its structures are to be asked one by one."""


def no_interpreter(python: str, reason: str) -> UsageError:
    """The error for an interpreter that cannot be started."""
    return UsageError(
        f"The interpreter cannot be started: {reason}.",
        where=python,
        hint="name the python of an environment, such as env/bin/python",
    )


def lacking(package: str, teacher: str, python: str) -> ModelError:
    """The error for a package that the interpreter of a teacher has not."""
    entry = NAMED.get(teacher)
    if python == sys.executable:
        how = f"run: {entry.install}" if entry else f"install {package}"
        hint = f"{how}, or name an interpreter that has it with --python PATH"
    else:
        also = f"{entry.package}=={entry.version}" if entry else package
        hint = f"run: {python} -m pip install numpy ase {also}"
    return ModelError(f"The package {package} is not installed.", where=python, hint=hint)


class _Tail:
    """The last lines of a stream, read by a thread of its own so that nobody waits for it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._lines: deque[str] = deque(maxlen=40)
        self._thread = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self._thread.start()

    def _read(self, stream: IO[bytes]) -> None:
        with stream:
            while line := stream.readline(4096):
                self._lines.append(line.decode("utf-8", "replace").rstrip())

    def text(self) -> str:
        """What was said last."""
        self._thread.join(timeout=2.0)
        return "\n".join(self._lines)


class _Deadline:
    """Bytes of a pipe until a moment; TimeoutError then."""

    def __init__(self, stream: IO[bytes], seconds: float | None) -> None:
        self._handle = stream.fileno()
        self._end = None if seconds is None else time.monotonic() + seconds

    def read(self, count: int, /) -> bytes:
        """Exactly ``count`` bytes; EOFError where the process has ended."""
        parts: list[bytes] = []
        while count:
            left = None if self._end is None else max(self._end - time.monotonic(), 0.0)
            if not select.select([self._handle], [], [], left)[0]:
                raise TimeoutError
            data = os.read(self._handle, min(count, 1 << 20))
            if not data:
                raise EOFError
            parts.append(data)
            count -= len(data)
        return b"".join(parts)


class Worker:
    """One process and its teacher; use as a context manager."""

    def __init__(self, spec: TeacherSpec, *, python: str | None, threads: int) -> None:
        """Start the process; UsageError where there is no such interpreter."""
        self._spec, self._python = spec, python or sys.executable
        self._process = self._started(threads)
        self._tail = _Tail(self._pipe(self._process.stderr))

    def load(self) -> TeacherFacts:
        """Wait for the teacher; the process is ended where there is none.

        Raises:
            ModelError: the teacher cannot be made there.
            UsageError: settings that it has not.
        """
        try:
            return self._ready()
        except BaseException:
            self.kill()
            raise

    def label(self, frames: Sequence[Atoms], seconds: float | None) -> list[Labels | Refusal]:
        """Labels of each structure within ``seconds`` each.

        Raises:
            SplitError: ask one by one.
            WorkerDiedError: it crashed or took longer; a new worker is needed.
        """
        most = None if seconds is None else max(seconds, min(seconds * len(frames), LONGEST_BATCH_S))
        try:
            self._send(packed({"kind": "label", "seconds": most}, frames_to_arrays(frames)))
            header, arrays = received(_Deadline(self._pipe(self._process.stdout), most))
        except TimeoutError:
            self.kill()
            raise WorkerDiedError(f"no answer within {most:g} s", "timeout") from None
        except (EOFError, ValueError, OSError) as error:
            raise WorkerDiedError(self._how_it_ended(), "crashed") from error
        if header["kind"] == "split":
            raise SplitError
        return arrays_to_answers(header["reasons"], arrays)

    def interrupt(self) -> None:
        """End the process and all that it started; who waits for an answer gets WorkerDiedError."""
        with suppress(OSError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def kill(self) -> None:
        """End the process and all that it started, and close its pipes."""
        self.interrupt()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @staticmethod
    def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
        assert stream is not None  # all three are pipes
        return stream

    def _started(self, threads: int) -> subprocess.Popen[bytes]:
        package = Path(__file__).parents[1]
        own = self._python == sys.executable
        how = ["-m", f"{__package__}.worker"] if own else ["-c", _STUB, str(package)]
        try:
            return subprocess.Popen(
                [self._python, *how],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=_environment(threads),
                bufsize=0,
                start_new_session=True,
            )
        except OSError as error:
            raise no_interpreter(self._python, str(error.strerror)) from error

    def _send(self, data: bytes) -> None:
        view, stream = memoryview(data), self._pipe(self._process.stdin)
        while view:
            view = view[stream.write(view) :]

    def _ready(self) -> TeacherFacts:
        try:
            self._send(packed({"spec": asdict(self._spec)}))
            header, _ = received(_Deadline(self._pipe(self._process.stdout), LOADING_S))
        except TimeoutError:
            raise ModelError(
                f"The teacher {self._spec.name} was not ready after {LOADING_S:g} s.",
                where=self._python,
                hint="does it wait for a download? fetch its weights first and give --weights",
            ) from None
        except (EOFError, ValueError, OSError) as error:
            raise self._not_started() from error
        if header["kind"] == "missing":
            raise self._lacks(header["name"])
        if header["kind"] == "failed":
            kind = UsageError if header["usage"] else ModelError
            fact = header["fact"] if header["fact"].endswith(".") else f"{header['fact']}."
            raise kind(fact, where=header["where"] or f"teacher {self._spec.name}", hint=header["hint"])
        return TeacherFacts.from_dict(header["facts"])

    def _not_started(self) -> ModelError:
        """What an interpreter says that did not even start our worker."""
        reason = self._how_it_ended()
        missing = _MISSING.search(self._tail.text())
        return (
            self._lacks(missing[1])
            if missing
            else ModelError(
                f"The process of the teacher ended before it was ready: {reason}.", where=self._python
            )
        )

    def _lacks(self, name: str) -> ModelError:
        return lacking(name.partition(".")[0], self._spec.name, self._python)

    def _how_it_ended(self) -> str:
        """Exit status of the process, which has ended or is ended, and what it said last."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5.0)
        self.kill()
        code = self._process.returncode
        how = f"exit status {code}"
        if code < 0:
            with suppress(ValueError):
                how = signal.Signals(-code).name
        lines = [line for line in self._tail.text().splitlines() if line.strip()]
        return f"the process ended ({how})" + (f": {lines[-1].strip()[:200]}" if lines else "")


def _environment(threads: int) -> Mapping[str, str]:
    """The environment of this process with so many threads in each worker, unless it says otherwise."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    given: dict[str, Any] = {name: str(threads) for name in names}
    return {**given, **os.environ, "PYTHONUNBUFFERED": "1"}
