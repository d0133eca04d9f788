"""Structure types of given crystals, with elements that are like theirs.

Elements are neighbours where they replace each other in known compounds: the modified scale of Pettifor
(Glawe, Sanna, Gross, Marques, New J. Phys. 18, 093011 (2016)).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from numpy.random import Generator

from ..graph.neighbours import neighbour_edges
from ..model.elements import SYMBOLS, symbol
from .compositions import Occupied
from .distortions import scaled
from .draws import one_of
from .geometry import RADII
from .prototypes import LIKE, Prototype
from .species import NONMETALS, Ion

SCALE = tuple(
    SYMBOLS.index(name)
    for name in """
    He Ne Ar Kr Xe Cs Rb K Na Li Ba Sr Ca Eu Yb Lu Tm Y Er Ho Dy Tb Gd Sm Pm Nd Pr Ce La Ac Th Pa U Np Pu Sc
    Zr Hf Ti Ta Nb V Cr Mo W Re Tc Os Ru Ir Rh Pt Pd Au Ag Cu Ni Co Fe Mn Mg Zn Cd Hg Be Al Ga In Tl Pb Sn Ge
    Si B C N P As Sb Bi Te Se S O I Br Cl F H
    """.split()
)
"""Atomic numbers of crystals in the order of the modified scale of Pettifor."""
KEPT, FAR = 0.25, 0.1
"""How often an element stays, and how often any other takes its place, neighbour or not."""
REACH = 8.0
"""Standard deviation of the places on the scale between an element and the one that replaces it."""
BOND = 1.3
"""Atoms nearer than this times the sum of their covalent radii set the size of the cell."""


def lends(atoms: Atoms, most_atoms: int) -> bool:
    """Whether a structure has a type to lend: a crystal of at most so many atoms, all on the scale."""
    return bool(atoms.pbc.all()) and len(atoms) <= most_atoms and set(atoms.numbers.tolist()) <= set(SCALE)


class LikeChemistry:
    """Draws the structure types of given crystals with like elements."""

    def __init__(self, structures: Sequence[Atoms], elements: frozenset[int], most_atoms: int) -> None:
        """Of ``structures``, those that have a type to lend (``lends``)."""
        self.scale = tuple(number for number in SCALE if number in elements)
        self.places = {number: place for place, number in enumerate(SCALE)}
        self.structures = [
            (number, atoms) for number, atoms in enumerate(structures) if lends(atoms, most_atoms)
        ]

    def draw(self, rng: Generator) -> Occupied | None:
        """A structure and its elements, at the distances of their covalent radii; None: there are fewer
        elements than it needs."""
        number, atoms = one_of(rng, self.structures)
        present = sorted(set(atoms.numbers.tolist()))
        taken: dict[int, int] = {}
        for old in present:
            free = [z for z in self.scale if z not in taken.values()]
            if not free:
                return None
            taken[old] = self._replacing(rng, old, free)
        made = atoms.copy()
        made.numbers = np.array([taken[z] for z in atoms.numbers.tolist()])
        labels = tuple(symbol(z) for z in atoms.numbers.tolist())
        name = str(atoms.info.get("origin", f"structure {number}")).replace(" ", "-")
        prototype = Prototype(name, LIKE, labels, atoms.get_scaled_positions(), atoms.cell.array, 1)
        ions = {symbol(old): Ion(new, 0, 0.0) for old, new in taken.items()}
        plain = Atoms(made.numbers, made.positions, cell=made.cell.array, pbc=True)
        return Occupied(prototype, ions, scaled(plain, _stretch(atoms, plain) ** 3))

    def _replacing(self, rng: Generator, old: int, free: list[int]) -> int:
        luck = rng.random()
        if luck < KEPT and old in free:
            return old
        if luck > 1 - FAR:
            return one_of(rng, free)
        wanted = self.places[old] + REACH * rng.normal()
        # Non-metals are few, and beyond the end of their list there are no metals.
        pool = [z for z in free if (z in NONMETALS) == (old in NONMETALS)] or free
        return min(pool, key=lambda z: abs(self.places[z] - wanted))


def _stretch(before: Atoms, after: Atoms) -> float:
    """By how much bonds of covalent radii are longer with the elements of ``after``, on average."""
    old, new = RADII[before.numbers], RADII[after.numbers]
    edges, lengths = neighbour_edges(
        before.positions, before.cell.array, np.ones(3, dtype=bool), 2 * BOND * float(old.max())
    )
    sums = old[edges.source] + old[edges.target]
    near = lengths < BOND * sums
    if not near.any():
        return float(new.sum() / old.sum())
    return float(((new[edges.source] + new[edges.target])[near] / sums[near]).mean())
