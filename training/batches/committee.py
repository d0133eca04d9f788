"""A committee of heads that are trained side by side on one backbone, each on frames drawn with replacement.

A frame goes to one head in each epoch: on average in half of them to the main one, which learns from all
frames, else to a further one, in proportion to how often its bootstrap sample has the frame. A step costs
what it costs with one head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from .dataset import FrameGraphs, TargetBatch

MEMBERS_SHARE = 0.5
"""Share of the epochs in which the further heads have a frame that their samples have once each."""
MOST_SHARE = 0.8
"""The same of a frame that their samples have often: the main head learns from all."""


class CommitteeTurns:
    """Which head has which of n frames in which epoch."""

    def __init__(self, n_frames: int, members: Sequence[str], seed: int) -> None:
        """``members``: names of the further heads."""
        self.members, self._seed = tuple(members), seed
        draws = np.random.default_rng([seed, 1]).poisson(1.0, size=(len(members), n_frames))
        self._weights = draws.astype(np.float64)

    def head(self, frame: int, epoch: int, main: str) -> str:
        """Name of the head of a frame; ``main`` for frames that are none of the n."""
        if frame >= self._weights.shape[1]:
            return main
        shares = MEMBERS_SHARE / len(self.members) * self._weights[:, frame]
        shares *= min(1.0, MOST_SHARE / max(float(shares.sum()), MOST_SHARE))
        drawn = np.random.default_rng([self._seed, 2, epoch, frame]).random()
        turn = int(np.searchsorted(np.cumsum(shares), drawn, side="right"))
        return self.members[turn] if turn < len(self.members) else main


class CommitteeGraphs(FrameGraphs):
    """Frames of which a batch for training gives each to one head of a committee."""

    turns: CommitteeTurns
    """Set once, after the frames are known."""

    def collate(
        self, indices: Sequence[int], device: str | torch.device = "cpu", draw: tuple[int, ...] | None = None
    ) -> TargetBatch:
        """As of one head; with a ``draw`` (epoch and step) each frame under the head whose turn it is."""
        target = super().collate(indices, device, draw)
        if draw is None:
            return target
        pairs = zip(indices, target.heads, strict=True)
        return replace(target, heads=tuple(self.turns.head(i, draw[0], main) for i, main in pairs))
