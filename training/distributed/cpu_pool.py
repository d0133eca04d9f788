"""Gradients of one step from several single-threaded processes that share the weights in memory.

On a CPU a small network gains next to nothing from threads within one operation
(benchmarks/training_processes.py): the operations are too small. Two processes with a half of the batch each
are almost twice as fast. Weights are read by all and written only by the process that owns the optimizer.
"""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Collection, Sequence
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch import multiprocessing as mp

from jmp_calc.errors import JMPError, UsageError

Share = TypeVar("Share", contravariant=True)


class Evaluate(Protocol[Share]):
    """Loss terms (K,) of one share of a step, after ``backward`` has added its gradients to the weights."""

    def __call__(self, potential: Any, share: Share, /) -> Tensor:
        """Add the gradients of ``share``; return the loss terms."""
        ...


def check_processes(processes: int, devices: Collection[str]) -> None:
    """UsageError unless so many processes can share the network on these kinds of device."""
    if processes > 1 and set(devices) != {"cpu"}:
        raise UsageError(
            f"{processes} processes can share a CPU, not a GPU.", hint="--processes 1, or --device cpu"
        )
    cores = max(os.cpu_count() or 1, 2)
    if processes > cores:
        raise UsageError(
            f"{processes} processes cannot share {cores} cores.", hint=f"--processes {cores} or fewer"
        )


class GradientPool:
    """Evaluates the shares of a step side by side; the sum of their gradients is left in ``.grad``.

    The result does not depend on timing: gradients are added in the order of the shares, and random numbers
    (dropout) of the helpers start in every step from a seed that this process draws, so that a resumed run
    has the same ones.
    """

    def __init__(self, potential: nn.Module, evaluate: Evaluate[Any], processes: int) -> None:
        """Start ``processes - 1`` helpers; the calling process takes the first share of every step.

        Args:
            potential: network on the CPU; its weights move to shared memory.
            evaluate: picklable; called in every process with its own replica.
            processes: number of processes, each with one thread, at most the cores of this machine (or 2); 1
                leaves threads and memory as they are.
        """
        check_processes(processes, {p.device.type for p in potential.parameters()})
        self.potential, self.evaluate, self.processes = potential, evaluate, processes
        self._parameters = [p for p in potential.parameters() if p.requires_grad]
        self._helpers: list[Any] = []
        self._pipes: list[Any] = []
        self._buffers: list[Tensor] = []
        if processes > 1:
            self._threads = torch.get_num_threads()
            torch.set_num_threads(1)
            potential.share_memory()
            for _ in range(processes - 1):
                self._start()

    def gradients(self, shares: Sequence[Any]) -> Tensor:
        """Sum of the loss terms of all shares (at most one per process); gradients are replaced, not
        added."""
        try:
            for pipe, share in zip(self._pipes, shares[1:]):
                pipe.send((int(torch.randint(2**62, ())), share))
        except OSError as error:
            raise _ended() from error
        for parameter in self._parameters:
            parameter.grad = None
        terms = self.evaluate(self.potential, shares[0])
        for pipe, buffer, _ in zip(self._pipes, self._buffers, shares[1:]):
            try:
                answer = pipe.recv()
            except (EOFError, OSError) as error:
                raise _ended() from error
            if isinstance(answer, JMPError):
                raise answer
            if isinstance(answer, str):
                raise RuntimeError(f"a training process failed:\n{answer}")
            found, known = answer
            terms = terms + torch.tensor(found, dtype=terms.dtype)
            self._add(buffer, known)
        return terms

    def close(self) -> None:
        """End the helpers; the number of threads is what it was."""
        for pipe in self._pipes:
            pipe.close()
        for helper in self._helpers:
            helper.join(timeout=10)
            if helper.is_alive():
                helper.terminate()
        if self._helpers:
            torch.set_num_threads(self._threads)
        self._helpers, self._pipes, self._buffers = [], [], []

    def __enter__(self) -> GradientPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> None:
        context = mp.get_context("spawn")
        here, there = context.Pipe()
        size = sum(p.numel() for p in self._parameters)
        buffer = torch.zeros(size, dtype=self._parameters[0].dtype).share_memory_()
        trained = [p.requires_grad for p in self.potential.parameters()]
        helper = context.Process(
            target=_work, args=(self.potential, trained, self.evaluate, buffer, there), daemon=True
        )
        helper.start()
        there.close()
        self._helpers.append(helper)
        self._pipes.append(here)
        self._buffers.append(buffer)

    def _add(self, buffer: Tensor, known: Sequence[bool]) -> None:
        """The gradients of a helper, but for weights that it has none of: a head without data in this step
        stays without, and the optimizer leaves it alone."""
        pieces = buffer.split([p.numel() for p in self._parameters])
        for parameter, piece, has_gradient in zip(self._parameters, pieces, known, strict=True):
            if not has_gradient:
                continue
            if parameter.grad is None:
                parameter.grad = piece.view_as(parameter).clone()
            else:
                parameter.grad += piece.view_as(parameter)


def _ended() -> UsageError:
    return UsageError(
        "A process that shares the training has ended.",
        hint='a script needs `if __name__ == "__main__":` around its work; '
        "else memory may have run out: --processes 1",
    )


def _work(
    potential: nn.Module, trained: list[bool], evaluate: Evaluate[Any], buffer: Tensor, pipe: Any
) -> None:
    """A helper: share in, gradients into the buffer, loss terms out; ends when the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the owner of the optimizer decides when to stop
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(1)
    parameters = []
    for parameter, flag in zip(potential.parameters(), trained):
        parameter.requires_grad_(flag)
        parameters += [parameter] if flag else []
    pieces = buffer.split([p.numel() for p in parameters])
    while True:
        try:
            seed, share = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            torch.manual_seed(seed)
            for parameter in parameters:
                parameter.grad = None
            terms = evaluate(potential, share)
            known = [parameter.grad is not None for parameter in parameters]
            for parameter, piece in zip(parameters, pieces):
                if parameter.grad is not None:
                    piece.copy_(parameter.grad.reshape(-1))
            pipe.send((terms.tolist(), known))
        except JMPError as error:
            pipe.send(error)
        except Exception:
            pipe.send(traceback.format_exc())
