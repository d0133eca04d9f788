"""A GPU of its own for every process on a machine that has several.

Nobody gives out numbers: whichever executor started the process, it takes the device that the fewest others
hold. A claim is a lock on a file, which the system releases when the process ends, however it ends.
"""

from __future__ import annotations

import functools
import getpass
import itertools
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class DeviceClaim:
    """A device that is held as long as this lives."""

    device: int
    lock: Any


def use_own_device() -> None:
    """Let ``cuda`` mean the device of this process, in this thread; nothing where there are not several."""
    torch: Any = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return
    count = torch.cuda.device_count()
    if count > 1:
        folder = Path(tempfile.gettempdir()) / f"jmp-calc-devices-{getpass.getuser()}"
        torch.cuda.set_device(claimed_device(folder, count).device)


@functools.cache
def claimed_device(folder: Path, count: int) -> DeviceClaim:
    """The device, of ``count``, that this process holds from now on; the locks lie in ``folder``."""
    from filelock import FileLock, Timeout

    folder.mkdir(exist_ok=True)
    for turn in itertools.count():
        for device in range(count):
            lock = FileLock(folder / f"device-{device}-{turn}.lock")
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            return DeviceClaim(device, lock)
    raise AssertionError  # the turns have no end
