"""Structures for the battery: made of elements that the calculator computes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ...errors import UsageError

if TYPE_CHECKING:
    from ase import Atoms

    from .probe import Probe

BENT = ("CH3CH2OH", "CH3OH", "H2O", "NH3", "CH4", "SiH4", "PH3", "O3", "SO2", "N2O", "NO2", "SiO", "NO")
LINEAR = ("CO2", "C2H2", "HCN", "N2", "CO", "O2", "SiO", "NO")
PLANAR = ("C6H6", "C2H4", "H2CO", "H2O", "SO2", "O3", "NO2")
CUBIC = {
    "Si": ("diamond", 5.43),
    "Cu": ("fcc", 3.61),
    "NaCl": ("rocksalt", 5.64),
    "Al": ("fcc", 4.05),
    "C": ("diamond", 3.57),
    "MgO": ("rocksalt", 4.21),
    "W": ("bcc", 3.16),
    "Fe": ("bcc", 2.87),
    "Au": ("fcc", 4.08),
    "Ni": ("fcc", 3.52),
    "Ar": ("fcc", 5.26),
    "Li": ("bcc", 3.51),
    "Na": ("bcc", 4.23),
    "Pt": ("fcc", 3.92),
}
"""Cubic crystals with lattice constants in Å, in the order of trial."""


@dataclass(frozen=True, eq=False)
class Subjects:
    """What the checks compute; empty where the calculator has nothing of the kind."""

    disordered: tuple[Atoms, ...]
    """Without symmetry: a molecule, a triclinic crystal, and a slab."""
    crystals: tuple[Atoms, ...]
    """Perfect cubic ones, primitive."""
    linear: tuple[Atoms, ...]
    planar: tuple[Atoms, ...]
    elements: tuple[str, ...]
    """Symbols that some structure of these has, the lightest last."""

    @property
    def molecules(self) -> tuple[Atoms, ...]:
        """The disordered structures that are not periodic."""
        return tuple(atoms for atoms in self.disordered if not atoms.pbc.any())

    @property
    def periodic(self) -> tuple[Atoms, ...]:
        """The disordered structures that are periodic."""
        return tuple(atoms for atoms in self.disordered if atoms.pbc.any())

    def names(self) -> list[str]:
        """Formula and kind of every structure."""
        groups = (self.disordered, self.crystals, self.linear, self.planar)
        return list(dict.fromkeys(name_of(atoms) for group in groups for atoms in group))


def name_of(atoms: Atoms) -> str:
    """A structure in messages."""
    return f"{atoms.info.get('kind', 'structure')} {atoms.get_chemical_formula()}"


def rattled(atoms: Atoms, amplitude: float, seed: int) -> Atoms:
    """A copy with random displacements of about ``amplitude``, Å."""
    copy = atoms.copy()
    copy.positions += amplitude * np.random.default_rng(seed).standard_normal((len(atoms), 3))
    return copy


def subjects(probe: Probe) -> Subjects:
    """Structures that the calculator under test computes.

    Raises:
        UsageError: it computes none.
    """
    crystals = _first(probe, _cubic(), 3)
    linear, planar = (
        _first(probe, _molecules(LINEAR, "linear"), 2),
        _first(probe, _molecules(PLANAR, "planar"), 1),
    )
    bent = _first(probe, _molecules(BENT, "molecule"), 1)
    symbols = [symbol for atoms in crystals for symbol in atoms.symbols]
    if symbols:
        linear = linear or _first(probe, [_row(symbols[0])], 1)
        planar = planar or _first(probe, [_square(symbols[0])], 1)
        bent = bent or _first(probe, [_cluster(symbols[0])], 1)
    disordered = [_as("molecule", rattled(atoms, 0.05, probe.seed)) for atoms in bent]
    disordered += _first(probe, [_triclinic(atoms, probe.seed) for atoms in crystals], 1)
    disordered += _first(probe, [_slab(atoms, probe.seed) for atoms in crystals], 1)
    found = Subjects(tuple(disordered), tuple(crystals), tuple(linear), tuple(planar), ())
    every = [*found.disordered, *crystals, *linear, *planar]
    if not every:
        raise UsageError(
            "The calculator computes none of the structures of the battery.",
            where=probe.refusal or None,
            hint=f"it is asked for the molecules {', '.join(BENT[:4])} … and the crystals {', '.join(CUBIC)}",
        )
    numbers = sorted({int(number) for atoms in every for number in atoms.numbers}, reverse=True)
    from ase.data import chemical_symbols

    elements = tuple(chemical_symbols[number] for number in numbers)
    return Subjects(found.disordered, found.crystals, found.linear, found.planar, elements)


def _first(probe: Probe, candidates: Iterable[Atoms], count: int) -> list[Atoms]:
    """The first structures that the calculator computes."""
    found: list[Atoms] = []
    for atoms in candidates:
        if len(found) == count:
            break
        if probe.computes(atoms):
            found.append(atoms)
    return found


def _as(kind: str, atoms: Atoms) -> Atoms:
    atoms.info = {"kind": kind}
    return atoms


def _molecules(names: Iterable[str], kind: str) -> Iterator[Atoms]:
    from ase.build import molecule

    return (_as(kind, _without_moments(molecule(name))) for name in names)


def _cubic() -> Iterator[Atoms]:
    from ase.build import bulk

    return (
        _as("crystal", _without_moments(bulk(name, lattice, a=a))) for name, (lattice, a) in CUBIC.items()
    )


def _without_moments(atoms: Atoms) -> Atoms:
    atoms.arrays.pop("initial_magmoms", None)
    return atoms


def _nearest(symbol: str) -> float:
    """Twice the covalent radius, Å."""
    from ase.data import atomic_numbers, covalent_radii

    return 2.0 * float(covalent_radii[atomic_numbers[symbol]])


def _shape(kind: str, symbol: str, places: list[list[float]]) -> Atoms:
    from ase import Atoms

    return _as(kind, Atoms([symbol] * len(places), _nearest(symbol) * np.array(places)))


def _row(symbol: str) -> Atoms:
    return _shape("linear", symbol, [[0, 0, 0], [1, 0, 0], [2.1, 0, 0]])


def _square(symbol: str) -> Atoms:
    return _shape("planar", symbol, [[0, 0, 0], [1, 0, 0], [0, 1.1, 0], [1, 1, 0]])


def _cluster(symbol: str) -> Atoms:
    return _shape("molecule", symbol, [[0, 0, 0], [1, 0, 0], [0.4, 1, 0], [0.5, 0.3, 1.05]])


def _triclinic(crystal: Atoms, seed: int) -> Atoms:
    """A skewed, rattled cell of a crystal, smaller than usual cutoffs."""
    cell = crystal.repeat((1, 1, 2)) if len(crystal) == 1 else crystal.copy()
    strain = np.array([[1.03, 0.02, -0.01], [0.06, 0.98, 0.03], [-0.04, 0.05, 1.01]])
    cell.set_cell(cell.cell.array @ strain, scale_atoms=True)
    return _as("triclinic crystal", rattled(cell, 0.08, seed))


def _slab(crystal: Atoms, seed: int) -> Atoms:
    """Two cells of a crystal with vacuum, periodic in two directions."""
    slab = rattled(crystal.repeat((1, 1, 2)), 0.05, seed + 1)
    slab.pbc = (True, True, False)
    return _as("slab", slab)
