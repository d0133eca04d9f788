"""Building a network whose weights come from elsewhere, without the arithmetic of a random start."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

_VALUES_ONLY = {
    "normal_",
    "uniform_",
    "kaiming_uniform_",
    "orthogonal_",
    "mean",
    "var",
    "sqrt",
    "copy_",
    "add",
    "sub",
    "div",
    "__add__",
    "__sub__",
    "__truediv__",
}


class _NoValues(TorchFunctionMode):
    """Skips what only sets values: on the meta device it would import torch's compiler (seconds)."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in _VALUES_ONLY:
            return args[0] if args else kwargs["tensor"]
        if name == "linspace" and len(args) == 3:
            return torch.empty(args[2])
        return func(*args, **(kwargs or {}))


@contextmanager
def shapes_only() -> Iterator[None]:
    """Modules made inside have names and shapes, but no memory and no values."""
    with torch.device("meta"), _NoValues():
        yield
