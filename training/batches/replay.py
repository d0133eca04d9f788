"""Replay: frames of earlier data in every training step, each under its old head, against forgetting.

Robins, Connection Science 7, 123 (1995); for potentials with several heads: Batatia et al., arXiv:2401.00096.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count, islice

import numpy as np

from jmp_calc.errors import UsageError

from .order import Order, Step, parts

SHARE = 0.2
"""Share of the structures of a step that are replayed, unless the user wants another."""


def check_share(share: float) -> None:
    """UsageError unless 0 < share < 1."""
    if not 0.0 < share < 1.0:
        raise UsageError(
            f"The share of replayed structures cannot be {share:g}.", hint="--replay-share between 0 and 1"
        )


class WithReplay:
    """The steps of another order, each with replayed frames beside its own; all sets take equal turns."""

    def __init__(
        self,
        order: Order,
        sizes: np.ndarray,
        counts: Sequence[int],
        *,
        share: float,
        max_edges: int,
        seed: int = 0,
    ) -> None:
        """Args:
        order: of the new frames, which come first in ``sizes``.
        sizes: (frames, 3) atoms, main edges, most main edges of one atom; new frames, then the sets one after
            the other.
        counts: frames of every set.
        share: of the structures of a step, on average.
        max_edges: main edges of one part of a step.
        seed: of the choice of frames, with the number of passes over their set.
        """
        check_share(share)
        self._order, self._sizes, self._counts, self._seed = order, sizes, tuple(counts), seed
        self._per_structure, self._max_edges = share / (1.0 - share), max_edges

    def steps(self, epoch: int, skip: int = 0) -> Iterator[Step]:
        """Steps of the other order, each part with its replayed frames; sparse and dense ones are in parts of
        their own."""
        return islice(self._steps(epoch), skip, None)

    def n_steps(self, epoch: int) -> int:
        """Number of steps of the other order."""
        return self._order.n_steps(epoch)

    @property
    def n_structures(self) -> int:
        """New and replayed structures per epoch."""
        return self._order.n_structures + int(self._order.n_structures * self._per_structure)

    def _steps(self, epoch: int) -> Iterator[Step]:
        # Shares and turns go on from the epochs before, so that a few new frames do not leave out sets, or
        # all of them.
        seen = epoch * self._order.n_structures
        taken = self._wanted(seen)
        stream = self._replayed(taken)
        for step in self._order.steps(epoch):
            batches: Step = []
            for part in step:
                seen += len(part)
                wanted = self._wanted(seen)
                batches += parts([*part, *islice(stream, wanted - taken)], self._sizes, self._max_edges)
                taken = wanted
            yield batches

    def _wanted(self, seen: int) -> int:
        """Replayed frames that belong to so many new ones since the run began."""
        return int(seen * self._per_structure + 1e-9)

    def _replayed(self, taken: int) -> Iterator[int]:
        """Frames without end after the first ``taken`` of the run: every set in turn, in an order drawn anew
        after each pass."""
        firsts = len(self._sizes) - sum(self._counts) + np.cumsum((0, *self._counts))
        orders: dict[int, tuple[int, np.ndarray]] = {}
        for number in count(taken):
            turn, chosen = divmod(number, len(self._counts))
            done, place = divmod(turn, self._counts[chosen])
            if orders.get(chosen, (-1,))[0] != done:
                rng = np.random.default_rng([self._seed, done, 1 + chosen])
                orders[chosen] = done, rng.permutation(self._counts[chosen])
            yield int(firsts[chosen] + orders[chosen][1][place])
