"""Constant float64 tables that keep their precision when a network is cast to float32."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor


class Float64Table:
    """Numbers that live in float64 on whichever device asks for them; not part of any state dict."""

    def __init__(self, values: Sequence[float]) -> None:
        self.values = tuple(values)
        self._copies: dict[torch.device, Tensor] = {}

    def on(self, device: torch.device) -> Tensor:
        """The table (K,) on ``device``."""
        if device not in self._copies:
            with torch.inference_mode(
                False
            ):  # a copy made inside the caller's inference mode could not be reused
                self._copies[device] = torch.tensor(self.values, dtype=torch.float64, device=device)
        return self._copies[device]

    @contextmanager
    def replaced(self, values: Tensor) -> Iterator[None]:
        """Inside, the table on the device of ``values`` (K,) is that tensor: an input of what is traced."""
        kept = self._copies
        self._copies = {**kept, values.device: values}
        try:
            yield
        finally:
            self._copies = kept
