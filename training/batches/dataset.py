"""Frames as network input: graphs built when needed, and batches of them with labels, masks and units."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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

from ..data.frame import Frame
from ..data.target_labels import TargetKind
from .tasks import Task

if TYPE_CHECKING:
    from jmp_calc.graph.policy import GraphPolicy


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
    free: Tensor
    """(N,) bool: atoms that the calculation did not hold in place. Errors are over these, the loss over all
    (``training.md`` section 8)."""
    stress: Tensor
    """(S, 3, 3) float32, eV/Å^3, positive = tension"""
    stress_mask: Tensor
    """(S,) bool"""
    target_value: Tensor
    """(S,) float64, units of the data set; of a class its number, of a vector (S, 3)"""
    target_mask: Tensor
    """(S,) bool"""
    target: str | None
    """Name of the scalar, class or vector; None: the heads give energies, and all targets are masked."""
    target_kind: TargetKind
    reference_energy: Tensor
    """(S,) float64, eV: sum of the reference energies of the data set that each structure comes from"""
    energy_unit: Tensor
    """(S,) float64, eV of the total energy that count as an error of 1"""
    forces_unit: Tensor
    """(S,) float32, eV/Å that count as an error of 1"""
    stress_unit: Tensor
    """(S,) float32, eV/Å^3 that count as an error of 1"""
    energy_margin: Tensor
    """(S,) float64, eV of the total energy: smaller errors do not count"""
    forces_margin: Tensor
    """(S,) float32, eV/Å: smaller errors of an atom do not count"""
    weights: Tensor
    """(S,) float32"""
    task: np.ndarray
    """(S,) int64, on the host: number of the task of each structure"""
    labelled: np.ndarray
    """(S, 4) bool: the masks of energy, forces, stress and target, on the host, so that no device is waited
    for"""
    n_atoms: np.ndarray
    """(S,) int64, on the host"""
    heads: tuple[str, ...]
    """Head of each structure."""
    groups: tuple[str, ...]
    """``config_type`` of each structure."""
    frames: tuple[int, ...]
    """Position of each structure in the data set."""

    def to(self, device: str | torch.device, non_blocking: bool = False) -> TargetBatch:
        """The same batch on another device."""
        return self._mapped(lambda value: value.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> TargetBatch:
        """The same batch in page-locked memory (called by the data loader)."""
        return self._mapped(lambda value: value.pin_memory())

    def only(self, task: int) -> TargetBatch:
        """The same structures with the labels of one task; those of the others are masked."""
        chosen = torch.from_numpy(self.task == task).to(self.energy_mask.device)
        return replace(
            self,
            labelled=self.labelled & (self.task == task)[:, None],
            energy_mask=self.energy_mask & chosen,
            forces_mask=self.forces_mask & chosen,
            stress_mask=self.stress_mask & chosen,
            target_mask=self.target_mask & chosen,
        )

    @property
    def has_stress(self) -> bool:
        """Whether any structure has a stress label."""
        return bool(self.labelled[:, 2].any())

    def _mapped(self, change: Callable[[Any], Any]) -> TargetBatch:
        present = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{k: change(v) for k, v in present.items() if isinstance(v, (Tensor, Batch))})


class FrameGraphs:
    """Frames with one graph policy; graphs are built on demand and kept as long as ``cache_bytes`` allows."""

    def __init__(
        self,
        frames: Sequence[Frame],
        policy: GraphPolicy,
        tasks: Task | Sequence[Task],
        *,
        task_of: np.ndarray | None = None,
        qint_tags: tuple[int, ...] = (1, 2),
        cache_bytes: int = 1 << 30,
        sizes: np.ndarray | None = None,
        edge_dropout: float = 0.0,
        dropout_seed: int = 0,
        dropout_compensation: Compensation = "output_sums",
    ) -> None:
        """Args:
        frames: labelled structures; may read them when they are asked for.
        policy: graph policy of the model.
        tasks: what the labels are compared with.
        task_of: (frames,) number of the task of each frame; None: the first.
        qint_tags: tags whose atoms take part in quadruplets.
        cache_bytes: memory for graphs; further ones are built anew each time.
        sizes: ``self.sizes`` of an earlier object with the same frames and policy, to skip measuring.
        edge_dropout: probability that an edge is left out of the graphs of a batch that is made for training.
        dropout_seed: of the edges left out, with the draw and the number of the frame.
        dropout_compensation: what is scaled up for them.
        """
        count = len(frames)
        self.frames = frames
        self.tasks = (tasks,) if isinstance(tasks, Task) else tuple(tasks)
        self.task_of = np.zeros(count, dtype=np.uint8) if task_of is None else np.asarray(task_of)
        if self.task_of.shape != (count,) or (count and int(self.task_of.max()) >= len(self.tasks)):
            raise UsageError(f"Every frame needs one of the {len(self.tasks)} tasks.")
        self._policies = [
            policy if task.cutoff is None else replace(policy, cutoff=task.cutoff) for task in self.tasks
        ]
        self._qint_tags = qint_tags
        self._room = cache_bytes
        self._cache: dict[int, Graph] = {}
        self._sizes = sizes
        self._dropout = (
            EdgeDrop(edge_dropout, dropout_seed, dropout_compensation) if edge_dropout != 0.0 else None
        )
        self._dropout_seed = dropout_seed
        if sizes is not None and sizes.shape != (count, 3):
            raise UsageError(f"Sizes have shape {sizes.shape}, not {(count, 3)}.")

    def __len__(self) -> int:
        return len(self.frames)

    def task(self, index: int) -> Task:
        """Task of one frame."""
        return self.tasks[int(self.task_of[index])]

    def graph(self, index: int, draw: tuple[int, ...] | None = None) -> Graph:
        """Graph of one frame; with edge dropout and a ``draw`` (see ``collate``) made anew."""
        drop = None
        if self._dropout is not None and draw is not None:
            drop = replace(self._dropout, seed=(self._dropout_seed, *draw, index))
        if drop is None and index in self._cache:
            return self._cache[index]
        frame = self.frames[index]
        graph = build_graph(
            frame.positions,
            frame.numbers,
            frame.cell,
            frame.pbc,
            self._policies[int(self.task_of[index])],
            frame.tags,
            self._qint_tags,
            drop=drop,
        )
        if drop is not None:
            return graph
        size = _nbytes(graph)
        # Kept in order of arrival: an epoch visits each frame once, so throwing out the oldest would keep
        # none.
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
        self, indices: Sequence[int], device: str | torch.device = "cpu", draw: tuple[int, ...] | None = None
    ) -> TargetBatch:
        """Batch of the frames at ``indices``, with labels.

        ``draw``: in training the epoch and the step, on which the edges depend that edge dropout leaves out;
            None: none are.
        """
        frames, tasks = [self.frames[i] for i in indices], [self.task(i) for i in indices]
        forces, stress, free = _of_atoms(frames)
        pairs = list(zip(tasks, frames))
        values, known = _targets(pairs)
        labels = ((f.energy, f.forces, f.stress) for f in frames)
        labelled = np.array(
            [(*(label is not None for label in given), has) for given, has in zip(labels, known)], dtype=bool
        )
        energy_mask, forces_mask, stress_mask, target_mask = torch.from_numpy(labelled.T.copy())
        target = TargetBatch(
            batch=collate([self.graph(i, draw) for i in indices]),
            energy=torch.tensor([f.energy or 0.0 for f in frames], dtype=torch.float64),
            energy_mask=energy_mask,
            forces=forces,
            forces_mask=forces_mask,
            free=free,
            stress=stress,
            stress_mask=stress_mask,
            target_value=torch.from_numpy(values),
            target_mask=target_mask,
            target=tasks[0].target,
            target_kind=tasks[0].target_kind,
            reference_energy=torch.tensor([t.reference_energy(f) for t, f in pairs], dtype=torch.float64),
            energy_unit=torch.tensor([t.energy_scale(f) for t, f in pairs], dtype=torch.float64),
            forces_unit=torch.tensor([t.forces_unit for t in tasks], dtype=torch.float32),
            stress_unit=torch.tensor([t.stress_scale(f) for t, f in pairs], dtype=torch.float32),
            energy_margin=torch.tensor([t.energy_margin * f.n_atoms for t, f in pairs], dtype=torch.float64),
            forces_margin=torch.tensor([t.forces_margin for t in tasks], dtype=torch.float32),
            weights=torch.tensor([t.weight for t in tasks], dtype=torch.float32),
            task=self.task_of[list(indices)].astype(np.int64),
            labelled=labelled,
            n_atoms=np.array([f.n_atoms for f in frames], dtype=np.int64),
            heads=tuple(t.head for t in tasks),
            groups=tuple(f.group for f in frames),
            frames=tuple(indices),
        )
        return target if torch.device(device).type == "cpu" else target.to(device)


def _of_atoms(frames: Sequence[Frame]) -> tuple[Tensor, Tensor, Tensor]:
    """Forces (N, 3) and stresses (S, 3, 3), zero where there is no label, and which atoms are free (N,)."""
    forces = [np.zeros((f.n_atoms, 3)) if f.forces is None else f.forces for f in frames]
    stress = [np.zeros((3, 3)) if f.stress is None else f.stress for f in frames]
    free = [np.ones(f.n_atoms, dtype=bool) if f.fixed is None else ~f.fixed for f in frames]
    return (
        torch.from_numpy(np.concatenate(forces)).float(),
        torch.from_numpy(np.stack(stress)).float(),
        torch.from_numpy(np.concatenate(free)),
    )


def _targets(pairs: Sequence[tuple[Task, Frame]]) -> tuple[np.ndarray, list[bool]]:
    """Scalars (S,) or vectors (S, 3) float64, zero where there is no label, and where there is one."""
    vector = pairs[0][0].target_kind == "vector"
    values = [
        None if task.target is None else (frame.vectors if vector else frame.targets).get(task.target)
        for task, frame in pairs
    ]
    empty = np.zeros(3) if vector else np.zeros(())
    return np.stack([empty if value is None else np.asarray(value, dtype=float) for value in values]), [
        value is not None for value in values
    ]


def _nbytes(graph: Graph) -> int:
    total = 0
    for item in fields(graph):
        value = getattr(graph, item.name)
        if isinstance(value, EdgeList):
            total += sum(getattr(value, f.name).nbytes for f in fields(value))
        elif isinstance(value, np.ndarray):
            total += value.nbytes
    return total
