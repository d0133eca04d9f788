"""Programs that tests start: each leads a session of its own, and when a test is done with it, in time or
not, nothing that it started goes on.

Killing the program alone leaves its forked processes behind, which hold its pipes and a core.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
JMP_CALC: Final = (sys.executable, "-m", "jmp_calc.cli.main")
"""The command line; its words follow."""
LIMIT_S: Final = 300.0


def environment(**changes: str | None) -> dict[str, str]:
    """Ours, with the repository on Python's path and one thread; a variable None is taken away."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    merged = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **changes}
    return {name: value for name, value in merged.items() if value is not None}


@contextmanager
def started(
    words: Sequence[object],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path = ROOT,
    limit: Callable[[], None] | None = None,
) -> Iterator[subprocess.Popen[str]]:
    """A program whose input and output the test holds.

    ``env`` defaults to ``environment()``; ``limit`` is called in the new process before the program.
    """
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [str(word) for word in words],
        env=environment() if env is None else env,
        cwd=cwd,
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        text=True,
        errors="replace",
        start_new_session=True,
        preexec_fn=limit,
    ) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):  # nothing is left
                os.killpg(process.pid, signal.SIGKILL)


def run(
    words: Sequence[object],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path = ROOT,
    limit: Callable[[], None] | None = None,
    within_s: float = LIMIT_S,
) -> subprocess.CompletedProcess[str]:
    """Exit code and output of a program; subprocess.TimeoutExpired when it takes longer."""
    with started(words, env=env, cwd=cwd, limit=limit) as process:
        stdout, stderr = process.communicate(timeout=within_s)
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def gone(pid: int, *, within_s: float) -> bool:
    """Whether a process has ended, or does so in time; a corpse that nobody has waited for has ended."""
    end = time.monotonic() + within_s
    while True:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z" or time.monotonic() > end:
            return state == "Z"
        time.sleep(0.05)
