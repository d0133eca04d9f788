"""Batches in the order of a plan, prepared ahead while the device works."""

from __future__ import annotations

import multiprocessing
import resource
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

from ..data.frame import Frame
from .dataset import FrameGraphs, TargetBatch
from .order import Order, Step

T = TypeVar("T")
NO_TASK = -1


class Batches:
    """Frames as batches by number of epoch; the order depends on that number only, so that a run can be
    resumed."""

    def __init__(
        self,
        data: FrameGraphs,
        order: Order,
        *,
        device: torch.device | str = "cpu",
        workers: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        """Args:
        data: makes batches of frame numbers.
        order: which frames belong together.
        device: where the batches are wanted.
        workers: processes that prepare batches for a GPU; 0: a thread of this one.
        rank, world_size: which of how many processes of a distributed run has these batches. Every process
        makes the
            same plan of whole steps and cuts the same shares, of which it prepares its own; this gives what
            the sampler and the exchange of sizes of ``training.md`` section 6 (steps 1 and 2) are for,
            without either.
        """
        self.data, self.order, self.device, self.workers = data, order, torch.device(device), workers
        self.rank, self.world_size = rank, world_size

    @property
    def frames(self) -> Sequence[Frame]:
        """Frames that ``TargetBatch.frames`` counts."""
        return self.data.frames

    @property
    def task_names(self) -> list[str]:
        """Title of the task of every frame."""
        titles = [task.title for task in self.data.tasks]
        return [titles[i] for i in self.data.task_of.tolist()]

    @property
    def n_structures(self) -> int:
        """Structures per epoch."""
        return self.order.n_structures

    def n_steps(self, epoch: int) -> int:
        """Number of steps in an epoch, or an estimate of it."""
        return self.order.n_steps(epoch)

    def steps(self, epoch: int, skip: int = 0, processes: int = 1) -> Iterator[list[list[TargetBatch]]]:
        """For every step at most ``processes`` shares of about equal numbers of edges, each in one or more
        parts.

        In a distributed run: the share of this process alone; where a step has too few structures for all,
        one of them without its labels, so that the process takes part and adds nothing.
        """
        numbered = enumerate(self.order.steps(epoch, skip), start=skip)
        return self._moved(self._mine(step, processes, (epoch, number)) for number, step in numbered)

    def all(self) -> Iterator[TargetBatch]:
        """Batches of epoch 0, one after the other and without edge dropout, those of this process: for
        evaluation."""
        plan = islice(self.order.steps(0), self.rank, None, self.world_size)
        return (
            part
            for shares in self._moved(_Work([step]) for step in plan)
            for share in shares
            for part in share
        )

    def _mine(self, step: Step, processes: int, draw: tuple[int, ...]) -> _Work:
        if self.world_size == 1:
            return _Work(self.shared(step, processes), draw)
        shares = self.shared(step, self.world_size)
        if self.rank < len(shares):
            return _Work([shares[self.rank]], draw)
        return _Work([[step[0][:1]]], draw, labelled=False)

    def shared(self, step: Step, count: int) -> list[Step]:
        """The frames of a step in at most ``count`` shares; parts stay apart."""
        if count == 1:
            return [step]
        frames = [(frame, part) for part, frames in enumerate(step) for frame in frames]
        groups = balanced(self.data.sizes[[frame for frame, _ in frames], 1].tolist(), count)
        shares = [
            [[frames[i][0] for i in group if frames[i][1] == part] for part in range(len(step))]
            for group in groups
        ]
        return [[part for part in share if part] for share in shares]

    def _moved(self, plan: Iterator[_Work]) -> Iterator[list[list[TargetBatch]]]:
        for shares in self._prepared(plan):
            yield [[part.to(self.device, non_blocking=True) for part in share] for share in shares]

    def _prepared(self, plan: Iterator[_Work]) -> Iterator[list[list[TargetBatch]]]:
        made = _Made(self.data)
        if self.workers == 0:
            batches = (made[work] for work in plan)
            return batches if self.device.type == "cpu" else ahead(batches)
        # Every tensor that a worker hands over is an open file here.
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
        # Forked workers share the frames; they use numpy and CPU tensors only, so a CUDA context of the
        # parent is no harm.
        return iter(
            DataLoader(
                made,
                sampler=_Plan(plan),
                batch_size=None,
                num_workers=self.workers,
                prefetch_factor=2,
                pin_memory=self.device.type == "cuda",
                worker_init_fn=_single_thread,
                multiprocessing_context=multiprocessing.get_context("fork"),
            )
        )


def ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items, each made in a thread while the one before is used."""
    missing = object()
    with ThreadPoolExecutor(max_workers=1) as pool:
        waiting = pool.submit(next, items, missing)
        while (ready := waiting.result()) is not missing:
            waiting = pool.submit(next, items, missing)
            yield ready  # type: ignore[misc]


@dataclass(frozen=True)
class _Work:
    """What is to be prepared for a step."""

    shares: list[Step]
    draw: tuple[int, ...] | None = None
    """Of edge dropout: epoch and step; None: for evaluation."""
    labelled: bool = True


class _Made(Dataset[Any]):
    """Batches by the frame numbers of a step."""

    def __init__(self, data: FrameGraphs) -> None:
        self._data = data

    def __getitem__(self, work: _Work) -> list[list[TargetBatch]]:
        shares = [[self._data.collate(part, draw=work.draw) for part in share] for share in work.shares]
        return shares if work.labelled else [[part.only(NO_TASK) for part in share] for share in shares]


class _Plan:
    """An iterator as the sampler that DataLoader expects."""

    def __init__(self, plan: Iterator[_Work]) -> None:
        self._plan = plan

    def __iter__(self) -> Iterator[_Work]:
        return self._plan


def _single_thread(worker: int) -> None:
    torch.set_num_threads(1)


def balanced(sizes: Sequence[float], count: int) -> list[list[int]]:
    """Indices of ``sizes`` in at most ``count`` groups of about equal sums, largest first; no group is
    empty."""
    groups: list[list[int]] = [[] for _ in range(count)]
    sums = [0.0] * count
    for index in sorted(range(len(sizes)), key=lambda i: -sizes[i]):
        least = sums.index(min(sums))
        groups[least].append(index)
        sums[least] += sizes[index]
    return [group for group in groups if group]
