"""In which order frames are seen: a plan of steps for every epoch, a function of the seed and the epoch's
number only.

A step is a list of parts, each a list of frame numbers that is evaluated as one batch; the gradients of the
parts are added. A resumed run makes the same plan and leaves out what it has done.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Protocol

import numpy as np

from jmp_calc.errors import UsageError

from ..config import TrainConfig
from .enlarge import Enlarged, enlarged_counts
from .shuffle import Permutation

Step = list[list[int]]

DENSE_DEGREE = 24
"""Most edges of one atom above which a frame counts as dense: the network pads sums to the largest degree in
a batch, so molecules and metals are evaluated apart and their gradients added."""
_BLOCK = 4096
_COUNTED = 1_000_000
"""Items of an epoch whose steps are counted, in about a second; longer epochs are taken for as many steps per
item."""


class Order(Protocol):
    """A plan of steps."""

    def steps(self, epoch: int, skip: int = 0) -> Iterator[Step]:
        """Steps of an epoch without the first ``skip``."""
        ...

    def n_steps(self, epoch: int) -> int:
        """Number of steps of an epoch (an estimate where it cannot be known without making the plan)."""
        ...

    @property
    def n_structures(self) -> int:
        """Structures per epoch."""
        ...


class Shuffled:
    """Every frame once per epoch, similar ones together, in batches whose order is drawn anew."""

    def __init__(
        self,
        sizes: np.ndarray,
        *,
        max_edges: int,
        max_structures: int | None = None,
        seed: int = 0,
        accumulate: int = 1,
    ) -> None:
        """Args:
        sizes: (frames, 3) atoms, main edges, most main edges of one atom.
        max_edges: padded main edges of a batch (atoms × most edges of one atom), the measure of time and
            memory.
        max_structures: further limit.
        seed: of the order.
        accumulate: batches per step, as its parts.
        """
        _check_room(max_edges, max_structures, len(sizes))
        self._accumulate = accumulate
        self._sizes, self._max_edges, self._max_structures, self._seed = (
            sizes,
            max_edges,
            max_structures,
            seed,
        )
        self._plan: tuple[int, list[Step]] | None = None

    def steps(self, epoch: int, skip: int = 0) -> Iterator[Step]:
        """Steps of one part each, or of as many as are accumulated."""
        return iter(self._made(epoch)[skip:])

    def n_steps(self, epoch: int) -> int:
        """Number of steps (packing differs a little between epochs)."""
        return len(self._made(epoch))

    @property
    def n_structures(self) -> int:
        """Number of frames."""
        return len(self._sizes)

    def _made(self, epoch: int) -> list[Step]:
        if self._plan is None or self._plan[0] != epoch:
            rng = np.random.default_rng([self._seed, epoch])
            batches = pack(
                rng.permutation(len(self._sizes)), self._sizes, self._max_edges, self._max_structures
            )
            order = [batches[i] for i in rng.permutation(len(batches))]
            self._plan = (
                epoch,
                [order[i : i + self._accumulate] for i in range(0, len(order), self._accumulate)],
            )
        return self._plan[1]


class Fixed:
    """The same batches in every epoch, made for little padding: for evaluation."""

    def __init__(self, sizes: np.ndarray, *, max_edges: int, max_structures: int | None = None) -> None:
        self._plan = [[part] for part in pack(np.arange(len(sizes)), sizes, max_edges, max_structures)]
        self._count = len(sizes)

    def steps(self, epoch: int, skip: int = 0) -> Iterator[Step]:
        """Steps of one part each; ``epoch`` does not matter."""
        return iter(self._plan[skip:])

    def n_steps(self, epoch: int) -> int:
        """Number of batches."""
        return len(self._plan)

    @property
    def n_structures(self) -> int:
        """Number of frames."""
        return self._count


@dataclass(frozen=True, eq=False)
class Mixed:
    """Data sets mixed by temperature: each is enlarged by repeating its frames, all are shuffled together.

    The exact enlargement of ``training.md`` section 4; neither the enlarged list nor its shuffle is ever in
    memory.
    """

    counts: tuple[int, ...]
    """Frames of each data set; they follow each other in ``sizes``."""
    sizes: np.ndarray
    """(frames, 3) atoms, main edges, most main edges of one atom; may be a memory map."""
    temperature: float
    """1: natural shares, 2: square roots of them, infinity: equal shares."""
    max_edges: int
    """Main edges of a part, and (about) of a step without accumulation."""
    max_structures: int
    """Structures of a step without accumulation."""
    weights: tuple[float, ...] | None = None
    """Multiply the shares of the data sets; None: ones."""
    seed: int = 0
    accumulate: int = 1
    """How many times larger a step is, in more parts."""

    def __post_init__(self) -> None:
        _check_room(self.max_edges, self.max_structures, sum(self.counts))
        if len(self.sizes) != sum(self.counts):
            raise UsageError(f"There are {len(self.sizes)} sizes for {sum(self.counts)} frames.")

    @property
    def enlarged(self) -> tuple[int, ...]:
        """Items of each data set per epoch."""
        return enlarged_counts(self.counts, self.temperature, self.weights)

    @property
    def n_structures(self) -> int:
        """Items per epoch, repetitions included."""
        return sum(self.enlarged)

    def n_steps(self, epoch: int) -> int:
        """Steps of the first epoch (others differ a little): counted, or from the share of its first million
        items."""
        return self._first_steps

    @cached_property
    def _first_steps(self) -> int:
        counted = min(self.n_structures, _COUNTED)
        steps = sum(1 for _ in self._filled(islice(self._frames(0), counted)))
        return math.ceil(steps * self.n_structures / counted)

    def steps(self, epoch: int, skip: int = 0) -> Iterator[Step]:
        """Steps of at most two parts without accumulation, sparse and dense frames apart."""
        filled = islice(self._filled(self._frames(epoch)), skip, None)
        return (parts(chosen, self.sizes, self.max_edges) for chosen in filled)

    def _filled(self, frames: Iterable[tuple[int, int]]) -> Iterator[list[int]]:
        """Frames of every step: as many as its structures and edges allow."""
        chosen: list[int] = []
        edges, most, room = 0, self.accumulate * self.max_structures, self.accumulate * self.max_edges
        for frame, size in frames:
            if chosen and (len(chosen) == most or edges + size > room):
                yield chosen
                chosen, edges = [], 0
            chosen.append(frame)
            edges += size
        if chosen:
            yield chosen

    def _frames(self, epoch: int) -> Iterator[tuple[int, int]]:
        """Frame numbers with their main edges, in the order of the epoch."""
        items, first = Enlarged(self.counts, self.enlarged), np.cumsum((0, *self.counts))[:-1]
        order = Permutation(self.n_structures, self.seed, epoch)
        for start in range(0, self.n_structures, _BLOCK):
            sets, inside = items.locate(order.block(start, min(start + _BLOCK, self.n_structures)))
            frames = first[sets] + inside
            yield from zip(frames.tolist(), self.sizes[frames, 1].tolist())


def parts(frames: Sequence[int], sizes: np.ndarray, max_edges: int) -> Step:
    """Frames in parts of at most ``max_edges`` main edges (a larger frame is alone), sparse and dense ones
    apart; sizes of shape (n_frames, 3): atoms, main edges, largest degree."""
    found: Step = []
    dense = sizes[list(frames), 2] > DENSE_DEGREE
    for wanted in (False, True):
        edges = math.inf
        for frame in (frame for frame, flag in zip(frames, dense) if flag == wanted):
            size = int(sizes[frame, 1])
            if edges + size > max_edges:
                found.append([])
                edges = 0
            found[-1].append(frame)
            edges += size
    return found


def pack(
    order: np.ndarray,
    sizes: np.ndarray,
    max_edges: int,
    max_structures: int | None = None,
    pad_ratio: float = 1.4,
) -> list[list[int]]:
    """Fill batches from ``order`` up to ``max_edges`` padded edges; a frame above the budget is alone.

    Frames are sorted into classes whose largest degrees differ by at most ``pad_ratio``, so that little is
    wasted on padding; within a class the given order stays. Shapes: order (n,), sizes (n_frames, 3).
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


def _check_room(max_edges: int, max_structures: int | None, count: int) -> None:
    if max_edges < 1 or (max_structures is not None and max_structures < 1) or count < 1:
        raise UsageError("A batch needs frames and room for at least one edge and one structure.")


def evaluation_order(sizes: np.ndarray, config: TrainConfig) -> Fixed:
    """Larger batches than in training, because evaluation needs no graph of the graph; sizes of shape
    (n_frames, 3)."""
    assert config.batch_size is not None
    return Fixed(sizes, max_edges=2 * config.max_edges_per_batch, max_structures=4 * config.batch_size)
