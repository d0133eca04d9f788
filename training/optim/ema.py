"""Exponential moving average of the weights, kept as name -> tensor.

Only parameters that are trained are averaged; buffers (scale factors, basis constants) never are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class EMA:
    """Shadow copy s of the trained weights w: after every step s <- d s + (1 - d) w."""

    def __init__(self, module: nn.Module, decay: float | None, *, warmup: bool = True) -> None:
        """Start from the weights as they are.

        Args:
            module: has the weights.
            decay: d; None: no averaging, and no copy.
            warmup: smaller d in the first steps (``decay_of``); else d at all of them, as published.
        """
        self.decay, self.warmup = decay, warmup
        self._before = 0
        self._weights = {name: p for name, p in module.named_parameters() if p.requires_grad}
        self.shadow: dict[str, Tensor] = {}
        if decay is not None:
            self.shadow = {name: p.detach().clone() for name, p in self._weights.items()}

    @torch.no_grad()
    def start_from(self, averages: Mapping[str, Tensor], steps: int) -> None:
        """Go on with ``averages`` over ``steps`` earlier steps; weights that they lack start as they are."""
        for name, averaged in averages.items():
            if name in self.shadow and self.shadow[name].shape == averaged.shape:
                self.shadow[name].copy_(averaged)
        self._before = steps

    def decay_of(self, step: int) -> float:
        """d of the update after ``step`` earlier ones: min(d, (1 + n) / (10 + n)) with warm-up."""
        assert self.decay is not None
        step += self._before
        # With a constant d the start weights still count d^n after n steps: 55 % after 60 steps of 0.99. A
        # run that is shorter than 1 / (1 - d) would hand back what it started from; the warm-up averages over
        # about the last tenth of the steps instead, until that is as long as d says.
        return min(self.decay, (1 + step) / (10 + step)) if self.warmup else self.decay

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move the shadow towards the weights; call once after every optimizer step (``step`` from 0)."""
        if self.shadow:
            weights: list[Tensor] = list(self._weights.values())
            torch._foreach_lerp_(list(self.shadow.values()), weights, 1.0 - self.decay_of(step))

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """The module has the averaged weights inside this block and its own, bit for bit, afterwards."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def to_weights(self) -> None:
        """Make the averaged weights the weights of the module, for good."""
        for name, averaged in self.shadow.items():
            self._weights[name].copy_(averaged)

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
