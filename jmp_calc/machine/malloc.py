"""Large arrays on a CPU: kept by the process instead of being got from the system in every call.

glibc maps arrays above 32 MiB anew for each allocation, and gives the end of its heap back between calls;
the system then hands both out page by page: with 4000 atoms of copper that is more than half of the time of
a call (``docs/speed.md``). With the limits raised the memory of a call stays with the process until it ends.
``JMP_CALC_MALLOC=system`` leaves the limits as they are.
"""

from __future__ import annotations

import ctypes
import os
import platform
from functools import cache

VARIABLE = "JMP_CALC_MALLOC"
LARGE_BYTES = 2**25
"""Estimated bytes of a call from which on the limits are raised: the memory of smaller ones stays anyway."""
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LIMITS = {M_MMAP_THRESHOLD: 2**31 - 1, M_TRIM_THRESHOLD: -1}
"""Bytes of an array that is mapped by itself, the most that mallopt takes; and never (-1) to give back free
memory."""


@cache
def keep_large_arrays() -> bool:
    """Raise the limits of glibc's malloc once for this process; False where there is another malloc, or it
    was forbidden."""
    if os.environ.get(VARIABLE) == "system" or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all(mallopt(limit, value) == 1 for limit, value in LIMITS.items())
