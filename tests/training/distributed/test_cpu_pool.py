"""Several processes share a batch: the same loss and the same gradients as one."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch

from jmp_calc.errors import UsageError
from jmp_calc.training.batches.dataset import FrameGraphs
from jmp_calc.training.batches.loader import Batches, balanced
from jmp_calc.training.batches.order import Fixed
from jmp_calc.training.batches.tasks import Task
from jmp_calc.training.config import LossConfig, TrainConfig
from jmp_calc.training.distributed.cpu_pool import GradientPool
from jmp_calc.training.optim.gradients import StepShare, SummedGradients, step_shares
from tests.training.helpers.tiny import POLICY, emt_frames, tiny_potential

CONFIG = TrainConfig(loss=LossConfig(structure_wise=False))


def shares(count: int = 5, processes: int = 1, config: TrainConfig = CONFIG) -> list[StepShare]:
    """The only step of an epoch with all frames."""
    graphs = FrameGraphs(emt_frames(count), POLICY, Task("old"))
    (step,) = Batches(graphs, Fixed(graphs.sizes, max_edges=10**6)).steps(0, processes=processes)
    return step_shares(step, config, config.forces)


def gradients(potential: torch.nn.Module) -> list[torch.Tensor]:
    found = []
    for parameter in potential.parameters():
        assert parameter.grad is not None
        found.append(parameter.grad.clone())
    return found


def test_two_processes_give_the_gradients_of_one() -> None:
    whole, shared = tiny_potential(dtype=torch.float64), tiny_potential(dtype=torch.float64)
    with GradientPool(whole, SummedGradients(CONFIG), 1) as pool:
        terms = pool.gradients(shares())
    halves = shares(processes=2)
    assert len(halves) == 2
    with GradientPool(shared, SummedGradients(CONFIG), 2) as pool:
        for _ in range(2):  # gradients are replaced, not added to those of the step before
            divided = pool.gradients(halves)
    assert torch.allclose(divided, terms, rtol=1e-6)
    for a, b in zip(gradients(shared), gradients(whole), strict=True):
        assert torch.allclose(a, b, rtol=1e-6, atol=1e-7 * float(b.abs().max()))


@pytest.fixture
def two_threads() -> Iterator[None]:
    """As many for torch, and what there were afterwards."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


def test_weights_changed_by_the_optimizer_reach_the_other_process_and_threads_are_restored(
    two_threads: None,
) -> None:
    potential, halves = tiny_potential(), shares(2, processes=2)
    with GradientPool(potential, SummedGradients(CONFIG), 2) as pool:
        assert torch.get_num_threads() == 1
        before = pool.gradients(halves)
        with torch.no_grad():
            for parameter in potential.parameters():
                parameter.mul_(1.1)
        after = pool.gradients(halves)
        expected = sum(SummedGradients(CONFIG)(copy.deepcopy(potential), share) for share in halves)
    assert torch.get_num_threads() == 2
    assert torch.allclose(after, expected, rtol=1e-5)
    assert not torch.allclose(after, before, rtol=1e-3)


class FirstWeight:
    """A loss of the first weight alone, as of a step without data of a head."""

    def __call__(self, potential: torch.nn.Module, share: float) -> torch.Tensor:
        loss = share * next(potential.parameters()).sum()
        loss.backward()
        return loss.detach().expand(4)


def test_weights_that_no_share_is_about_have_no_gradient() -> None:
    """An optimizer moves weights whose gradient is zero, by what it remembers of them and by their decay."""
    potential = tiny_potential()
    with GradientPool(potential, FirstWeight(), 2) as pool:
        pool.gradients([1.0, 2.0])
    first, *others = potential.parameters()
    assert first.grad is not None and (first.grad == 3.0).all()
    assert all(weight.grad is None for weight in others)


class Fails:
    """Refuses the share of the helper process."""

    def __call__(self, potential: torch.nn.Module, share: str) -> torch.Tensor:
        if share == "second":
            raise UsageError("This frame cannot be used.")
        return torch.zeros(4)


def test_an_error_of_a_helper_is_raised_here_and_a_helper_that_is_gone_is_named() -> None:
    with GradientPool(tiny_potential(), Fails(), 2) as pool:
        with pytest.raises(UsageError, match="cannot be used"):
            pool.gradients(["first", "second"])
        pool._helpers[0].kill()
        pool._helpers[0].join()
        with pytest.raises(UsageError, match="has ended"):
            pool.gradients(["first", "third"])


def test_loss_terms_of_the_parts_add_up() -> None:
    ((whole,),) = [share.parts for share in shares(config=TrainConfig())]
    assert (whole.energy, whole.forces, whole.stress) == (1.0, 1.0, 1.0)
    thirds = [part for share in shares(processes=3, config=TrainConfig()) for part in share.parts]
    assert len(thirds) == 3
    assert sum(part.energy for part in thirds) == pytest.approx(1.0)
    assert [part.forces for part in thirds] == [len(part.target.frames) / 5 for part in thirds]


def test_balanced_groups_have_similar_sums_and_lose_nothing() -> None:
    sizes = [9.0, 1.0, 1.0, 1.0, 5.0, 1.0]
    groups = balanced(sizes, 2)
    assert sorted(i for group in groups for i in group) == list(range(6))
    assert {sum(sizes[i] for i in group) for group in groups} == {9.0}
    assert balanced([3.0], 4) == [[0]]


def test_partition_of_the_specification() -> None:
    sizes = (9, 8, 3, 2, 1)  # training.md, acceptance test 5: 9+2 and 8+3, then the 1 to either
    groups = balanced(sizes, 2)
    assert sorted(sum(sizes[i] for i in group) for group in groups) == [11, 12]
    assert [[sizes[i] for i in group][:2] for group in groups] == [[9, 2], [8, 3]]
