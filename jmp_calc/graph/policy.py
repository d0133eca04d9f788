"""How the four graphs are chosen: as published, or smooth; the settings that a model file stores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PolicyName = Literal["official", "smooth"]


@dataclass(frozen=True)
class FewerNeighbors:
    """A smaller n for large structures (``training.md`` section 19)."""

    above: int
    """It holds for structures of more atoms than this."""
    max_neighbors: int


CONDITIONAL_NEIGHBORS = (FewerNeighbors(200, 10), FewerNeighbors(300, 5))
"""Of the published runs on QMOF and MatBench: 30 neighbours up to 200 atoms, 10 up to 300, 5 above."""


@dataclass(frozen=True)
class GraphPolicy:
    """How the four graphs are chosen (docs/smooth.md; ``gemnet_oc.md`` section 3).

    ``official``: nearest-neighbour ranks and hard cutoffs as published; ``max_neighbors`` is the n of
    section 3.3 and ``cutoff`` holds for all four graphs.
    ``smooth``: no ranks; every graph has its own C3 envelope that vanishes at its own cutoff (fixed), or at
    a smooth per-atom cutoff that keeps about ``adaptive_neighbors`` neighbours (adaptive).
    """

    name: PolicyName = "official"
    cutoff: float = 12.0
    """official: all four graphs, Å; smooth: the main graph."""
    max_neighbors: int = 30
    """official: n of from_goc_base_proportions(n); smooth: used only by the adaptive form (n, 2n/3,
    4n/15)."""
    fewer_neighbors: tuple[FewerNeighbors, ...] = ()
    """Smaller n of large structures, wherever ``max_neighbors`` is used. With it energies are not extensive:
    a supercell may have another n than its cell."""
    a2a_cutoff: float = 12.0
    a2ee2a_cutoff: float = 12.0
    qint_cutoff: float = 12.0
    """smooth: cutoffs of the three other graphs, Å (official ignores them)."""
    adaptive: bool = False
    """smooth only: per-atom adaptive cutoffs instead of fixed ones."""
    taper: float = 1.0
    """smooth only: share of a cutoff over which its envelope falls from 1 to 0 (1: over the whole range)."""
    collinear_width: float = 0.0
    """smooth only: 0 weights Fourier mode m by (|u||v|)^m; > 0 tapers the official basis to zero where the
    sine of the angle is below this width (for official weights)."""
    tags: Literal["ignore", "atoms"] = "ignore"

    def neighbors_of(self, n_atoms: int) -> int:
        """n for a structure of ``n_atoms`` atoms."""
        return min(
            [
                self.max_neighbors,
                *(fewer.max_neighbors for fewer in self.fewer_neighbors if n_atoms > fewer.above),
            ]
        )
