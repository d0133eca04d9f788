"""Scale factors: fitted constants that keep variances level (``gemnet_oc.md`` section 10)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

Observation = tuple[Tensor, Tensor, Tensor | None, Tensor | None]
"""Output, reference rows, how often each reference row counts, which output rows count."""


class ScaleFactor(nn.Module):
    """★ of the specification: a constant that belongs to the linear map before it; 0 means "not fitted", acts
    as 1."""

    scale_factor: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale_factor", torch.zeros(()))
        self.observer: VarianceRatio | None = None

    def value(self) -> Tensor:
        """The factor, a tensor of shape ()."""
        return self.scale_factor + (self.scale_factor == 0)

    def observe(self, seen: Callable[[], Observation]) -> None:
        """While this factor is being fitted: record the scaled rows and what they are compared with."""
        if self.observer is not None:
            self.observer.add(*seen())


class VarianceRatio:
    """Row-weighted variances of an output and its reference over several batches."""

    def __init__(self) -> None:
        self.variance_in = 0.0
        self.variance_out = 0.0
        self.n_samples = 0

    def add(self, output: Tensor, rows: Tensor, weights: Tensor | None, counted: Tensor | None) -> None:
        """Add one call: output (E, A) against rows (N, A); its weight is the number of (counted) rows of the
        output."""
        output = output.reshape(-1, output.shape[-1])
        n = output.shape[0] if counted is None else int(counted.sum())
        if n < 2 or (weights is not None and float(weights.sum()) < 2.0):
            return
        self.variance_out += n * float(_weighted_variance(output, counted).mean())
        self.variance_in += n * float(_weighted_variance(rows, weights).mean())
        self.n_samples += n

    def value(self) -> float:
        """The factor that gives the output the variance of its reference; 1 if nothing was seen."""
        if self.n_samples == 0 or self.variance_out <= 0.0 or self.variance_in <= 0.0:
            return 1.0
        return float((self.variance_in / self.variance_out) ** 0.5)


def _weighted_variance(rows: Tensor, weights: Tensor | None) -> Tensor:
    """Variance (A,) of rows (N, A), each counted as often as its weight (N,) says."""
    rows = rows.reshape(-1, rows.shape[-1])
    if weights is None:
        return rows.var(dim=0)
    weights = weights.reshape(-1, 1).to(rows.dtype)
    total = weights.sum()
    mean = (weights * rows).sum(0) / total
    return (weights * (rows - mean) ** 2).sum(0) / (total - 1)


def scale_factors(module: nn.Module) -> Iterator[tuple[str, ScaleFactor]]:
    """All scale factors in registration order, which is the order of the fit."""
    for name, child in module.named_modules():
        if isinstance(child, ScaleFactor):
            yield name, child


@contextmanager
def observed(factor: ScaleFactor) -> Iterator[VarianceRatio]:
    """Record the variances that pass through one factor."""
    factor.observer = VarianceRatio()
    try:
        yield factor.observer
    finally:
        factor.observer = None
