"""Frames as network input: graphs built when needed, batches by edge budget, labels with masks, resumable order.

The order of an epoch is a function of the seed and the epoch's number only, so a resumed run sees the same batches.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from jmp_calc.errors import UsageError
from jmp_calc.graph.batch import Batch, collate
from jmp_calc.graph.build import Graph, build_graph
from jmp_calc.graph.dropout import Compensation, EdgeDrop
from jmp_calc.graph.neighbours import EdgeList

from .labels import Frame

if TYPE_CHECKING:
    from jmp_calc.model.config import GraphPolicy


@dataclass(frozen=True, eq=False)
class TargetBatch:
    """A batch of S structures (N atoms) with its labels; where a mask is False the label is zero."""

    batch: Batch
    energy: Tensor
    """(S,) float64, eV, as in the file"""
    energy_mask: Tensor
    """(S,) bool"""
    forces: Tensor
    """(N, 3) float32, eV/Å"""
    forces_mask: Tensor
    """(S,) bool"""
    stress: Tensor
    """(S, 3, 3) float32, eV/Å^3, positive = tension"""
    stress_mask: Tensor
    """(S,) bool"""
    scalar: Tensor
    """(S,) float64, units of the data set"""
    scalar_mask: Tensor
    """(S,) bool"""
    target: str | None
    """Name of the scalar; None: the heads give energies, and all scalars are masked."""
    reference_energy: Tensor
    """(S,) float64, eV: sum of the reference energies of the data set that each structure comes from"""
    weights: Tensor
    """(S,) float32"""
    heads: tuple[str, ...]
    """Head of each structure."""
    groups: tuple[str, ...]
    """``config_type`` of each structure."""
    frames: tuple[int, ...]
    """Position of each structure in the data set."""

    def to(self, device: str | torch.device) -> TargetBatch:
        """The same batch on another device."""
        present = {f.name: getattr(self, f.name) for f in fields(self)}
        moved: dict[str, Any] = {k: v.to(device) for k, v in present.items() if isinstance(v, (Tensor, Batch))}
        return replace(self, **moved)


@dataclass(frozen=True)
class SamplerState:
    """Where the order of batches stands: the next batch is number ``position`` of epoch ``epoch``."""

    epoch: int = 0
    position: int = 0


class FrameGraphs:
    """Frames with one graph policy; graphs are built on demand and kept as long as ``cache_bytes`` allows."""

    def __init__(
        self,
        frames: Sequence[Frame],
        policy: GraphPolicy,
        *,
        heads: str | Sequence[str],
        target: str | None = None,
        reference_energies: Sequence[float] | None = None,
        weights: Sequence[float] | None = None,
        qint_tags: tuple[int, ...] = (1, 2),
        cache_bytes: int = 1 << 30,
        sizes: np.ndarray | None = None,
        edge_dropout: float = 0.0,
        dropout_seed: int = 0,
        dropout_compensation: Compensation = "output_sums",
    ) -> None:
        """Args:
        frames: labelled structures.
        policy: graph policy of the model.
        heads: head of all frames, or one per frame.
        target: name of the scalar in ``Frame.targets`` that the head gives; None: energies.
        reference_energies: eV, one per frame (see TargetBatch); zeros if None.
        weights: one per frame; ones if None.
        qint_tags: tags whose atoms take part in quadruplets.
        cache_bytes: memory for graphs; further ones are built anew each time.
        sizes: ``self.sizes`` of an earlier object with the same frames and policy, to skip measuring.
        edge_dropout: probability that an edge is left out of the graphs of a batch that is made for an epoch.
        dropout_seed: of the edges left out, with the number of the epoch and of the frame.
        dropout_compensation: what is scaled up for them.
        """
        count = len(frames)
        self.frames = tuple(frames)
        self.policy = policy
        self.target = target
        self.heads = (heads,) * count if isinstance(heads, str) else tuple(heads)
        self._references = np.zeros(count) if reference_energies is None else np.asarray(reference_energies, float)
        self._weights = np.ones(count) if weights is None else np.asarray(weights, float)
        if not len(self.heads) == len(self._references) == len(self._weights) == count:
            raise UsageError("Heads, reference energies and weights must be one per frame.")
        self._qint_tags = qint_tags
        self._room = cache_bytes
        self._cache: dict[int, Graph] = {}
        self._sizes = sizes
        self._dropout = EdgeDrop(edge_dropout, dropout_seed, dropout_compensation) if edge_dropout != 0.0 else None
        self._dropout_seed = dropout_seed
        if sizes is not None and sizes.shape != (count, 3):
            raise UsageError(f"Sizes have shape {sizes.shape}, not {(count, 3)}.")

    def __len__(self) -> int:
        return len(self.frames)

    def graph(self, index: int, epoch: int | None = None) -> Graph:
        """Graph of one frame; with edge dropout and an ``epoch`` a draw for it, made anew."""
        drop = None
        if self._dropout is not None and epoch is not None:
            drop = replace(self._dropout, seed=(self._dropout_seed, epoch, index))
        if drop is None and index in self._cache:
            return self._cache[index]
        frame = self.frames[index]
        graph = build_graph(
            frame.positions, frame.numbers, frame.cell, frame.pbc, self.policy, frame.tags, self._qint_tags,
            drop=drop,
        )
        if drop is not None:
            return graph
        size = _nbytes(graph)
        # Kept in order of arrival: an epoch visits each frame once, so throwing out the oldest would keep none.
        if size <= self._room:
            self._room -= size
            self._cache[index] = graph
        return graph

    @property
    def sizes(self) -> np.ndarray:
        """(frames, 3) int64: atoms, main edges, most main edges of one atom; measured at first use."""
        if self._sizes is None:
            rows = []
            for index in range(len(self)):
                graph = self.graph(index)
                degree = np.bincount(graph.main.target, minlength=1).max(initial=0)
                rows.append((graph.n_atoms, graph.n_edges, int(degree)))
            self._sizes = np.array(rows, dtype=np.int64).reshape(-1, 3)
        return self._sizes

    def collate(
        self, indices: Sequence[int], device: str | torch.device = "cpu", epoch: int | None = None
    ) -> TargetBatch:
        """Batch of the frames at ``indices``, with labels; for training in ``epoch``, or for evaluation (None)."""
        frames = [self.frames[i] for i in indices]
        forces = [np.zeros((f.n_atoms, 3)) if f.forces is None else f.forces for f in frames]
        stress = [np.zeros((3, 3)) if f.stress is None else f.stress for f in frames]
        scalars = [None if self.target is None else f.targets.get(self.target) for f in frames]
        target = TargetBatch(
            batch=collate([self.graph(i, epoch) for i in indices]),
            energy=torch.tensor([f.energy or 0.0 for f in frames], dtype=torch.float64),
            energy_mask=torch.tensor([f.energy is not None for f in frames]),
            forces=torch.from_numpy(np.concatenate(forces)).float(),
            forces_mask=torch.tensor([f.forces is not None for f in frames]),
            stress=torch.from_numpy(np.stack(stress)).float(),
            stress_mask=torch.tensor([f.stress is not None for f in frames]),
            scalar=torch.tensor([value or 0.0 for value in scalars], dtype=torch.float64),
            scalar_mask=torch.tensor([value is not None for value in scalars]), target=self.target,
            reference_energy=torch.from_numpy(self._references[list(indices)]),
            weights=torch.from_numpy(self._weights[list(indices)]).float(),
            heads=tuple(self.heads[i] for i in indices), groups=tuple(f.group for f in frames), frames=tuple(indices),
        )
        return target if torch.device(device).type == "cpu" else target.to(device)

    def in_order(self, max_edges: int, device: str | torch.device = "cpu") -> Iterator[TargetBatch]:
        """All frames once, for evaluation: similar ones together, the order fixed."""
        for indices in pack(np.arange(len(self)), self.sizes, max_edges):
            yield self.collate(indices, device)


class Sampler:
    """Endless batches in an order that depends on the seed and the epoch only; resumable at any batch."""

    def __init__(
        self, data: FrameGraphs, *, max_edges: int, max_structures: int | None = None, seed: int = 0,
        state: SamplerState = SamplerState(),
    ) -> None:
        """Args:
        data: the frames.
        max_edges: padded main edges of a batch (atoms × most edges of one atom), the measure of time and memory.
        max_structures: further limit.
        seed: of the order.
        state: where to go on.
        """
        if max_edges < 1 or (max_structures is not None and max_structures < 1) or not len(data):
            raise UsageError("A batch needs frames and room for at least one edge and one structure.")
        self.data, self.max_edges, self.max_structures, self.seed = data, max_edges, max_structures, seed
        self._epoch, self._position = state.epoch, state.position
        self._plan: tuple[int, list[list[int]]] | None = None

    @property
    def state(self) -> SamplerState:
        """State that continues with the next batch."""
        return SamplerState(self._epoch, self._position)

    def plan(self, epoch: int) -> list[list[int]]:
        """Batches of one epoch as frame numbers; each frame occurs once."""
        if self._plan is None or self._plan[0] != epoch:
            rng = np.random.default_rng([self.seed, epoch])
            batches = pack(rng.permutation(len(self.data)), self.data.sizes, self.max_edges, self.max_structures)
            self._plan = epoch, [batches[i] for i in rng.permutation(len(batches))]
        return self._plan[1]

    def steps(self, epochs: int) -> int:
        """Number of batches in the first ``epochs`` epochs (packing differs a little between epochs)."""
        return sum(len(self.plan(epoch)) for epoch in range(epochs))

    def epoch(self, device: str | torch.device = "cpu") -> Iterator[TargetBatch]:
        """The remaining batches of the current epoch; afterwards the state is at the next epoch."""
        plan = self.plan(self._epoch)
        while self._position < len(plan):
            indices = plan[self._position]
            self._position += 1
            target = self.data.collate(indices, device, epoch=self._epoch)
            if self._position == len(plan):
                self._epoch, self._position = self._epoch + 1, 0
                yield target
                return
            yield target


def pack(
    order: np.ndarray, sizes: np.ndarray, max_edges: int, max_structures: int | None = None, pad_ratio: float = 1.4
) -> list[list[int]]:
    """Fill batches from ``order`` up to ``max_edges`` padded edges; a frame above the budget is alone.

    Frames are sorted into classes whose largest degrees differ by at most ``pad_ratio``, so that little is wasted on
    padding; within a class the given order stays.
    """
    classes: dict[int, list[int]] = {}
    for index in order.tolist():
        degree = int(sizes[index, 2])
        classes.setdefault(int(math.log(degree + 1) / math.log(pad_ratio)), []).append(index)
    batches: list[list[int]] = [[]]
    atoms = degree = 0
    for index in (index for key in sorted(classes) for index in classes[key]):
        atoms, degree = atoms + int(sizes[index, 0]), max(degree, int(sizes[index, 2]))
        if batches[-1] and (atoms * degree > max_edges or len(batches[-1]) == max_structures):
            batches.append([])
            atoms, degree = int(sizes[index, 0]), int(sizes[index, 2])
        batches[-1].append(index)
    return [batch for batch in batches if batch]


def _nbytes(graph: Graph) -> int:
    total = 0
    for item in fields(graph):
        value = getattr(graph, item.name)
        if isinstance(value, EdgeList):
            total += sum(getattr(value, f.name).nbytes for f in fields(value))
        elif isinstance(value, np.ndarray):
            total += value.nbytes
    return total
