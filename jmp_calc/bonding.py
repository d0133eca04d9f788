"""Molecules by their bonds: which atoms are bonded, which molecules there are, and a name that is the same
for every geometry of a molecule.

The name is a Weisfeiler-Lehman hash of the graph of elements and bonds, hydrogen included, without bond
orders, charges or stereochemistry: it can be made from positions alone, and from the bonds of any other
program. Few different molecules share a name (decalin and bicyclopentyl), equal ones always do.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b

import numpy as np

from .graph.neighbours import neighbour_edges
from .lattice import Floats, Ints
from .model.elements import COVALENT_RADII

BOND_SCALE = 1.25
"""Atoms are bonded below this share of the sum of their covalent radii."""
SMALLEST = 3
"""Atoms: smaller molecules (isolated atoms and dimers) have no name."""

Bonds = Sequence[tuple[int, int]]
"""Pairs of atoms, each once, in any order."""


def bonds_of(
    numbers: Ints, positions: Floats, cell: Floats, pbc: np.ndarray, scale: float = BOND_SCALE
) -> list[tuple[int, int]]:
    """Bonded pairs of a structure, also across the faces of the cell: numbers (N,), positions (N, 3) and cell
    (3, 3) in Å, pbc (3,)."""
    radii = np.asarray(COVALENT_RADII)[numbers]
    edges, lengths = neighbour_edges(positions, cell, pbc, 2.0 * scale * float(radii.max()))
    bonded = lengths < scale * (radii[edges.source] + radii[edges.target])
    bonded &= edges.source < edges.target
    pairs = zip(edges.source[bonded].tolist(), edges.target[bonded].tolist())
    return sorted(set(pairs))


def molecules(n_atoms: int, bonds: Bonds) -> list[list[int]]:
    """The atoms of every connected part, sorted, in the order of their first atoms."""
    neighbours = _neighbours(n_atoms, bonds)
    seen: set[int] = set()
    parts = []
    for start in range(n_atoms):
        if start in seen:
            continue
        part, queue = {start}, [start]
        while queue:
            new = set(neighbours[queue.pop()]) - part
            part |= new
            queue += new
        seen |= part
        parts.append(sorted(part))
    return parts


def graph_name(numbers: Iterable[int], bonds: Bonds) -> str:
    """Name of one molecule, 16 hexadecimal digits: the same for every order of its atoms.

    Args:
        numbers: atomic numbers (N,), hydrogen included.
        bonds: pairs of atoms, counted from 0.
    """
    elements = [int(number) for number in numbers]
    neighbours = _neighbours(len(elements), bonds)
    labels = [bytes([number]) for number in elements]
    classes = len(set(labels))
    while True:
        labels = [
            blake2b(
                labels[atom] + b"".join(sorted(labels[other] for other in neighbours[atom])), digest_size=8
            ).digest()
            for atom in range(len(labels))
        ]
        refined = len(set(labels))
        if refined == classes:
            return blake2b(b"".join(sorted(labels)), digest_size=8).hexdigest()
        classes = refined


def molecule_names(
    numbers: Ints, positions: Floats, cell: Floats, pbc: np.ndarray, scale: float = BOND_SCALE
) -> list[str]:
    """Sorted names of the molecules of a structure, each once; isolated atoms and dimers have none.

    What is bonded without end (a crystal) counts as one molecule, whose name no finite molecule has by
    chance. Shapes and units as in ``bonds_of``.
    """
    bonds = bonds_of(numbers, positions, cell, pbc, scale)
    names = set()
    for part in molecules(len(numbers), bonds):
        if len(part) >= SMALLEST:
            place = {atom: i for i, atom in enumerate(part)}
            own = [(place[a], place[b]) for a, b in bonds if a in place]
            names.add(graph_name(numbers[part], own))
    return sorted(names)


def _neighbours(n_atoms: int, bonds: Bonds) -> list[list[int]]:
    result: list[list[int]] = [[] for _ in range(n_atoms)]
    for a, b in bonds:
        result[a].append(b)
        result[b].append(a)
    return result
