"""Memory of the machine: what this process can still get, and a failed allocation as torch's own error."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple, cast

from ..errors import is_out_of_memory

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")


class _Files(NamedTuple):
    """What a version of control groups calls its limit, its use, and the file cache that is given back on
    demand."""

    limit: str
    used: str
    cache: str


_VERSION_1 = _Files("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_VERSION_2 = _Files("memory.max", "memory.current", "inactive_file")


def available_memory() -> int | None:
    """Bytes that arrays of this process can still have on the host; None: unknown.

    Free memory, bounded by control groups, and what this process holds without using it.
    """
    bounds = [
        bound for bound in (_meminfo_available(), cgroup_available(CGROUPS, OWN_CGROUPS)) if bound is not None
    ]
    return min(bounds) + free_heap() if bounds else None


def free_heap() -> int:
    """Bytes of glibc's heap that are free for new arrays; 0 with another malloc or before glibc 2.33."""
    mallinfo2 = _mallinfo2()
    return 0 if mallinfo2 is None else int(mallinfo2().fordblks)


@cache
def _mallinfo2() -> Callable[[], _MallocInfo] | None:
    if platform.libc_ver()[0] != "glibc":  # reads the interpreter's file
        return None
    try:
        function = ctypes.CDLL(None).mallinfo2
    except AttributeError:
        return None
    function.restype = _MallocInfo
    return cast("Callable[[], _MallocInfo]", function)


class _MallocInfo(ctypes.Structure):
    """``struct mallinfo2`` (man 3 mallinfo2)."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        )
    )


def cgroup_available(mounted: Path, own: Path) -> int | None:
    """What the control groups of a container or batch job still allow; None: no limit.

    mounted: folder of all groups; own: file that names those of the process. The narrowest group counts, from
        the process's own (a job step) up to the root, which in a container is the container's.
    """
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return None
    left: list[int] = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root, files = (mounted / "memory", _VERSION_1) if controllers else (mounted, _VERSION_2)
        folder = root / path.lstrip("/")
        for group in (
            folder,
            *(parent for parent in folder.parents if parent == root or root in parent.parents),
        ):
            allowed = _group_available(group, files)
            left += [] if allowed is None else [allowed]
    return min(left) if left else None


def _group_available(group: Path, files: _Files) -> int | None:
    try:
        limit = int((group / files.limit).read_text())  # "max" is no number
        used = int((group / files.used).read_text())
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return max(limit - used + int(stat.get(files.cache, 0)), 0)
    except (OSError, ValueError):
        return None


def _meminfo_available() -> int | None:
    try:
        with open("/proc/meminfo") as handle:
            for line in handle:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return None


@contextmanager
def allocation_errors() -> Iterator[None]:
    """Inside, memory that a CPU does not have is torch.OutOfMemoryError, as on a GPU, not RuntimeError or
    MemoryError."""
    import torch

    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, torch.OutOfMemoryError) or not is_out_of_memory(error):
            raise
        raise torch.OutOfMemoryError(str(error)) from error
