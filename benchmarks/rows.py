"""Rows of a results file: each measured in a process of its own and written at once; and the memory of one
call."""

from __future__ import annotations

import ctypes
import fcntl
import gc
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

RESULTS = Path(__file__).parent / "results"
Rows = dict[str, dict[str, Any]]
"""Rows of a results file by their names."""


def in_process(script: str, row: str, *options: str, python: str = sys.executable) -> dict[str, Any]:
    """Numbers that ``script --measure row`` prints as JSON in its last line; ends the program where it
    fails."""
    done = subprocess.run(
        [python, script, "--measure", row, *options], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{row} failed:\n{done.stderr}")
    numbers: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return numbers


def read_rows(path: Path) -> Rows:
    """Rows recorded so far."""
    return (yaml.safe_load(path.read_text()) or {}).get("rows", {}) if path.exists() else {}


def write_row(
    path: Path, row: str, numbers: dict[str, Any], *, what: str, threads: int, order: Sequence[str]
) -> None:
    """Add or replace one row; the file is complete at every moment. Rows that ``order`` does not name come
    last."""
    with alone(path):
        rows = read_rows(path)
        rows[row] = rounded(numbers)
        names = [name for name in order if name in rows] + [name for name in rows if name not in order]
        content = {
            "what": what,
            "threads": threads,
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "rows": {name: rows[name] for name in names},
        }
        write_whole(path, content)


def keep_rows(path: Path, wanted: Callable[[str, dict[str, Any]], bool]) -> None:
    """Drop the rows whose names and numbers are not wanted; the file is complete at every moment."""
    with alone(path):
        content = (yaml.safe_load(path.read_text()) or {}) if path.exists() else {}
        kept = {name: row for name, row in content.get("rows", {}).items() if wanted(name, row)}
        if len(kept) < len(content.get("rows", {})):
            write_whole(path, content | {"rows": kept})


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Inside, no other program changes the results beside ``path``, which two may write into."""
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)  # until the folder is closed
        yield
    finally:
        os.close(folder)


def write_whole(path: Path, content: dict[str, Any]) -> None:
    """A YAML file that is whole or not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=110))
    temporary.replace(path)


def rounded(value: Any) -> Any:
    """Four digits of every number with a fraction, in lists and mappings too."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


@dataclass(frozen=True)
class Clock:
    """Wall and processor time from now on: how much of its cores a run of fixed time had on a machine that
    others use.

    ``nice`` does not help it there: Linux shares the cores between sessions first (sched_autogroup), whatever
    their nice values. Other work steps back if it starts with ``echo 19 > /proc/self/autogroup``.
    """

    wall: float = field(default_factory=time.monotonic)
    processor: float = field(default_factory=lambda: sum(os.times()[:4]))

    def cores(self) -> float:
        """Mean number of busy cores since the start, of this process and its children that have ended."""
        return (sum(os.times()[:4]) - self.processor) / (time.monotonic() - self.wall)


def peak_bytes(call: Callable[[], object]) -> tuple[int, int]:
    """Peak resident bytes of this process during ``call``, and those that it had before (Linux, glibc)."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what was freed but not given back would hide what the call takes
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts again
    before = _status("VmRSS")
    call()
    return _status("VmHWM"), before


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(f"{key}:")).split()[1])
