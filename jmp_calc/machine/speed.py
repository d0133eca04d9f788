"""How fast this machine is, from probes that take about a second: what the time of an evaluation is estimated
from."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn import functional

PRODUCT = 2048
"""Rows and columns of the matrices whose product is timed: large enough for the full rate of a CPU core."""
ARRAY, PASSES = 2**17, 32
"""Numbers of the elementwise probe (0.5 MB in float32, as the rows of a small structure) and how often it is
repeated."""
READ_BYTES = 2**26
"""Bytes of the array that is read, far more than caches hold."""
LAYERS, WIDTH = 20, 16
"""Layers of the operations probe, and their rows and columns."""


@dataclass(frozen=True)
class Machine:
    """What the probes found, for one device, precision and number of threads."""

    flops: float
    """FLOP/s of a product of two 2048 × 2048 matrices."""
    bytes_per_s: float
    """Bytes read and written per second by an elementwise product of cached arrays."""
    read_bytes_per_s: float
    """Bytes per second at which an array is read from memory."""
    layer_s: float
    """Seconds of a dense layer with activation, and its derivative, that is too small to compute anything."""


def probe_machine(device: torch.device, dtype: torch.dtype, *, repeats: int = 4) -> Machine:
    """Time the probes ``repeats`` times in turn, with the threads that torch uses now; the best of each.

    The best, because threads that wait for a core which is busy for a moment can make a short probe 100 times
    slower.
    """
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device.type, enabled=False):
        probes = (_product(device, dtype), _elementwise(device, dtype), _read(device), _layers(device, dtype))
        for probe in probes:
            probe()
        rounds = [[_seconds(probe, device) for probe in probes] for _ in range(repeats)]
    product, elementwise, read, layers = (min(times) for times in zip(*rounds))
    traffic = PASSES * 3 * ARRAY * dtype.itemsize
    return Machine(2 * PRODUCT**3 / product, traffic / elementwise, READ_BYTES / read, layers / LAYERS)


def _product(device: torch.device, dtype: torch.dtype) -> Callable[[], object]:
    matrix = torch.ones(PRODUCT, PRODUCT, device=device, dtype=dtype)
    return lambda: matrix @ matrix


def _elementwise(device: torch.device, dtype: torch.dtype) -> Callable[[], object]:
    one, other = torch.ones(2, ARRAY, device=device, dtype=dtype)

    def run() -> None:
        for _ in range(PASSES):  # each result is let go, so that the next one finds its place in the cache
            torch.mul(one, other)

    return run


def _read(device: torch.device) -> Callable[[], object]:
    array = torch.ones(READ_BYTES // 4, device=device)
    return array.sum


def _layers(device: torch.device, dtype: torch.dtype) -> Callable[[], object]:
    weight = torch.eye(WIDTH, device=device, dtype=dtype)
    x = torch.ones(WIDTH, WIDTH, device=device, dtype=dtype, requires_grad=True)

    def run() -> object:
        y = x
        for _ in range(LAYERS):
            y = functional.silu(functional.linear(y, weight))
        return torch.autograd.grad(y.sum(), x)

    return run


def _seconds(call: Callable[[], object], device: torch.device) -> float:
    start = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return max(time.perf_counter() - start, sys.float_info.min)
