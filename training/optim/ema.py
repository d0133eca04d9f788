"""Exponential moving average of the weights, kept as name -> tensor.

Only parameters that are trained are averaged; buffers (scale factors, basis constants) never are.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class EMA:
    """Shadow copy s of the trained weights w: after every step s <- d s + (1 - d) w, without bias
    correction."""

    def __init__(self, module: nn.Module, decay: float | None) -> None:
        """Start from the weights as they are; ``decay=None`` makes the shadow follow the weights exactly."""
        self.decay = decay
        self._weights = {name: p for name, p in module.named_parameters() if p.requires_grad}
        self.shadow: dict[str, Tensor] = {}
        if decay is not None:
            self.shadow = {name: p.detach().clone() for name, p in self._weights.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Move the shadow towards the weights; call once after every optimizer step."""
        if self.decay is not None and self.shadow:
            torch._foreach_lerp_(list(self.shadow.values()), list(self._weights.values()), 1.0 - self.decay)

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """The module has the averaged weights inside this block and its own, bit for bit, afterwards."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def state_dict(self) -> dict[str, Tensor]:
        """The averaged weights by name."""
        return dict(self.shadow)

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take over averaged weights; the names must be those of the trained weights (ValueError)."""
        if set(state) != set(self.shadow):
            raise ValueError(f"averaged weights do not fit: {sorted(set(state) ^ set(self.shadow))[:5]}")
        for name, tensor in state.items():
            self.shadow[name].copy_(tensor)

    def _exchange(self) -> None:
        for name, averaged in self.shadow.items():
            weight = self._weights[name]
            weight.data, self.shadow[name] = averaged, weight.data
