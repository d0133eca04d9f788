"""Sums over the edges of an atom: the only place that knows how they are done.

The default is native torch. The environment variable ``JMP_CALC_SEGMENT_SUMS=torch_scatter``, read at import,
switches to the optional extension, with equal results (tests/model/test_segment.py).
"""

from __future__ import annotations

import importlib
import os
import warnings
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd import Function

from ..errors import JMPWarning, UsageError

if TYPE_CHECKING:
    from ..graph.batch import Edges

BACKEND_VARIABLE = "JMP_CALC_SEGMENT_SUMS"
BACKENDS = ("torch", "torch_scatter")


class SegmentSum:
    """Sum rows into segments with a chosen backend; falls back to torch with a warning if the extension is
    broken."""

    def __init__(self, backend: str = "torch") -> None:
        if backend not in BACKENDS:
            raise UsageError(
                f"There is no way {backend!r} of summing segments.",
                where=BACKEND_VARIABLE,
                hint=f"choose one of {', '.join(BACKENDS)}",
            )
        self.backend = "torch"
        if backend == "torch_scatter":
            try:
                self._scatter = importlib.import_module("torch_scatter")
                self.backend = backend
            except (ImportError, OSError, AttributeError) as error:
                warnings.warn(
                    JMPWarning(f"torch-scatter cannot be used ({error}); native torch is used instead."),
                    stacklevel=2,
                )

    def __call__(self, rows: Tensor, segment: Tensor, count: int) -> Tensor:
        """Sum ``rows`` (E, ...) into ``count`` segments by ``segment`` (E,); shape (count, ...)."""
        if self.backend == "torch_scatter":
            return self._scatter.scatter(rows, segment, dim=0, dim_size=count, reduce="sum")
        return rows.new_zeros((count, *rows.shape[1:])).index_add(0, segment, rows)


segment_sum = SegmentSum(os.environ.get(BACKEND_VARIABLE, "torch"))


def segment_sizes(segment: Tensor, count: int) -> Tensor:
    """Number of rows (count,), int64, of each of ``count`` segments, from the segment (E,) of every row.

    Not ``torch.bincount``, which looks for the largest index: it waits for the device and cannot be traced.
    """
    return segment_sum(torch.ones_like(segment), segment, count)


def gather_padded(rows: Tensor, index: Tensor) -> Tensor:
    """Rows (E, ...) taken by ``index`` of any shape; index E gives a row of zeros."""
    padded = torch.cat([rows, rows.new_zeros((1, *rows.shape[1:]))])
    return padded.index_select(0, index.reshape(-1)).view(*index.shape, *rows.shape[1:])


def to_slots(rows: Tensor, edges: Edges) -> Tensor:
    """Rows (E, ...) at the slots of their target atoms, zero where there is no edge; shape (N, D, ...)."""
    n, d = edges.slots.shape
    return _ToPlaces.apply(rows, edges.place, n * d).view(n, d, *rows.shape[1:])  # type: ignore[no-any-return]


def from_slots(padded: Tensor, edges: Edges) -> Tensor:
    """The rows (E, ...) of an array (N, D, ...): the inverse of ``to_slots``."""
    return _FromPlaces.apply(padded.flatten(0, 1), edges.place)  # type: ignore[no-any-return]


def matched(rows: Tensor, index: Tensor, inverse: Tensor) -> Tensor:
    """Rows (E, ...) taken by ``index``, where E gives zeros and no row is taken twice; ``inverse`` leads
    back."""
    return _Matched.apply(rows, index, inverse)  # type: ignore[no-any-return]


def mirrored(rows: Tensor, swap: Tensor) -> Tensor:
    """The rows (E, ...) of the mirror edges; ``swap`` is its own inverse."""
    return _FromPlaces.apply(rows, swap)  # type: ignore[no-any-return]


class _ToPlaces(Function):
    """rows -> zeros with the rows at their places. Every place is taken once, so that its gradient is a
    gather."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, place: Tensor, count: int) -> Tensor:
        """(count, ...) from rows (E, ...) and places (E,)."""
        ctx.save_for_backward(place)
        return rows.new_zeros((count, *rows.shape[1:])).index_copy_(0, place, rows)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        """Gradient (E, ...) from that (count, ...) of the places."""
        return _FromPlaces.apply(gradient, *ctx.saved_tensors), None, None


class _FromPlaces(Function):
    @staticmethod
    def forward(ctx: Any, padded: Tensor, place: Tensor) -> Tensor:
        """Rows (E, ...) from (count, ...) and places (E,)."""
        ctx.save_for_backward(place)
        ctx.count = padded.shape[0]
        return padded.index_select(0, place)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        """Gradient (count, ...) from that (E, ...) of the rows."""
        return _ToPlaces.apply(gradient, *ctx.saved_tensors, ctx.count), None


class _Matched(Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, index: Tensor, inverse: Tensor) -> Tensor:
        """(E, ...) from rows (E, ...) of another graph and their numbers (E,)."""
        ctx.save_for_backward(index, inverse)
        return gather_padded(rows, index)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        """Gradient (E, ...) of the rows, by the inverse numbers (E,)."""
        index, inverse = ctx.saved_tensors
        return _Matched.apply(gradient, inverse, index), None, None
