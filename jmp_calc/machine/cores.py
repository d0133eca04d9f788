"""How many cores this process may use."""

from __future__ import annotations

import os


def available_cores() -> int:
    """Those that the queue or taskset left to this process, of those of the machine; at least 1."""
    if hasattr(os, "sched_getaffinity"):
        return max(len(os.sched_getaffinity(0)), 1)
    return os.cpu_count() or 1
