"""Sums over the edges of an atom: the only place that knows how they are done.

The default is native torch. The environment variable ``JMP_CALC_SEGMENT_SUMS=torch_scatter``, read at import, switches to
the optional extension, with equal results (tests/model/test_segment.py).
"""

from __future__ import annotations

import importlib
import os
import warnings

import torch
from torch import Tensor

from ..errors import JMPWarning, UsageError

BACKEND_VARIABLE = "JMP_CALC_SEGMENT_SUMS"
BACKENDS = ("torch", "torch_scatter")


class SegmentSum:
    """Sum rows into segments with a chosen backend; falls back to torch with a warning if the extension is broken."""

    def __init__(self, backend: str = "torch") -> None:
        if backend not in BACKENDS:
            raise UsageError(f"There is no way {backend!r} of summing segments.", where=BACKEND_VARIABLE,
                             hint=f"choose one of {', '.join(BACKENDS)}")
        self.backend = "torch"
        if backend == "torch_scatter":
            try:
                self._scatter = importlib.import_module("torch_scatter")
                self.backend = backend
            except (ImportError, OSError, AttributeError) as error:
                warnings.warn(
                    JMPWarning(f"torch-scatter cannot be used ({error}); native torch is used instead."), stacklevel=2
                )

    def __call__(self, rows: Tensor, segment: Tensor, count: int) -> Tensor:
        """Sum ``rows`` (E, ...) into ``count`` segments by ``segment`` (E,); shape (count, ...)."""
        if self.backend == "torch_scatter":
            return self._scatter.scatter(rows, segment, dim=0, dim_size=count, reduce="sum")
        return rows.new_zeros((count, *rows.shape[1:])).index_add(0, segment, rows)


segment_sum = SegmentSum(os.environ.get(BACKEND_VARIABLE, "torch"))


def gather_padded(rows: Tensor, index: Tensor) -> Tensor:
    """Rows (E, ...) taken by ``index`` of any shape; index E gives a row of zeros."""
    padded = torch.cat([rows, rows.new_zeros((1, *rows.shape[1:]))])
    return padded.index_select(0, index.reshape(-1)).view(*index.shape, *rows.shape[1:])


def segment_outer(left: Tensor, right: Tensor, slots: Tensor) -> Tensor:
    """Sum over the edges of each atom of left[e, p] right[e, k]; shape (N, P, K).

    left (E, P), right (E, K); slots (N, D) as in ``Edges``. One batched matrix product: the (E, P, K) array of
    terms never exists.
    """
    return gather_padded(left, slots).transpose(1, 2) @ gather_padded(right, slots)
