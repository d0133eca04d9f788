"""Batches of an epoch, prepared one ahead while the device works."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from .dataset import FrameGraphs, Sampler, TargetBatch, pack
from .labels import Frame
from .parallel import balanced


class EpochBatches:
    """Batches of frames by number of epoch; the order depends on seed and number only.

    ``shuffle=False`` gives every epoch the same batches, in an order made for little padding.
    """

    def __init__(
        self, data: FrameGraphs, *, max_edges: int, max_structures: int, seed: int = 0,
        device: torch.device | str = "cpu", shuffle: bool = True,
    ) -> None:
        self.data, self.device = data, torch.device(device)
        self._shuffle = shuffle
        self._plan: Callable[[int], list[list[int]]]
        if shuffle:
            self._plan = Sampler(data, max_edges=max_edges, max_structures=max_structures, seed=seed).plan
        else:
            fixed = pack(np.arange(len(data)), data.sizes, max_edges, max_structures)
            self._plan = lambda number: fixed

    @property
    def frames(self) -> Sequence[Frame]:
        """Frames that ``TargetBatch.frames`` counts."""
        return self.data.frames

    @property
    def n_structures(self) -> int:
        """Structures per epoch."""
        return sum(len(batch) for batch in self._plan(0))

    def n_batches(self, number: int) -> int:
        """Number of batches in epoch ``number``."""
        return len(self._plan(number))

    def shares(self, number: int, skip: int = 0, processes: int = 1) -> Iterator[list[TargetBatch]]:
        """The same batches, each in at most ``processes`` parts of about equal numbers of edges."""
        if processes == 1:
            yield from ([target] for target in self.epoch(number, skip))
            return
        for indices in self._plan(number)[skip:]:
            groups = balanced(self.data.sizes[indices, 1].tolist(), processes)
            yield [self._made(number, [indices[i] for i in group]) for group in groups]

    def epoch(self, number: int, skip: int = 0) -> Iterator[TargetBatch]:
        """Batches of epoch ``number`` without the first ``skip``."""
        plan = self._plan(number)[skip:]
        if self.device.type == "cpu":
            yield from (self._made(number, indices) for indices in plan)
            return
        with ThreadPoolExecutor(max_workers=1) as pool:
            waiting = pool.submit(self._made, number, plan[0], self.device) if plan else None
            for following in [*plan[1:], None]:
                assert waiting is not None
                ready = waiting.result()
                if following is not None:
                    waiting = pool.submit(self._made, number, following, self.device)
                yield ready

    def _made(self, number: int, indices: list[int], device: torch.device | str = "cpu") -> TargetBatch:
        """One batch; the order of training comes with edge dropout, if the data have it."""
        return self.data.collate(indices, device, epoch=number if self._shuffle else None)
