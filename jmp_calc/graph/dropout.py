"""Edge dropout: in training a random part of the edges takes no part in the graphs of a structure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError

Compensation = Literal["output_sums", "edge_embeddings"]
"""What is multiplied by 1/(1-p): the edge -> atom sums of the output blocks (energy branch; code of JMP, with
which the published models were trained), or the embeddings of the remaining edges as they enter the first
block (paper of JMP)."""


@dataclass(frozen=True)
class EdgeScales:
    """Factors of one evaluation: on the edge -> atom sums of the output blocks, and on the edge
    embeddings."""

    output_sums: float = 1.0
    edge_embeddings: float = 1.0


@dataclass(frozen=True)
class EdgeDrop:
    """One draw of edge dropout (``training.md`` section 10): every directed edge survives with 1 -
    probability.

    probability: in (0, 1).
    seed: the same seed and structure give the same survivors.
    """

    probability: float
    seed: int | tuple[int, ...]
    compensation: Compensation = "output_sums"

    def __post_init__(self) -> None:
        if not 0.0 < self.probability < 1.0:
            raise UsageError(
                f"Edges cannot be dropped with probability {self.probability:g}.",
                where="edge dropout",
                hint="give a number between 0 and 1",
            )
        if self.compensation not in ("output_sums", "edge_embeddings"):
            raise UsageError(
                f"Edge dropout cannot be compensated in {self.compensation!r}.",
                where="edge dropout",
                hint="choose output_sums or edge_embeddings",
            )

    def survivors(self, count: int) -> NDArray[np.bool_]:
        """Mask (count,) of the edges that stay; independent draws."""
        return np.random.default_rng(self.seed).random(count) >= self.probability

    @property
    def scales(self) -> EdgeScales:
        """1/(1-p), where the compensation is."""
        factor = 1.0 / (1.0 - self.probability)
        return (
            EdgeScales(output_sums=factor)
            if self.compensation == "output_sums"
            else EdgeScales(edge_embeddings=factor)
        )
