"""Sums over the edges of an atom: right, differentiable, and the same with every backend."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest
import torch

from jmp_calc.errors import JMPWarning, UsageError
from jmp_calc.model.segment import SegmentSum, gather_padded, segment_outer

HAVE_SCATTER = importlib.util.find_spec("torch_scatter") is not None


def example() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(7, 3, generator=generator, dtype=torch.float64)
    segment = torch.tensor([2, 0, 2, 3, 0, 2, 3])
    expected = torch.stack([rows[segment == i].sum(0) for i in range(5)])
    return rows, segment, expected


def test_rows_are_summed_and_empty_segments_are_zero() -> None:
    rows, segment, expected = example()
    assert torch.allclose(SegmentSum()(rows, segment, 5), expected, atol=1e-15)
    assert SegmentSum()(rows[:0], segment[:0], 2).tolist() == [[0.0] * 3] * 2


def test_sums_are_twice_differentiable() -> None:
    rows, segment, _ = example()
    rows.requires_grad_(True)
    assert torch.autograd.gradgradcheck(lambda r: SegmentSum()(r**3, segment, 5), (rows,))


@pytest.mark.skipif(not HAVE_SCATTER, reason="torch-scatter is not installed")
def test_torch_scatter_gives_the_same() -> None:
    rows, segment, expected = example()
    extension = SegmentSum("torch_scatter")
    assert extension.backend == "torch_scatter"
    assert torch.allclose(extension(rows, segment, 5), expected, atol=1e-15)


@pytest.mark.skipif(HAVE_SCATTER, reason="torch-scatter is installed")
def test_without_torch_scatter_torch_is_used_and_a_warning_says_so() -> None:
    rows, segment, expected = example()
    with pytest.warns(JMPWarning, match="native torch is used instead"):
        fallback = SegmentSum("torch_scatter")
    assert torch.allclose(fallback(rows, segment, 5), expected, atol=1e-15)


def test_unknown_backend_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match="numpy"):
        SegmentSum("numpy")


def test_backend_is_chosen_by_the_environment() -> None:
    code = "from jmp_calc.model.segment import segment_sum; print(segment_sum.backend)"
    environment = {**os.environ, "JMP_CALC_SEGMENT_SUMS": "torch_scatter"}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ("torch_scatter" if HAVE_SCATTER else "torch")


def test_outer_products_are_summed_over_the_slots_of_an_atom() -> None:
    rows, segment, _ = example()
    slots = torch.full((5, 3), 7)
    for atom in range(5):
        edges = torch.nonzero(segment == atom).flatten()
        slots[atom, : len(edges)] = edges
    found = segment_outer(rows, rows[:, :2], slots)
    for atom in range(5):
        chosen = rows[segment == atom]
        assert torch.allclose(found[atom], chosen.T @ chosen[:, :2], atol=1e-14)
    assert torch.equal(gather_padded(rows, slots)[1], torch.zeros(3, 3, dtype=torch.float64))
