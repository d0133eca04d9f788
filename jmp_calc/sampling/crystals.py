"""Crystals: structure types with elements that fit, and what strain, heat, defects and surfaces make of
them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from ase import Atoms
from numpy.random import Generator

from ..model.elements import symbol
from .compositions import CrystalChemistry, Occupied, reduced
from .distortions import (
    closest_ratio,
    disordered,
    packed,
    pushed_apart,
    random_cell,
    random_strain,
    rattled,
    repeated,
    scaled,
    slab,
    strained,
    with_swaps,
    with_vacancies,
)
from .draws import generator, kind_at, position
from .exclude import Excluded
from .geometry import CLOSEST
from .like import LikeChemistry
from .prototypes import LIKE
from .refusals import Refused, first_made
from .relaxing import relaxed
from .small import dimer_atoms
from .species import VOLUMES

CLOSEST_COMPRESSED = 0.5
"""As ``CLOSEST``, of the kinds that are under pressure."""
COMPRESSED = frozenset({"volume", "melted", "mixture"})
NO_TYPE = "none"
"""Structure type of a mixture."""
LIKE_SHARE = 0.5
"""How many crystals have the structure types of those that were given."""
SMALL_CELL, SMALL_SHARE = 20, 0.75
"""Most supercells have at most so many atoms."""


class CrystalSource:
    """Draws crystals of given elements and numbers of atoms."""

    def __init__(
        self,
        elements: frozenset[int],
        atoms: tuple[int, int],
        shares: Mapping[str, float],
        excluded: Excluded,
        seed: int,
        like: Sequence[Atoms] = (),
        calculator: Any = None,
    ) -> None:
        """``like``: crystals whose structure types are drawn beside the built-in ones; ``calculator``: any of
        ASE, that relaxes; None: no crystal is relaxed."""
        self.least, self.most = atoms
        self.elements, self.shares, self.seed = tuple(sorted(elements)), shares, seed
        self.chemistry, self.excluded = CrystalChemistry(elements, self.most), excluded
        self.like, self.calculator = LikeChemistry(like, elements, self.most), calculator
        self._makers: dict[str, Callable[[Generator, Occupied], Atoms | None]] = {
            "perfect": self._perfect,
            "strained": self._strained,
            "rattled": self._rattled,
            "volume": self._volume,
            "vacancy": self._vacancy,
            "swap": self._swap,
            "disorder": self._disorder,
            "surface": self._surface,
            "random": self._random,
            "melted": self._melted,
            "relaxed": self._relaxed,
        }

    def draw(self, index: int, refused: Counter[str]) -> Atoms | None:
        """Sample ``index``; None where no attempt gave one. ``refused`` counts the reasons of attempts."""
        rng = generator(self.seed, index)
        kind, place = kind_at(position(self.seed, index), self.shares)
        if kind == "dimer":
            return dimer_atoms(rng, self.elements, place)
        return first_made(lambda: self._made(rng, kind), refused)

    def _made(self, rng: Generator, kind: str) -> Atoms:
        if kind == "mixture":
            made = self._mixture(rng)
            name, composition = NO_TYPE, reduced(made)
            self._refuse_excluded(composition, None)
        else:
            crystal = self._crystal(rng)
            if crystal is None:
                raise Refused("nothing fits")
            name, composition = crystal.prototype.name, crystal.composition
            self._refuse_excluded(composition, None if crystal.prototype.bonding == LIKE else name)
            occupied = self._makers[kind](rng, crystal)
            if occupied is None:
                raise Refused(f"no {kind}")
            made = occupied
        self._refuse_unsound(made, CLOSEST_COMPRESSED if kind in COMPRESSED else CLOSEST)
        atoms = Atoms(made.numbers, made.positions, cell=made.cell.array, pbc=made.pbc)
        atoms.info = {"sample_kind": kind, "prototype": name, "composition": composition}
        return atoms

    def _refuse_unsound(self, made: Atoms, closest: float) -> None:
        if not self.least <= len(made) <= self.most:
            raise Refused("size")
        if closest_ratio(made) < closest:
            raise Refused("overlapping")

    def _refuse_excluded(self, composition: str, prototype: str | None) -> None:
        """``prototype``: None for a structure whose type nobody named, which may be any."""
        if prototype is None:
            excluded = self.excluded.holds_compound(composition)
        else:
            excluded = self.excluded.holds_crystal(composition, prototype)
        if excluded:
            raise Refused("excluded")

    def _crystal(self, rng: Generator) -> Occupied | None:
        if self.like.structures and rng.random() < LIKE_SHARE:
            return self.like.draw(rng)
        return self.chemistry.draw(rng)

    # --- kinds ---

    def _perfect(self, rng: Generator, crystal: Occupied) -> Atoms:
        return scaled(crystal.atoms, rng.uniform(0.9, 1.1))

    def _strained(self, rng: Generator, crystal: Occupied) -> Atoms:
        made = strained(self._cell(rng, crystal, 1), random_strain(rng, 0.005, 0.08))
        return rattled(rng, made, 0.005, 0.05) if rng.random() < 0.5 else made

    def _rattled(self, rng: Generator, crystal: Occupied) -> Atoms:
        made = strained(self._cell(rng, crystal, 2), random_strain(rng, 0.002, 0.03))
        return rattled(rng, scaled(made, rng.uniform(0.88, 1.12)), 0.01, 0.30)

    def _volume(self, rng: Generator, crystal: Occupied) -> Atoms:
        made = scaled(self._cell(rng, crystal, 1), rng.uniform(0.7, 1.5))
        return rattled(rng, made, 0.005, 0.1) if rng.random() < 0.4 else made

    def _vacancy(self, rng: Generator, crystal: Occupied) -> Atoms:
        return self._shaken(rng, with_vacancies(rng, self._cell(rng, crystal, max(self.least + 1, 4))))

    def _swap(self, rng: Generator, crystal: Occupied) -> Atoms | None:
        made = with_swaps(rng, self._cell(rng, crystal, 4))
        return None if made is None else self._shaken(rng, made)

    def _disorder(self, rng: Generator, crystal: Occupied) -> Atoms | None:
        cell = self._cell(rng, crystal, 6)
        made = disordered(rng, cell, list(crystal.ions.values()), frozenset(self.elements))
        return None if made is None else self._shaken(rng, made)

    def _surface(self, rng: Generator, crystal: Occupied) -> Atoms | None:
        made = slab(rng, scaled(crystal.atoms, rng.uniform(0.95, 1.05)), self.most)
        return None if made is None else rattled(rng, made, 0.005, 0.12)

    def _random(self, rng: Generator, crystal: Occupied) -> Atoms | None:
        most = min(self.most, 16)
        return packed(rng, scaled(self._cell(rng, crystal, 2, most), rng.uniform(0.9, 1.6)), 0.75)

    def _melted(self, rng: Generator, crystal: Occupied) -> Atoms:
        """Hot and dense: atoms far from their places, but not in each other's."""
        made = scaled(self._cell(rng, crystal, 4), rng.uniform(0.5, 1.25))
        return pushed_apart(rattled(rng, made, 0.15, 0.8), rng.uniform(0.65, 0.9))

    def _relaxed(self, rng: Generator, crystal: Occupied) -> Atoms:
        """On the way to a minimum of the calculator, or there."""
        cell = self._cell(rng, crystal, 2, min(self.most, max(SMALL_CELL, len(crystal.atoms))))
        made = rattled(rng, scaled(cell, rng.uniform(0.92, 1.1)), 0.01, 0.2)
        self._refuse_unsound(made, CLOSEST)  # before the work
        return relaxed(rng, made, self.calculator)

    def _mixture(self, rng: Generator) -> Atoms:
        """A melt of up to as many elements as it has atoms."""
        size = int(rng.integers(max(self.least, 4), max(min(self.most, SMALL_CELL), self.least, 4) + 1))
        few = rng.choice(
            self.elements, size=min(int(rng.integers(2, size + 1)), len(self.elements)), replace=False
        )
        numbers = np.concatenate([few, rng.choice(few, size=size - len(few))])
        volume = rng.uniform(0.5, 1.2) * sum(VOLUMES[symbol(int(z))] for z in numbers)
        return pushed_apart(random_cell(rng, numbers, volume), rng.uniform(0.75, 0.95))

    def _shaken(self, rng: Generator, atoms: Atoms) -> Atoms:
        """Defects are rarely alone: somewhat strained and rattled too."""
        made = strained(scaled(atoms, rng.uniform(0.92, 1.08)), random_strain(rng, 0.002, 0.02))
        return rattled(rng, made, 0.005, 0.15)

    def _cell(self, rng: Generator, crystal: Occupied, least: int, most: int | None = None) -> Atoms:
        """The primitive cell or a supercell of at least so many atoms."""
        if most is None:
            small = rng.random() < SMALL_SHARE
            most = min(self.most, max(SMALL_CELL, len(crystal.atoms))) if small else self.most
        return repeated(rng, crystal.atoms, max(least, self.least), most)
