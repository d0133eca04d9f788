"""Near copies among samples: the same graph (or composition and prototype) at the same distances."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.distance import pdist

from .geometry import Floats

if TYPE_CHECKING:
    from ase import Atoms

TOLERANCE = 0.02
"""Samples all of whose distances agree within this, Å, are near copies."""


def subject(atoms: Atoms) -> str:
    """What a sample is a distortion of: its graph, or its composition and prototype."""
    info = atoms.info
    return str(
        info.get("graph") or f"{info.get('composition')} {info.get('prototype') or info.get('origin')}"
    )


class Copies:
    """Remembers the samples that were kept."""

    def __init__(self) -> None:
        self._seen: defaultdict[tuple[str, str], list[Floats]] = defaultdict(list)

    def is_new(self, atoms: Atoms) -> bool:
        """Whether no sample so far is nearly the same; from now on this one counts."""
        seen = self._seen[subject(atoms), atoms.get_chemical_formula()]
        found = _distances(atoms)
        if any(len(old) == len(found) and np.abs(old - found).max() < TOLERANCE for old in seen):
            return False
        seen.append(found.astype(np.float32))
        return True


def _distances(atoms: Atoms) -> Floats:
    """All distances in order, and of a crystal the lengths of its cell before them."""
    if not atoms.pbc.any():
        return np.append(np.sort(pdist(atoms.positions)), 0.0)
    cell = atoms.cell.array
    first, second = np.triu_indices(len(atoms), 1)
    parts = np.linalg.solve(cell.T, (atoms.positions[first] - atoms.positions[second]).T).T
    vectors = (parts - np.round(parts) * atoms.pbc) @ cell
    lengths = np.linalg.norm(np.vstack((cell, cell - np.roll(cell, 1, axis=0))), axis=1)
    return np.concatenate((np.sort(lengths), np.sort(np.linalg.norm(vectors, axis=1))))
