"""Sums over the edges of an atom: right, differentiable, and the same with every backend."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest
import torch

from jmp_calc.errors import JMPWarning, UsageError
from jmp_calc.graph.batch import Edges
from jmp_calc.model.segment import SegmentSum, from_slots, gather_padded, matched, mirrored, to_slots
from tests.extras import needs

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


@needs("scatter")
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
    found = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == ("torch_scatter" if HAVE_SCATTER else "torch")


def ring(n_atoms: int) -> Edges:
    """Every atom bound to the next two: 2 n edges in no order of targets."""
    source = torch.arange(n_atoms).repeat(2)
    target = (source + torch.tensor([1, 2]).repeat_interleave(n_atoms)) % n_atoms
    slots = torch.stack([torch.nonzero(target == atom).flatten() for atom in range(n_atoms)])
    slots = torch.cat([slots, torch.full((n_atoms, 1), len(target))], dim=1)
    place = torch.tensor([int(torch.nonzero(slots.flatten() == e)) for e in range(len(target))])
    return Edges(source, target, torch.zeros(2 * n_atoms, 3), torch.zeros(2 * n_atoms).long(), slots, place)


def test_rows_go_to_the_slots_of_their_target_and_back() -> None:
    edges, rows = ring(5), torch.randn(10, 4, dtype=torch.float64)
    padded = to_slots(rows, edges)
    assert torch.equal(padded, gather_padded(rows, edges.slots))
    assert torch.equal(padded.sum(1), SegmentSum()(rows, edges.target, 5))
    assert torch.equal(from_slots(padded, edges), rows)
    assert torch.equal(gather_padded(rows, edges.slots)[1, 2], torch.zeros(4, dtype=torch.float64))


@pytest.mark.parametrize("name", ["to_slots", "from_slots", "matched", "mirrored"])
def test_gathers_have_exact_first_and_second_derivatives(name: str) -> None:
    edges = ring(4)
    index = torch.tensor([2, 8, 1, 0, 8, 3, 7, 6])  # 8: no partner
    inverse = torch.tensor([3, 2, 0, 5, 8, 8, 7, 6])
    swap = torch.tensor([4, 5, 6, 7, 0, 1, 2, 3])
    functions = {
        "to_slots": lambda x: to_slots(x, edges),
        "mirrored": lambda x: mirrored(x, swap),
        "from_slots": lambda x: from_slots(x.view(4, 3, 2), edges),
        "matched": lambda x: matched(x, index, inverse),
    }
    x = torch.randn(12 if name == "from_slots" else 8, 2, dtype=torch.float64, requires_grad=True)

    def nonlinear(x: torch.Tensor) -> torch.Tensor:
        return functions[name](x).sin()

    assert torch.autograd.gradcheck(nonlinear, x)
    assert torch.autograd.gradgradcheck(nonlinear, x)
