"""Batches: all tensors travel in one buffer per type of numbers, and stay the same."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from jmp_calc.graph.batch import flat, packed
from jmp_calc.graph.policy import GraphPolicy
from tests.physics.models import ADAPTIVE, FIXED, scratch
from tests.physics.structures import DISORDERED


@pytest.mark.parametrize("policy", [FIXED, ADAPTIVE], ids=["fixed", "adaptive"])
def test_a_packed_batch_has_the_same_tensors_in_two_buffers(policy: GraphPolicy) -> None:
    batch = scratch(policy).batch([DISORDERED[name]() for name in ("ethanol", "slab", "silicon")])
    buffers: list[Tensor] = []

    def move(buffer: Tensor) -> Tensor:
        buffers.append(buffer)
        return buffer.clone()

    moved = packed(batch, move)
    assert sorted(str(buffer.dtype) for buffer in buffers) == ["torch.float64", "torch.int64"]
    assert (moved.a2ee2a is moved.main) == (batch.a2ee2a is batch.main)
    for before, after in zip(flat(batch), flat(moved), strict=True):
        assert before.dtype == after.dtype and torch.equal(before, after)
        assert after.is_contiguous() and after.data_ptr() % 64 == after.untyped_storage().data_ptr() % 64
