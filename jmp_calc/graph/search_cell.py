"""The compact cell in which neighbours are searched, and the refusal of what would have too many of them.

A search needs memory for its bins, which empty space takes too, and for its edges, which a cell that is far
too small has without bound: both are known before anything is allocated.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from ..errors import BadStructureError
from ..lattice import Floats, Ints, completed, heights, short_basis

MOST_BINS = 5e7
"""Volume of the search cell over the cube of the cutoff."""
DENSEST = 1.0
"""Atoms per Å³ within a cutoff from which on a structure is refused; diamond has 0.18."""
FEW_EDGES = 1e5
"""No structure with fewer edges is refused, whatever its density."""


@dataclass(frozen=True)
class SearchCell:
    """A structure as the neighbour search sees it: pairs within the cutoff are as far apart as they were.

    cell (3, 3) Å with three independent vectors; basis (3, 3): image_in_cell = image_in_search_cell @ basis;
    fractional (N, 3) coordinates in the search cell, 0 to 1; wraps (N, 3): images of the search cell that
    were removed.
    """

    cell: Floats
    basis: Ints
    fractional: Floats
    wraps: Ints

    @classmethod
    def of(cls, positions: Floats, cell: Floats, pbc: NDArray[np.bool_], cutoff: float) -> SearchCell:
        """From positions (N, 3), cell (3, 3; zero rows along open directions) and cutoff in Å; pbc (3,).

        The lattice basis is short (matscipy misses images in very skewed cells), and empty space wider than
        two cutoffs is cut out.
        """
        basis = np.zeros((3, 3), dtype=np.int64)
        basis[np.ix_(pbc, pbc)] = short_basis(cell[pbc])
        search = completed(basis @ cell, pbc)
        fractional = positions @ np.linalg.inv(search)
        wraps = np.zeros_like(fractional, dtype=np.int64)
        wraps[:, pbc] = np.floor(fractional[:, pbc]).astype(np.int64)
        fractional = fractional - wraps
        height = heights(search)
        for axis in range(3):  # open directions have unit vectors, so that fractional coordinates are lengths
            along = fractional[:, axis] * height[axis]
            compact, length = (_periodic if pbc[axis] else _open)(along, height[axis], cutoff)
            fractional[:, axis] = compact / length
            search[axis] *= length / height[axis]
        return cls(search, basis, fractional, wraps)

    def refuse_crowds(self, pbc: NDArray[np.bool_], cutoff: float) -> None:
        """BadStructureError where a search within ``cutoff`` (Å) would need too much memory; pbc (3,)."""
        height, n_atoms = heights(self.cell), len(self.fractional)
        bins = np.maximum(np.floor(height / cutoff), 1.0)
        if not bins.prod() < MOST_BINS:
            box = " x ".join(f"{length:.3g}" for length in height)
            raise BadStructureError(
                f"The atoms are spread over {box} Å beside wide gaps, too far for one neighbour search.",
                hint="check that positions and cell are in Å, or compute distant parts on their own",
            )
        reach = np.where(pbc, np.ceil(cutoff / height), 1.0)
        images = float((2.0 * reach + 1.0).prod())
        if n_atoms**2 * images < FEW_EDGES:
            return
        ball = 4.0 / 3.0 * np.pi * cutoff**3
        seen = images * abs(float(np.linalg.det(self.cell))) / float(bins.prod())
        expected = _pairs_of_bins(self.fractional, bins.astype(np.int64), reach) * min(1.0, ball / seen)
        density = expected / n_atoms / ball
        if expected > FEW_EDGES and density > DENSEST:
            raise BadStructureError(
                f"An atom would have about {expected / n_atoms:.2g} neighbours within {cutoff:g} Å, "
                f"{density:.2g} atoms per Å³: no material is that dense.",
                hint="check the cell and the positions, and that both are in Å",
            )


def _open(coordinate: Floats, height: float, cutoff: float) -> tuple[Floats, float]:
    """Coordinates (N,) in Å, in a box with room on both sides, and the length of the box."""
    order, steps = _gaps(coordinate)
    compact = _placed(order, np.minimum(steps, 2.0 * cutoff))
    return compact + 0.5, float(compact.max()) + 2.0 * cutoff + 1.0


def _periodic(coordinate: Floats, height: float, cutoff: float) -> tuple[Floats, float]:
    """Coordinates (N,) in Å in a period, and its length: as given, or shorter where there are wide gaps."""
    order, steps = _gaps(coordinate)
    across = height - float(steps.sum())
    shorter = np.minimum(steps, 2.0 * cutoff)
    length = float(shorter.sum()) + min(across, 2.0 * cutoff)
    return (coordinate, height) if length >= height else (_placed(order, shorter), length)


def _gaps(coordinate: Floats) -> tuple[Ints, Floats]:
    """Order (N,) of the coordinates, and the steps (N - 1,) between them."""
    order = np.argsort(coordinate, kind="stable")
    return order, np.diff(coordinate[order])


def _placed(order: Ints, steps: Floats) -> Floats:
    """Coordinates (N,) from 0 with these steps (N - 1,) in this order."""
    compact = np.empty(len(order))
    compact[order] = np.concatenate(([0.0], np.cumsum(steps)))
    return compact


def _pairs_of_bins(fractional: Floats, bins: Ints, reach: Floats) -> float:
    """Pairs of atoms, with all images, whose bins are neighbours: at least all pairs within the cutoff.

    fractional (N, 3); bins (3,): how many there are; reach (3,): how many bins or images the cutoff spans.
    """
    places = np.minimum((fractional * bins).astype(np.int64), bins - 1)
    keys, counts = np.unique(np.ravel_multi_index(tuple(places.T), tuple(bins)), return_counts=True)
    occupied = np.stack(np.unravel_index(keys, tuple(bins)), axis=1)
    steps = [_steps(int(number), float(span)) for number, span in zip(bins, reach)]
    pairs = 0.0
    for (x, n_x), (y, n_y), (z, n_z) in product(*steps):
        wanted = np.ravel_multi_index(tuple(((occupied + (x, y, z)) % bins).T), tuple(bins))
        place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        pairs += n_x * n_y * n_z * float((counts * np.where(keys[place] == wanted, counts[place], 0)).sum())
    return pairs


def _steps(bins: int, reach: float) -> list[tuple[int, float]]:
    """Steps to the bins within reach in a period of ``bins``, and how often each is taken."""
    if bins == 1:
        return [(0, 2.0 * reach + 1.0)]
    return [(0, 1.0), (1, 2.0)] if bins == 2 else [(-1, 1.0), (0, 1.0), (1, 1.0)]
