"""The processes of one training run (ranks): what they have to agree on, and the sum of their gradients.

A ``World`` of one process does nothing at all, so that the loop is written once. Small numbers travel on the
CPU (gloo), gradients on the device of the process (NCCL on GPUs); :mod:`.distributed` starts the processes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from jmp_calc.errors import JMPError

T = TypeVar("T")


class ProcessEnded(JMPError):
    """Another process of the run is gone, so that nothing can be computed together any more; exit code 1."""


@dataclass(frozen=True)
class World:
    """One process among ``size``; all of them call every method below in the same order."""

    rank: int = 0
    size: int = 1
    device: torch.device | None = None
    """Where this process computes; None: where the user says."""
    shards: bool = False
    """Whether the weights are shared out (:mod:`.sharding`); gradients are then summed in the backward
    pass."""

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and talks to the user."""
        return self.rank == 0

    def total(self, counts: Tensor) -> Tensor:
        """Sum over the processes of a small tensor on the CPU, in its shape."""
        return counts if self.size == 1 else self._summed(counts.clone())

    def _summed(self, values: Tensor) -> Tensor:
        """Sum over the processes of a tensor on the device, in place."""
        with _together():
            dist.all_reduce(values)
        return values

    def greatest(self, values: Tensor) -> Tensor:
        """Largest of the values of the processes, each of which has a part of the weights; else the values.
        NaN is infinite."""
        if self.shards:
            values = values.nan_to_num(nan=torch.inf)
            with _together():
                dist.all_reduce(values, dist.ReduceOp.MAX)
        return values

    def agree(self, signal: int | None, seconds: float) -> tuple[int | None, float]:
        """A signal that any process has received, and the time of the first one, whose clock counts for
        all."""
        if self.size == 1:
            return signal, seconds
        mine = torch.tensor([signal or 0, seconds if self.is_first else 0.0], dtype=torch.float64)
        with _together():
            dist.all_reduce(mine, dist.ReduceOp.MAX)
        return int(mine[0]) or None, float(mine[1])

    def add_gradients(self, parameters: Sequence[nn.Parameter], terms: Tensor) -> Tensor:
        """Replace every gradient by its sum over the processes; returns the sum of the loss ``terms`` (K,).

        A weight without gradient counts as zero, and stays without one where no process has any: then the
        optimizer leaves it alone, as in a run of one process.
        """
        if self.size == 1:
            return terms
        if self.shards:
            return self._summed(terms.clone())
        # Counted on the CPU, where it is known before the device has computed the gradients.
        present = self.total(torch.tensor([p.grad is not None for p in parameters], dtype=torch.int64))
        like = parameters[0]
        pieces = [(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in parameters]
        flat = self._summed(torch.cat([*pieces, terms.to(like)]))
        *sums, summed = flat.split([*(p.numel() for p in parameters), len(terms)])
        for parameter, gradient, count in zip(parameters, sums, present.tolist()):
            parameter.grad = gradient.view_as(parameter) if count > 0 else None
        return summed

    def same_weights(self, module: nn.Module) -> None:
        """Give all processes the weights and constants of the first."""
        if self.size > 1:
            with _together(), torch.no_grad():
                for tensor in (*module.parameters(), *module.buffers()):
                    dist.broadcast(tensor, 0)

    def collect(self, value: T) -> list[T]:
        """The values of all processes, in the order of their ranks (picklable)."""
        if self.size == 1:
            return [value]
        values: list[T | None] = [None] * self.size
        with _together():
            dist.all_gather_object(values, value)
        return values  # type: ignore[return-value]

    def from_first(self, value: T) -> T:
        """The value of the first process, on all (picklable)."""
        if self.size == 1:
            return value
        values = [value]
        with _together():
            dist.broadcast_object_list(values, 0, device=torch.device("cpu"))
        return values[0]

    def wait(self) -> None:
        """Until all processes have come here."""
        self.total(torch.zeros(1))

    @contextmanager
    def own_random_numbers(self) -> Iterator[None]:
        """Inside, every process draws (dropout) from a stream of its own; outside, all generators stay the
        same.

        The streams start from a number that the common generator draws, so that a resumed run has them again.
        """
        if self.size == 1:
            yield
            return
        seed = int(torch.randint(2**62, ()))
        cuda = [self.device] if self.device is not None and self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=cuda):
            torch.manual_seed(seed + self.rank)
            yield


@contextmanager
def _together() -> Iterator[None]:
    """Turn the error of a collective into one that says what it means."""
    try:
        yield
    except RuntimeError as error:
        raise ProcessEnded(
            "Another process of this training has ended.", hint=f"go on with --resume ({error})"
        ) from error
