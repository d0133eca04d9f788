"""Choice of device and precision, checked before a model is moved there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import UsageError
from .forks import check_process

if TYPE_CHECKING:
    import torch

DTYPES = ("float32", "float64")


def choose_device(name: str = "auto") -> torch.device:
    """'auto' (CUDA if there is one, else CPU), 'cpu', 'cuda' or 'cuda:N'; UsageError if it does not exist
    here, or if this process was forked so that it cannot compute."""
    import torch

    check_process()
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError):
        raise UsageError(f"Unknown device {name!r}.", hint="use auto, cpu, cuda or cuda:N") from None
    if device.type == "mps":
        raise UsageError(
            "Device mps has no float64, which atomic positions and energy sums need.", hint="use device='cpu'"
        )
    if device.type == "cuda":
        _check_cuda(name, device)
    elif device.type != "cpu":
        raise UsageError(f"Device {name!r} is not supported.", hint="use auto, cpu, cuda or cuda:N")
    return device


def choose_dtype(name: str) -> torch.dtype:
    """torch dtype of 'float32' or 'float64'; UsageError for anything else."""
    import torch

    if name not in DTYPES:
        raise UsageError(f"Unknown dtype {name!r}.", hint=f"use {' or '.join(DTYPES)}")
    return torch.float64 if name == "float64" else torch.float32


def free_memory(device: torch.device) -> int | None:
    """Bytes that can still be allocated on the device; None: not known."""
    import torch

    from .host_memory import available_memory

    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + cached
    return available_memory()


def _check_cuda(name: str, device: torch.device) -> None:
    import torch

    if not torch.cuda.is_available():
        built = torch.version.cuda
        found = "this PyTorch is built without CUDA"
        reason = found if built is None else f"PyTorch (CUDA {built}) finds no usable GPU"
        raise UsageError(f"Device {name!r} was asked for, but {reason}.", hint="use device='cpu' or 'auto'")
    count = torch.cuda.device_count()
    if device.index is not None and device.index >= count:
        raise UsageError(
            f"Device {name!r} was asked for, but there are {count} GPUs (cuda:0 to cuda:{count - 1})."
        )
