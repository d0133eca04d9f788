"""SOAP: Adam in turned axes."""

from __future__ import annotations

import io

import pytest
import torch
from torch import Tensor, nn

from jmp_calc.errors import UsageError
from jmp_calc.training import OptimConfig
from jmp_calc.training.optim.optimizer import MOST_WEIGHTS_OF_SOAP, make_optimizer, method_for
from jmp_calc.training.optim.soap import LARGEST_SIDE, REFRESH_EVERY, Soap
from tests.training.helpers.tiny import tiny_potential

STEPS = 4 * REFRESH_EVERY + 3
"""Some refreshes of the axes."""


def soap(
    weights: list[Tensor], lr: float = 0.01, weight_decay: float = 0.0, rows_apart: bool = False
) -> Soap:
    """An optimizer of these weights."""
    groups = [{"params": weights, "rows_apart": rows_apart}]
    return Soap(groups, lr=lr, betas=(0.9, 0.95), eps=1e-12, weight_decay=weight_decay)


def fit(target: Tensor, left: Tensor, right: Tensor, start: Tensor, optimizer: type, steps: int) -> Tensor:
    """Minimise |left W right − target|² from ``start``; the weights at the end."""
    weight = nn.Parameter(start.clone())
    moving = (
        soap([weight], weight_decay=0.1)
        if optimizer is Soap
        else torch.optim.AdamW([weight], 0.01, (0.9, 0.95))
    )
    for _ in range(steps):
        moving.zero_grad()
        (left @ weight @ right - target).square().mean().backward()
        moving.step()
    return weight.detach()


def rotation(n: int) -> Tensor:
    """A random orthogonal matrix."""
    return torch.linalg.qr(torch.randn(n, n, dtype=torch.float64))[0]


def test_a_problem_in_turned_axes_has_the_turned_solution_at_every_step() -> None:
    torch.manual_seed(0)
    gradients = torch.randn(STEPS, 6, 5, dtype=torch.float64)
    u, v = rotation(6), rotation(5)
    for kind in (Soap, torch.optim.AdamW):
        ways = []
        for one in (gradients, u @ gradients @ v.T):
            weight = nn.Parameter(torch.zeros(6, 5, dtype=torch.float64))
            moving = soap([weight]) if kind is Soap else kind([weight], 0.01, (0.9, 0.95))
            for gradient in one:
                weight.grad = gradient
                moving.step()
            ways.append(weight.detach())
        differences = (u @ ways[0] @ v.T - ways[1]).abs().max()
        assert differences < 1e-8 if kind is Soap else differences > 1e-2, "AdamW depends on the axes"


def test_correlated_columns_are_fitted_in_fewer_steps_than_by_adamw() -> None:
    torch.manual_seed(1)
    scales = torch.logspace(0, -2, 12, dtype=torch.float64)
    left, right = (rotation(12) @ torch.diag(scales) @ rotation(12) for _ in range(2))
    solution = 0.1 * torch.randn(12, 12, dtype=torch.float64)
    target, start = left @ solution @ right, torch.zeros(12, 12, dtype=torch.float64)
    errors = [
        (left @ fit(target, left, right, start, kind, 400) @ right - target).norm()
        for kind in (Soap, torch.optim.AdamW)
    ]
    assert errors[0] < 0.5 * errors[1]


def test_weights_of_one_dimension_move_as_by_adamw_after_their_first_gradient() -> None:
    torch.manual_seed(2)
    ours, theirs = (nn.Parameter(torch.ones(5, dtype=torch.float64)) for _ in range(2))
    mine = soap([ours], weight_decay=0.1)
    adamw = torch.optim.AdamW([theirs], 0.01, (0.9, 0.95), eps=1e-12, weight_decay=0.1)
    for step in range(8):
        gradient = torch.randn(5, dtype=torch.float64)
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        adamw.param_groups[0]["lr"] = 0.01 if step else 0.0
        mine.step()
        adamw.step()
        assert torch.allclose(ours, theirs, rtol=0, atol=1e-14)


def test_the_first_gradient_only_sets_the_axes() -> None:
    weight = nn.Parameter(torch.eye(3))
    optimizer = soap([weight])
    weight.grad = torch.randn(3, 3)
    optimizer.step()
    assert torch.equal(weight.detach(), torch.eye(3))
    optimizer.step()
    assert not torch.equal(weight.detach(), torch.eye(3))


def test_elements_that_no_batch_has_keep_their_vectors_to_the_last_bit() -> None:
    torch.manual_seed(3)
    vectors = nn.Parameter(torch.randn(9, 4))
    before = vectors.detach().clone()
    optimizer = soap([vectors], rows_apart=True)
    for _ in range(STEPS):
        vectors.grad = torch.zeros(9, 4)
        vectors.grad[[1, 5]] = torch.randn(2, 4)
        optimizer.step()
    still = [0, 2, 3, 4, 6, 7, 8]
    assert torch.equal(vectors[still], before[still])
    assert (vectors[[1, 5]] - before[[1, 5]]).abs().min() > 0


def test_weights_without_a_gradient_stay_and_begin_later() -> None:
    used, other = (nn.Parameter(torch.ones(3, 3)) for _ in range(2))
    optimizer = soap([used, other], weight_decay=0.1)
    for _ in range(5):
        used.grad = torch.randn(3, 3)
        optimizer.step()
    assert torch.equal(other.detach(), torch.ones(3, 3)) and not optimizer.state[other]
    other.grad = torch.randn(3, 3)
    optimizer.step()
    assert optimizer.state[other]["step"] == 1 and optimizer.state[used]["step"] == 6


def test_long_sides_and_sides_of_one_keep_their_axes() -> None:
    wide, row = nn.Parameter(torch.zeros(2, LARGEST_SIDE + 1)), nn.Parameter(torch.zeros(1, 4))
    optimizer = soap([wide, row])
    for weight in (wide, row):
        weight.grad = torch.randn_like(weight)
    optimizer.step()
    assert [axes is not None for axes in optimizer.state[wide]["axes"]] == [True, False]
    assert [axes is not None for axes in optimizer.state[row]["axes"]] == [False, True]


def test_a_saved_state_goes_on_bit_for_bit() -> None:
    torch.manual_seed(4)
    gradients = torch.randn(30, 5, 3)
    weight = nn.Parameter(torch.zeros(5, 3))
    optimizer = soap([weight])
    for gradient in gradients[:13]:
        weight.grad = gradient
        optimizer.step()
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    other = nn.Parameter(weight.detach().clone())
    again = soap([other])
    again.load_state_dict(torch.load(file, weights_only=True))
    for gradient in gradients[13:]:
        for one, moving in ((weight, optimizer), (other, again)):
            one.grad = gradient
            moving.step()
    assert torch.equal(weight, other)


@pytest.mark.parametrize(
    ("method", "n_weights", "found"),
    [
        (None, MOST_WEIGHTS_OF_SOAP, "soap"),
        (None, MOST_WEIGHTS_OF_SOAP + 1, "adamw"),
        ("adamw", 10, "adamw"),
        ("soap", 10**8, "soap"),
    ],
)
def test_small_networks_have_soap_unless_told(method: str | None, n_weights: int, found: str) -> None:
    assert method_for(OptimConfig(method=method), n_weights) == found  # type: ignore[arg-type]


def test_the_optimizer_of_a_network_keeps_the_vectors_of_the_elements_apart() -> None:
    network = tiny_potential()
    optimizer = make_optimizer(network, OptimConfig(lr=1e-3))
    assert isinstance(optimizer, Soap)
    apart = [weight for group in optimizer.param_groups if group["rows_apart"] for weight in group["params"]]
    assert [id(weight) for weight in apart] == [id(network.embedding.weight)]
    moved = [weight for group in optimizer.param_groups for weight in group["params"]]
    assert len(moved) == len(list(network.parameters())) == len({id(weight) for weight in moved})


def test_weights_that_are_shared_out_need_adamw() -> None:
    network = tiny_potential()
    with pytest.raises(UsageError, match="whole matrices"):
        make_optimizer(network, OptimConfig(lr=1e-3), sharded=True)
    asked = make_optimizer(network, OptimConfig(method="adamw", lr=1e-3), sharded=True)
    assert isinstance(asked, torch.optim.AdamW)
