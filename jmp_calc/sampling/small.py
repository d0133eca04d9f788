"""Pairs of atoms and single atoms, of molecules and crystals alike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from numpy.random import Generator

from ..model.elements import symbol
from .geometry import RADII

NEAREST, FARTHEST = 0.45, 3.0
"""Range of distances of dimers, as part of the sum of the covalent radii."""


def dimer_atoms(rng: Generator, elements: Sequence[int], place: float) -> Atoms:
    """Two atoms of the pair at ``place`` (0 to 1) of the list of all pairs, most often near their bond
    length; on purpose also nearer than atoms of other samples ever are."""
    pairs = [(a, b) for i, a in enumerate(elements) for b in elements[i:]]
    first, second = pairs[int(place * len(pairs))]
    ratio = rng.uniform(NEAREST, 1.6) if rng.random() < 0.7 else rng.uniform(1.6, FARTHEST)
    distance = ratio * (RADII[first] + RADII[second])
    atoms = Atoms([first, second], np.array([[0.0, 0.0, 0.0], [0.0, 0.0, distance]]))
    atoms.info = {"sample_kind": "dimer", "graph": f"[{symbol(first)}].[{symbol(second)}]"}
    return atoms


def isolated_atoms(elements: Sequence[int]) -> list[Atoms]:
    """One atom of each element, without a cell."""
    found = []
    for number in elements:
        atoms = Atoms([number], np.zeros((1, 3)))
        atoms.info = {"sample_kind": "isolated", "graph": f"[{symbol(number)}]"}
        found.append(atoms)
    return found
