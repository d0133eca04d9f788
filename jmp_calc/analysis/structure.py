"""Radial distribution functions of crystals and liquids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ase import Atoms

MOST_FRAMES = 200
"""Frames that are counted, evenly spaced: neighbours of one another say little new."""
LEAST_R_MAX, MOST_R_MAX = 5.0, 10.0
"""Å: images of small cells are counted too."""


@dataclass(frozen=True, eq=False)
class Rdf:
    """g(r) of all pairs and of each pair of elements: 1 where the distances are those of an ideal gas."""

    r: np.ndarray
    """(bins,) Å, centres"""
    g: dict[str, np.ndarray]
    """By pair ("all", "Cu-Cu"), each (bins,)."""
    neighbours: dict[str, np.ndarray]
    """Atoms of the second kind within the outer edge of a bin around one of the first, each (bins,)."""
    n_frames: int

    def highest_at(self, pair: str = "all") -> float | None:
        """Distance of the highest value, Å; None where no pair is within reach."""
        g = self.g[pair]
        return float(self.r[int(np.argmax(g))]) if g.any() else None


def radial_distribution(frames: Sequence[Atoms], r_max: float | None, bins: int) -> Rdf:
    """g(r) of structures that are periodic in three directions, averaged over at most MOST_FRAMES of them.

    ``r_max`` None: half the smallest height of the cells, within LEAST_R_MAX and MOST_R_MAX.
    """
    from matscipy.neighbours import neighbour_list

    from ..model.elements import symbol

    used = [frames[i] for i in np.unique(np.linspace(0, len(frames) - 1, MOST_FRAMES).astype(int))]
    if r_max is None:
        heights = [1 / np.linalg.norm(np.linalg.inv(a.cell.array), axis=0).max() for a in used]
        r_max = min(MOST_R_MAX, max(LEAST_R_MAX, 0.5 * float(min(heights))))
    numbers = used[0].numbers
    kinds = sorted({int(z) for z in numbers})
    pairs = list(combinations_with_replacement(kinds, 2))
    edges = np.linspace(0.0, r_max, bins + 1)
    counts = {pair: np.zeros(bins) for pair in pairs}
    density = 0.0
    for atoms in used:
        first, second, distance = neighbour_list("ijd", atoms, r_max)
        density += 1.0 / atoms.get_volume() / len(used)
        for a, b in pairs:
            chosen = distance[(numbers[first] == a) & (numbers[second] == b)]
            counts[a, b] += np.histogram(chosen, edges)[0] / len(used)
    shells = 4 / 3 * np.pi * np.diff(edges**3) * density
    number = {z: int((numbers == z).sum()) for z in kinds}
    g, neighbours = {}, {}
    for a, b in pairs:
        name = f"{symbol(a)}-{symbol(b)}"
        g[name] = counts[a, b] / (number[a] * number[b] * shells)
        neighbours[name] = np.cumsum(counts[a, b]) / number[a]
    everything = sum(counts[a, b] * (1 if a == b else 2) for a, b in pairs)
    g = {"all": everything / (len(numbers) ** 2 * shells), **g}
    neighbours = {"all": np.cumsum(everything) / len(numbers), **neighbours}
    return Rdf((edges[1:] + edges[:-1]) / 2, g, neighbours, len(used))
