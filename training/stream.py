"""The endless stream of pre-training batches: sets drawn by temperature, two parts per step by density, prepared by
worker processes.

The n-th step of a stream depends on the seed and n only, so that a resumed run continues the same stream.
"""

from __future__ import annotations

import multiprocessing
import resource
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from jmp_calc.model.config import GraphPolicy

from .dataset import FrameGraphs, TargetBatch
from .packed import Packed

DENSE_DEGREE = 24
"""Most edges of one atom above which a frame counts as dense: the network pads sums to the largest degree in a batch,
so molecules and metals are evaluated apart and their gradients added."""

Step = list[list[int]]


@dataclass(frozen=True)
class StreamConfig:
    """How large a step is and how sets are drawn."""

    max_edges: int = 80_000
    """Main edges per step, both parts together (about)."""
    max_structures: int = 160
    max_frame_edges: int = 1_000_000
    """Frames with more main edges are never drawn: one of them would be a whole step."""
    temperature: float = 2.0
    """Probability of a set ~ weight * frames^(1/temperature)."""
    seed: int = 0


def set_probabilities(packed: Packed, temperature: float) -> np.ndarray:
    """(sets,) probability that a structure of the stream comes from each set."""
    share = np.array([item.weight * item.n_train ** (1.0 / temperature) for item in packed.sets])
    return share / share.sum()


def steps(packed: Packed, config: StreamConfig, skip: int = 0) -> Iterator[Step]:
    """Frame numbers of each step, in one or two parts; the first ``skip`` steps are left out.

    Every set runs through shuffled passes of its own, so that its frames are seen equally often.
    """
    rng = np.random.default_rng(config.seed)
    probabilities = set_probabilities(packed, config.temperature)
    usable = ~packed.valid & (packed.n_edges <= config.max_frame_edges)
    members = [np.flatnonzero((packed.set_index == i) & usable) for i in range(len(packed.sets))]
    probabilities = np.where([len(frames) > 0 for frames in members], probabilities, 0.0)
    probabilities /= probabilities.sum()
    queues: list[list[int]] = [[] for _ in members]
    parts: Step = [[], []]
    edges = done = 0
    while True:
        for chosen in rng.choice(len(members), size=1024, p=probabilities).tolist():
            if not queues[chosen]:
                queues[chosen] = rng.permutation(members[chosen]).tolist()
            frame = queues[chosen].pop()
            size = int(packed.n_edges[frame])
            full = sum(map(len, parts)) >= config.max_structures or edges + size > config.max_edges
            if full and any(parts):
                if done >= skip:
                    yield [part for part in parts if part]
                done, parts, edges = done + 1, [[], []], 0
            parts[int(packed.degree[frame]) > DENSE_DEGREE].append(frame)
            edges += size


@dataclass(frozen=True, eq=False)
class PackedBatch:
    """One part of a step with what the loss needs beside the labels."""

    target: TargetBatch
    force_scale: Tensor
    """(S,) float32, eV/Å: force errors count in units of this."""
    atoms: Tensor
    """(S,) float64"""
    volume: Tensor
    """(S,) float32, Å^3; zero without a cell"""
    step_structures: int
    """Structures in all parts of the step."""
    has_stress: bool

    def pin_memory(self) -> PackedBatch:
        """The same in page-locked memory (called by the data loader)."""
        target = self.target
        tensors: dict[str, Any] = {name: value.pin_memory() for name, value in vars(target).items() if isinstance(value, Tensor)}
        return replace(
            self, target=replace(target, batch=target.batch.pin_memory(), **tensors),
            force_scale=self.force_scale.pin_memory(), atoms=self.atoms.pin_memory(), volume=self.volume.pin_memory(),
        )

    def to(self, device: torch.device) -> PackedBatch:
        """The same on another device, without waiting for the copies."""
        target = self.target
        tensors: dict[str, Any] = {
            name: value.to(device, non_blocking=True) for name, value in vars(target).items()
            if isinstance(value, Tensor)
        }
        return replace(
            self, target=replace(target, batch=target.batch.to(device, non_blocking=True), **tensors),
            force_scale=self.force_scale.to(device, non_blocking=True),
            atoms=self.atoms.to(device, non_blocking=True), volume=self.volume.to(device, non_blocking=True),
        )


class PackedGraphs(Dataset[Any]):
    """Turns steps into batches; graphs are built where they are needed and kept as far as memory allows."""

    def __init__(self, packed: Packed, policy: GraphPolicy, force_scales: np.ndarray, cache_bytes: int) -> None:
        """Args:
        packed: the frames.
        policy: graph policy of the network.
        force_scales: (sets,) eV/Å.
        cache_bytes: memory for graphs in each worker.
        """
        self._graphs = FrameGraphs(
            [packed.frame(i) for i in range(len(packed))], policy, heads=[packed.sets[i].head for i in packed.set_index],
            reference_energies=packed.reference_energies().tolist(), cache_bytes=cache_bytes,
        )
        self._scales = force_scales[packed.set_index]

    def __len__(self) -> int:
        return len(self._graphs)

    def __getitem__(self, step: Step) -> list[PackedBatch]:
        """All parts of one step."""
        count = sum(len(part) for part in step)
        return [self.part(part, count) for part in step]

    def part(self, indices: Sequence[int], step_structures: int) -> PackedBatch:
        """One batch of the frames at ``indices``."""
        target = self._graphs.collate(indices)
        batch = target.batch
        return PackedBatch(
            target, torch.from_numpy(self._scales[list(indices)]).float(),
            torch.bincount(batch.structure, minlength=batch.n_structures).double(),
            torch.linalg.det(batch.cell).abs().float(), step_structures, bool(target.stress_mask.any()),
        )


def loader(data: PackedGraphs, plan: Iterator[Step], workers: int, pin: bool) -> Iterator[list[PackedBatch]]:
    """Prepared steps in the order of ``plan``, made ahead by ``workers`` processes (0: in this one)."""
    if workers == 0:
        for step in plan:
            yield data[step]
        return
    # Every tensor that a worker hands over is an open file here.
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    # Forked workers share the pack; they use numpy and CPU tensors only, so a CUDA context of the parent is no harm.
    made = DataLoader(
        data, sampler=_Plan(plan), batch_size=None, num_workers=workers, prefetch_factor=2, pin_memory=pin,
        worker_init_fn=_single_thread, multiprocessing_context=multiprocessing.get_context("fork"),
    )
    yield from made


class _Plan:
    """An iterator as the sampler that DataLoader expects."""

    def __init__(self, plan: Iterator[Step]) -> None:
        self._plan = plan

    def __iter__(self) -> Iterator[Step]:
        return self._plan


def _single_thread(worker: int) -> None:
    torch.set_num_threads(1)
