"""What stands on the sites of a structure type, and how large the cell is then."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.formula import Formula
from numpy.random import Generator

from ..model.elements import SYMBOLS, symbol
from .draws import one_of, weighted
from .geometry import RADII
from .prototypes import COVALENT, ELEMENT, IONIC, METALLIC, MOLECULE, Prototype, prototypes
from .species import (
    ANION_WEIGHTS,
    ANIONS,
    CATIONS,
    METALS,
    MOLECULAR,
    MOLECULAR_VOLUMES,
    NOBLE,
    VOLUMES,
    WITH_OXYGEN,
    Ion,
    elemental_distance,
    ionic_distance,
)

BONDINGS = {ELEMENT: 0.14, MOLECULE: 0.01, METALLIC: 0.35, IONIC: 0.42, COVALENT: 0.08}
"""How many crystals are of each bonding."""
FREQUENT = {
    "perovskite": 3.0,
    "rocksalt": 2.0,
    "fcc": 2.5,
    "bcc": 2.5,
    "hcp": 2.5,
    "fluorite": 1.5,
    "heusler": 1.5,
}
"""Structure types that are taken more often than the others of their bonding."""
TRIALS = 25
"""Choices of elements for a structure type before it is given up."""
ALLOY_CONTRACTION, IONIC_CONTRACTION = 0.94, 0.97
"""Compounds are a little denser than the volumes of their atoms and the distances of their ions say (mean of
fifteen and thirty known ones)."""
KNOWN_VOLUMES = {
    ("diamond", "C"): 5.67, ("diamond", "Si"): 20.0, ("diamond", "Ge"): 22.6, ("diamond", "Sn"): 34.2,
    ("graphite", "C"): 8.8, ("black-phosphorus", "P"): 19.0, ("arsenic", "P"): 16.5, ("arsenic", "As"): 21.5,
    ("arsenic", "Sb"): 30.2, ("arsenic", "Bi"): 35.4, ("selenium", "Se"): 27.3, ("selenium", "Te"): 34.0,
    ("selenium", "S"): 24.0, ("gallium", "Ga"): 19.6, ("beta-tin", "Sn"): 27.0, ("sc", "P"): 14.5,
}  # fmt: skip
"""Å³ per atom of elements in their own layers, chains and tetrahedra, which weak bonds hold together."""
MOST_MISFIT = 1.25
"""Ratio of the sizes that two sites ask of one cell; beyond it they do not fit together."""
_CLOSE_PACKED = ("fcc", "hcp", "bcc", "dhcp")
_TETRAHEDRAL = frozenset(
    SYMBOLS.index(name) for name in "Be B Mg Al Si Mn Fe Co Ni Cu Zn Ga Ge Ag Cd In Sn Hg".split()
)
_PLANAR = frozenset(SYMBOLS.index(name) for name in "B Al Ga C Si Be Zn".split())
_LIGHT = frozenset(SYMBOLS.index(name) for name in "B C N O H".split())
_METALLOID = frozenset(SYMBOLS.index(name) for name in "B C N Al Si P S Ga Ge As Se In Sn Sb Te Bi".split())
_ON_X = {
    "alb2": frozenset({5, 14}),
    "cab6": frozenset({5}),
    "wc": frozenset({5, 6, 7}),
    "max-phase": frozenset({6, 7}),
    "metal-antiperovskite": _LIGHT,
    "fesi": _METALLOID - _LIGHT,
    "pyrite": frozenset(SYMBOLS.index(name) for name in "P S As Se Sb Te".split()),
    "marcasite": frozenset(SYMBOLS.index(name) for name in "P S As Se Sb Te".split()),
}
"""What stands on site X of a metallic type, where not every metalloid does."""
_VOLUME_RATIOS = {
    "laves-c15": (1.2, 3.5),
    "laves-c14": (1.2, 3.5),
    "cacu5": (1.8, 5.0),
    "thcr2si2": (1.3, 5.0),
    "cual2": (0.4, 1.5),
}
"""Smallest and largest ratio of the volumes of A and B, where it is not a third to three."""


@dataclass(frozen=True, eq=False)
class Occupied:
    """A structure type with elements: one primitive cell at its sensible volume."""

    prototype: Prototype
    ions: Mapping[str, Ion]
    """What stands on each label; without charges in metals and elements."""
    atoms: Atoms

    @property
    def composition(self) -> str:
        """Reduced formula in Hill's order."""
        return reduced(self.atoms)


def reduced(atoms: Atoms) -> str:
    """Reduced formula in Hill's order."""
    return str(Formula(atoms.get_chemical_formula()).reduce()[0].format("hill"))


class CrystalChemistry:
    """Draws occupied structure types of given elements."""

    def __init__(self, elements: frozenset[int], most_atoms: int) -> None:
        self.elements = elements
        self.types = {
            bonding: [kind for kind in kinds if len(kind.labels) <= most_atoms]
            for bonding, kinds in prototypes().items()
        }
        self.cations = [ion for ion in CATIONS if ion.number in elements]
        self.anions = [ion for ion in ANIONS if ion.number in elements]
        self.metals = sorted(METALS & elements)
        self.molecular = [z for z in (SYMBOLS.index(name) for name in MOLECULAR) if z in elements]
        able = {
            ELEMENT: True,
            MOLECULE: bool(self.molecular),
            METALLIC: len(self.metals) > 1,
            IONIC: bool(self.cations and self.anions),
            COVALENT: bool(self.cations and self.anions),
        }
        self.bondings = {
            bonding: share for bonding, share in BONDINGS.items() if able[bonding] and self.types[bonding]
        }

    def draw(self, rng: Generator) -> Occupied | None:
        """A structure type and its elements; None: nothing fitted at that try."""
        bonding = weighted(rng, self.bondings)
        prototype = weighted(rng, {kind: FREQUENT.get(kind.name, 1.0) for kind in self.types[bonding]})
        if bonding in (ELEMENT, MOLECULE):
            return self._element(rng, prototype)
        # Types that few elements fit into are to be as frequent as the others.
        for _ in range(TRIALS):
            made = self._alloy(rng, prototype) if bonding == METALLIC else self._salt(rng, prototype)
            if made is not None:
                return made
        return None

    def _element(self, rng: Generator, prototype: Prototype) -> Occupied | None:
        if prototype.bonding == MOLECULE:
            number = one_of(rng, self.molecular)
            return Occupied(prototype, {"A": Ion(number, 0, 0.0)}, _molecular_crystal(prototype, number))
        number = one_of(rng, sorted(self.elements))
        if number in NOBLE:
            prototype = one_of(rng, [kind for kind in self.types[ELEMENT] if kind.name in _CLOSE_PACKED])
        return Occupied(prototype, {"A": Ion(number, 0, 0.0)}, elemental_crystal(prototype, number))

    def _alloy(self, rng: Generator, prototype: Prototype) -> Occupied | None:
        """Metals on A, B and C, and on X a metalloid; volumes add up."""
        numbers: dict[str, int] = {}
        for label in prototype.counts:
            pool = self.metals
            if label == "X":
                pool = sorted(_ON_X.get(prototype.name, _METALLOID) & self.elements)
            elif label == prototype.labels[-1] and label != "A" and rng.random() < 0.25:
                pool = sorted((_METALLOID - _LIGHT) & self.elements)
            if not pool:
                return None
            numbers[label] = one_of(rng, pool)
        if len(set(numbers.values())) < len(numbers) or not _volumes_fit(prototype, numbers):
            return None
        ions = {label: Ion(number, 0, 0.0) for label, number in numbers.items()}
        return Occupied(prototype, ions, _built(prototype, ions, alloy_scale(prototype, numbers)))

    def _salt(self, rng: Generator, prototype: Prototype) -> Occupied | None:
        ions = self._ions(rng, prototype)
        return None if ions is None else salt(prototype, ions)

    def _ions(self, rng: Generator, prototype: Prototype) -> dict[str, Ion] | None:
        """Ions whose charges add up to zero: first the charges, then who has them."""
        counts = prototype.counts
        pools: dict[str, defaultdict[int, list[Ion]]] = {}
        for label in counts:
            pools[label] = defaultdict(list)
            for ion in self._candidates(rng, prototype, label):
                pools[label][ion.charge].append(ion)
        choices = {
            charges: float(np.prod([len(pools[label][q]) for label, q in zip(counts, charges)]))
            for charges in itertools.product(*(sorted(pools[label]) for label in counts))
            if sum(n * q for n, q in zip(counts.values(), charges)) == 0
        }
        if not choices:
            return None
        charges = weighted(rng, {key: number**0.5 for key, number in choices.items()})
        ions = {label: one_of(rng, pools[label][q]) for label, q in zip(counts, charges)}
        distinct = len({ion.number for ion in ions.values()}) == len(ions)
        return ions if distinct and _is_sensible(list(ions.values())) else None

    def _candidates(self, rng: Generator, prototype: Prototype, label: str) -> list[Ion]:
        if label in "XY":
            weights = {ion: float(ANION_WEIGHTS[symbol(ion.number)]) for ion in self.anions}
            return [weighted(rng, weights)]
        if prototype.bonding != COVALENT:
            return self.cations
        allowed = _PLANAR if prototype.name == "boron-nitride" else _TETRAHEDRAL
        return [ion for ion in self.cations if ion.number in allowed]


def _volumes_fit(prototype: Prototype, numbers: Mapping[str, int]) -> bool:
    if "B" not in numbers:
        return True
    low, high = _VOLUME_RATIOS.get(prototype.name, (1 / 3, 3.0))
    ratio = VOLUMES[symbol(numbers["A"])] / VOLUMES[symbol(numbers["B"])]
    return low <= ratio <= high


def _is_sensible(ions: Sequence[Ion]) -> bool:
    """Whether these ions make a compound: highly charged non-metals in oxides and fluorides, and strong
    reducers and oxidisers apart."""
    anions = [ion for ion in ions if ion.charge < 0]
    hard = all(ion.number in (8, 9) for ion in anions)
    highest = max(ion.charge for ion in ions)
    if any(ion.number in WITH_OXYGEN and ion.charge > 3 for ion in ions) and not hard:
        return any(ion.number in (6, 14) for ion in ions) and all(ion.charge >= -3 for ion in anions)
    if any(ion.charge in (-3, -4) or ion.number in (1, 35, 53, 52) for ion in anions) and highest > 4:
        return False
    return hard or highest <= 5


def salt(prototype: Prototype, ions: Mapping[str, Ion]) -> Occupied | None:
    """Ions at the distances of their radii, or of covalent radii; None where they ask for different cells."""
    sizes = []
    for around in prototype.surroundings:
        centre = ions[prototype.labels[around.atom]]
        wanted = [
            _distance(prototype, centre, ions[prototype.labels[j]], around.count) for j in around.neighbours
        ]
        sizes.append(float(np.average(wanted, weights=around.weights)) / around.length)
    if max(sizes) > MOST_MISFIT * min(sizes):
        return None
    # Bonds may be longer than they want, hardly shorter.
    scale = 0.5 * (max(sizes) + float(np.mean(sizes)))
    if prototype.bonding == IONIC:
        scale *= IONIC_CONTRACTION ** (1 / 3)
    return Occupied(prototype, ions, _built(prototype, ions, scale))


def alloy_scale(prototype: Prototype, numbers: Mapping[str, int]) -> float:
    """By how much the cell of the example is stretched so that the atoms (by label) fill it."""
    total = sum(VOLUMES[symbol(numbers[label])] for label in prototype.labels)
    return float((ALLOY_CONTRACTION * total / prototype.volume) ** (1 / 3))


def elemental_crystal(prototype: Prototype, number: int) -> Atoms:
    """One cell of an element at its known volume, or at the distance of so many neighbours."""
    known = KNOWN_VOLUMES.get((prototype.name, symbol(number)))
    if known is not None:
        scale = (known * len(prototype.labels) / prototype.volume) ** (1 / 3)
    else:
        around = prototype.surroundings
        scale = float(np.mean([elemental_distance(number, site.count) / site.length for site in around]))
    return _built(prototype, {"A": Ion(number, 0, 0.0)}, scale)


def _distance(prototype: Prototype, cation: Ion, anion: Ion, neighbours: float) -> float:
    if prototype.bonding == COVALENT:
        return float(RADII[cation.number] + RADII[anion.number])
    return ionic_distance(cation, anion, neighbours)


def _built(prototype: Prototype, ions: Mapping[str, Ion], scale: float) -> Atoms:
    numbers = [ions[label].number for label in prototype.labels]
    return Atoms(numbers, scaled_positions=prototype.scaled, cell=scale * prototype.cell, pbc=True)


def _molecular_crystal(prototype: Prototype, number: int) -> Atoms:
    """Molecules of two atoms with their own bond, whatever the size of the cell."""
    name = symbol(number)
    edge = (len(prototype.labels) * MOLECULAR_VOLUMES[name]) ** (1 / 3)
    atoms = Atoms(
        [number] * len(prototype.labels), scaled_positions=prototype.scaled, cell=[edge] * 3, pbc=True
    )
    centres = np.round(prototype.scaled * 2) / 2
    arms = (prototype.scaled - centres) * edge
    arms *= MOLECULAR[name] / 2 / np.linalg.norm(arms, axis=1, keepdims=True)
    atoms.positions = centres * edge + arms
    return atoms
