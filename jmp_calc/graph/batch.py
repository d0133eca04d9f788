"""Structures concatenated as torch tensors, with padded slots that turn ragged sums into matrix products.

Letters of shapes, here and in ``jmp_calc.model``:

    N, S    atoms and structures of a batch
    E       directed edges of the graph at hand (E_main, E_ae, E_q: of main, a2ee2a, qint)
    D       slots: the most edges of one atom (D_ae, D_q of a2ee2a and qint)
    L, M    angular degrees (L² spherical harmonics) and Fourier modes about a bond
    A       features of an atom; M also counts those of an edge where no modes are about
    K       radial functions
    R, C, B what they are projected to (R alone, C with angular degrees, B with pairs of them)
    T, Q    features of an edge inside triplet and quadruplet interactions

Lengths are in Å, energies in eV and forces in eV/Å; features have no unit.

For every graph ``slots[a, k]`` is the k-th edge with target a, or the number of edges where there is none:
a gathered array with one zero row at its end then contributes exact zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .build import Graph
from .dropout import EdgeScales
from .neighbours import EdgeList

ALIGNED = 8
"""Numbers of 8 bytes after which a tensor in a buffer may begin: kernels read 16 to 64 bytes at once."""


@dataclass(frozen=True)
class Edges:
    """One graph of a batch: source (E,), target (E,), shift (E, 3) float64, structure (E,), slots (N, D).

    place (E,): where an edge stands in the flattened slots, ``target * D + k``.
    """

    source: Tensor
    target: Tensor
    shift: Tensor
    structure: Tensor
    slots: Tensor
    place: Tensor

    @property
    def count(self) -> int:
        """Number of edges."""
        return self.source.shape[0]


@dataclass(frozen=True)
class Batch:
    """Several structures, one graph each (see ``Graph``); maps point to E (one past the end) where nothing
    is.

    positions (N, 3) and cell (S, 3, 3) are float64, Å. swap (E_main,) is the mirror edge.
    triangle (N, D, D_q): place in the flattened (E_q, D) middle-input pairs of the bond that closes output
    edge slot and middle edge slot, E_q * D where there is none.
    a2ee2a may be the object main: the same edges, evaluated once.
    lone_numbers (U,) are the distinct elements, lone_of_atom (N,) their index per atom.
    scales compensate for dropped edges; they are ones without edge dropout.
    cutoffs (N, 3) float64, Å: adaptive cutoffs of main, a2ee2a and qint, found when the edges were chosen;
    None where all atoms have the same.
    """

    positions: Tensor
    numbers: Tensor
    cell: Tensor
    structure: Tensor
    n_structures: int
    main: Edges
    a2a: Edges
    a2ee2a: Edges
    qint: Edges
    swap: Tensor
    a2ee2a_of_main: Tensor
    main_of_a2ee2a: Tensor
    qint_of_main: Tensor
    mirror_of_qint: Tensor
    triangle: Tensor
    lone_numbers: Tensor
    lone_of_atom: Tensor
    scales: EdgeScales = EdgeScales()
    cutoffs: Tensor | None = None

    @property
    def n_atoms(self) -> int:
        """Number of atoms in all structures."""
        return self.numbers.shape[0]

    def to(self, device: str | torch.device, non_blocking: bool = False) -> Batch:
        """The same batch on another device.

        To a GPU, what is not in page-locked memory travels through one page-locked buffer: two copies instead
        of 35, and nobody waits.
        """
        to_gpu = torch.device(device).type == "cuda" and self.positions.device.type == "cpu"
        if to_gpu and not self.positions.is_pinned():
            return packed(self, lambda buffer: buffer.pin_memory().to(device, non_blocking=True))
        return map_tensors(self, lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory."""
        return map_tensors(self, lambda tensor: tensor.pin_memory())


def packed(batch: Batch, move: Callable[[Tensor], Tensor]) -> Batch:
    """The batch, its tensors (of any shape) as parts of one buffer per type of numbers, moved by ``move``."""
    tensors = flat(batch)
    moved = list(tensors)
    for dtype in {tensor.dtype for tensor in tensors}:
        mine = [number for number, tensor in enumerate(tensors) if tensor.dtype == dtype]
        sizes = [-(-tensors[number].numel() // ALIGNED) * ALIGNED for number in mine]
        buffer = torch.zeros(sum(sizes), dtype=dtype)
        for number, part in zip(mine, buffer.split(sizes)):
            part[: tensors[number].numel()] = tensors[number].flatten()
        for number, part in zip(mine, move(buffer).split(sizes)):
            moved[number] = part[: tensors[number].numel()].view(tensors[number].shape)
    return filled(batch, moved)


def flat(batch: Batch) -> list[Tensor]:
    """All tensors of a batch, of any shape."""
    tensors: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        tensors.append(tensor)
        return tensor

    map_tensors(batch, keep)
    return tensors


def filled(batch: Batch, tensors: Iterable[Tensor]) -> Batch:
    """The batch with other tensors, of any shape: the inverse of ``flat``."""
    following = iter(tensors)
    return map_tensors(batch, lambda _: next(following))  # type: ignore[no-any-return]


def map_tensors(container: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """A batch, or one graph of it, with ``function`` of every tensor (of any shape), in the order of the
    fields."""
    changes: dict[str, Any] = {}
    edges: dict[int, Any] = {}  # one graph that stands for two stays one
    for item in fields(container):
        value = getattr(container, item.name)
        if isinstance(value, Tensor):
            changes[item.name] = function(value)
        elif isinstance(value, Edges):
            if id(value) not in edges:
                edges[id(value)] = map_tensors(value, function)
            changes[item.name] = edges[id(value)]
    return replace(container, **changes)


def collate(graphs: Sequence[Graph], device: str | torch.device = "cpu") -> Batch:
    """Concatenate structures into one batch on ``device``; ValueError if their edges were dropped in
    different ways."""
    scales = {graph.scales for graph in graphs}
    if len(scales) > 1:
        raise ValueError("graphs of one batch must have the same edge dropout")
    atoms = np.cumsum([0, *(graph.n_atoms for graph in graphs)])
    main, a2a, qint = (
        _concatenate([getattr(graph, name) for graph in graphs], atoms) for name in ("main", "a2a", "qint")
    )
    same = all(graph.a2ee2a is graph.main for graph in graphs)
    a2ee2a = main if same else _concatenate([graph.a2ee2a for graph in graphs], atoms)
    n_main = np.cumsum([0, *(len(graph.main) for graph in graphs)])
    n_a2ee2a = np.cumsum([0, *(len(graph.a2ee2a) for graph in graphs)])
    n_qint = np.cumsum([0, *(len(graph.qint) for graph in graphs)])
    numbers = np.concatenate([graph.numbers for graph in graphs])
    lone_numbers, lone_of_atom = np.unique(numbers, return_inverse=True)
    batch = Batch(
        positions=torch.from_numpy(np.concatenate([graph.positions for graph in graphs])),
        numbers=torch.from_numpy(numbers),
        cell=torch.from_numpy(np.stack([graph.cell for graph in graphs])),
        structure=torch.from_numpy(np.repeat(np.arange(len(graphs)), np.diff(atoms))),
        n_structures=len(graphs),
        main=main,
        a2a=a2a,
        a2ee2a=a2ee2a,
        qint=qint,
        swap=torch.from_numpy(np.concatenate([_mirrors(len(g.main)) + o for g, o in zip(graphs, n_main)])),
        a2ee2a_of_main=_offset([graph.a2ee2a_of_main for graph in graphs], n_a2ee2a),
        main_of_a2ee2a=_offset([graph.main_of_a2ee2a for graph in graphs], n_main),
        qint_of_main=_offset([graph.qint_of_main for graph in graphs], n_qint),
        mirror_of_qint=_offset([graph.mirror_of_qint for graph in graphs], n_main),
        triangle=_triangle_places(graphs, main, qint, n_main, n_qint),
        lone_numbers=torch.from_numpy(lone_numbers),
        lone_of_atom=torch.from_numpy(lone_of_atom.reshape(-1)),
        scales=next(iter(scales)),
        cutoffs=_cutoffs(graphs),
    )
    return batch if torch.device(device).type == "cpu" else batch.to(device)


def _cutoffs(graphs: Sequence[Graph]) -> Tensor | None:
    """Adaptive cutoffs (N, 3) of all structures, or None."""
    found = [graph.cutoffs for graph in graphs if graph.cutoffs is not None]
    return torch.from_numpy(np.concatenate(found)) if len(found) == len(graphs) else None


def _mirrors(count: int) -> np.ndarray:
    """Number (E,) of the mirror of every edge."""
    return (np.arange(count) + count // 2) % max(count, 1)


def _offset(maps: Sequence[np.ndarray], offsets: np.ndarray) -> Tensor:
    """Maps (E,) of single structures as one (E,) with their offsets (S + 1,); -1 becomes one past the end."""
    end = offsets[-1]
    return torch.from_numpy(np.concatenate([np.where(m >= 0, m + o, end) for m, o in zip(maps, offsets)]))


def _concatenate(parts: Sequence[EdgeList], atoms: np.ndarray) -> Edges:
    """One graph of all structures, whose atoms begin at ``atoms`` (S + 1,)."""
    source = np.concatenate([part.source + offset for part, offset in zip(parts, atoms)])
    target = np.concatenate([part.target + offset for part, offset in zip(parts, atoms)])
    shift = np.concatenate([part.shift for part in parts]).astype(np.float64)
    structure = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    slots, place = _slots(target, int(atoms[-1]))
    return Edges(*(torch.from_numpy(array) for array in (source, target, shift, structure, slots, place)))


def _slots(target: np.ndarray, n_atoms: int) -> tuple[np.ndarray, np.ndarray]:
    """Padded edge numbers (N, D) by target, and the place of every edge in them (D >= 1)."""
    count = np.bincount(target, minlength=n_atoms)
    width = max(int(count.max(initial=0)), 1)
    order = np.argsort(target, kind="stable")
    first = np.cumsum(count) - count
    place = np.empty(len(target), dtype=np.int64)
    place[order] = np.arange(len(target)) - first[target[order]] + target[order] * width
    slots = np.full(n_atoms * width, len(target), dtype=np.int64)
    slots[place] = np.arange(len(target))
    return slots.reshape(n_atoms, width), place


def _triangle_places(
    graphs: Sequence[Graph], main: Edges, qint: Edges, n_main: np.ndarray, n_qint: np.ndarray
) -> Tensor:
    """``Batch.triangle`` (N, D, D_q) from the triangles (edge, middle edge, closing edge) of all structures.

    n_main and n_qint (S + 1,): where the edges of each structure begin. Why places and not a list: an output
    edge stands at slot k of its atom and a middle edge at slot q of the same atom, and at most one bond
    closes their triangle. That bond stands at a slot of the middle edge's source, so that (middle edge, slot)
    is a row of the flattened input pairs, and one gather replaces a ragged sum over triangles.
    """
    edge, middle, closing = np.concatenate(
        [g.triangles + (o_main, o_qint, o_main) for g, o_main, o_qint in zip(graphs, n_main, n_qint)]
    ).T
    width, width_q = main.slots.shape[1], qint.slots.shape[1]
    places = np.full(main.slots.shape[0] * width * width_q, qint.count * width, dtype=np.int64)
    edge_place, middle_slot = main.place.numpy()[edge], qint.place.numpy()[middle] % width_q
    places[edge_place * width_q + middle_slot] = middle * width + main.place.numpy()[closing] % width
    return torch.from_numpy(places.reshape(main.slots.shape[0], width, width_q))


def with_lone_atoms(batch: Batch) -> Batch:
    """The batch with one atom without edges appended for every element that occurs, in no structure."""
    extra = batch.lone_numbers.shape[0]

    def pad(slots: Tensor, value: int) -> Tensor:
        return torch.cat([slots, slots.new_full((extra, *slots.shape[1:]), value)])

    def extend(edges: Edges) -> Edges:
        return replace(edges, slots=pad(edges.slots, edges.count))

    main = extend(batch.main)
    nothing = batch.qint.count * batch.main.slots.shape[1]
    return replace(
        batch,
        numbers=torch.cat([batch.numbers, batch.lone_numbers]),
        main=main,
        a2a=extend(batch.a2a),
        a2ee2a=main if batch.a2ee2a is batch.main else extend(batch.a2ee2a),
        qint=extend(batch.qint),
        triangle=pad(batch.triangle, nothing),
    )
