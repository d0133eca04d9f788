"""Structures with ASE's EMT labels that a network learns EMT from: metals, alloys, slabs with adsorbates,
clusters and molecules, near and far from their minima.

EMT of ASE knows Al, Cu, Ag, Au, Ni, Pd and Pt, and has made-up parameters for H, C, N and O that its tests
use; the network need only be a consistent potential near it, with minima where EMT has them.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator

import numpy as np
from ase import Atoms
from ase.build import add_adsorbate, bulk, fcc100, fcc111, molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.cluster import Icosahedron
from ase.optimize import FIRE

METALS = {"Al": 3.99, "Cu": 3.59, "Ag": 4.06, "Au": 4.06, "Ni": 3.49, "Pd": 3.88, "Pt": 3.92}
"""Elements and EMT's lattice constants of fcc, Å (two figures)."""
LIGHT = ("H", "C", "N", "O")
MOLECULES = (
    *("H2", "N2", "O2", "CO", "CO2", "H2O", "CH4", "CH3", "NH3", "C2H2", "C2H4", "C2H6", "CH3CH2OH", "C6H6"),
    *("H2CO", "butadiene", "cyclobutene"),
)
ADSORBATES = ("H", "C", "N", "O", "CO", "CO2", "H2O", "N2")
LARGEST_FORCE = 25.0
"""eV/Å; frames beyond are no structures that a test visits for long."""


def lone_atom_energies() -> dict[str, float]:
    """EMT energies of single atoms, eV."""
    return {symbol: energy(Atoms(symbol)) for symbol in (*METALS, *LIGHT)}


def energy(atoms: Atoms) -> float:
    """EMT energy, eV."""
    atoms.calc = EMT()
    return float(atoms.get_potential_energy())


def emt_frames(seed: int = 0, share: float = 1.0) -> list[Atoms]:
    """Labelled structures in random order, the same for the same seed.

    Args:
        seed: of everything drawn.
        share: of the default numbers of structures of each kind, for quick tries.
    """
    draw = np.random.default_rng(seed)

    def number(of: int) -> int:
        return max(1, round(share * of))

    drawn = itertools.chain(
        *(metals(draw, symbol, number(40 if symbol in ("Cu", "Au") else 22)) for symbol in METALS),
        *(alloys(draw, pair, number(6)) for pair in itertools.combinations(METALS, 2)),
        *(slabs(draw, symbol, number(3)) for symbol in METALS),
        *(clusters(draw, symbol, number(8)) for symbol in METALS),
        *(molecules(draw, name, number(10)) for name in MOLECULES),
    )
    frames = [frame for frame in map(labelled, drawn) if frame is not None]
    return [frames[number] for number in draw.permutation(len(frames))]


def labelled(atoms: Atoms) -> Atoms | None:
    """The same with EMT's energy, forces and, where it is periodic in all directions, stress; None for
    structures torn or squeezed too far."""
    atoms = atoms.copy()
    atoms.set_constraint()
    atoms.calc = EMT()
    properties = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
    if np.abs(properties["forces"]).max() > LARGEST_FORCE:
        return None
    if atoms.pbc.all():
        properties["stress"] = atoms.get_stress()
    atoms.calc = SinglePointCalculator(atoms, **properties)
    return atoms


def shaken(draw: np.random.Generator, atoms: Atoms, amplitude: float, strain: float = 0.0) -> Atoms:
    """Displaced by a normal distribution of ``amplitude`` in Å, in a cell strained by up to about
    ``strain``."""
    atoms = atoms.copy()
    if strain:
        bent = np.eye(3) * (1.0 + draw.uniform(-strain, strain)) + draw.normal(0.0, 0.3 * strain, (3, 3))
        atoms.set_cell(atoms.cell.array @ bent, scale_atoms=True)
    atoms.positions += draw.normal(0.0, amplitude, (len(atoms), 3))
    return atoms


def metals(draw: np.random.Generator, symbol: str, count: int) -> Iterator[Atoms]:
    """fcc mostly, bcc and hcp; one to eight atoms, cold to molten, compressed and stretched."""
    length = METALS[symbol]
    fcc, cubic = bulk(symbol, "fcc", a=length), bulk(symbol, "fcc", a=length, cubic=True)
    hcp = bulk(symbol, "hcp", a=length / 2**0.5, c=length / 2**0.5 * 1.63)
    bcc = bulk(symbol, "bcc", a=length * 0.8, cubic=True)
    choices = (fcc, fcc * (2, 2, 2), fcc * (2, 2, 2), cubic, cubic * (2, 1, 1), hcp * (2, 1, 1), bcc)
    for number in range(count):
        strain = 0.12 if number % 4 == 0 else 0.03
        yield shaken(draw, choices[number % len(choices)], draw.choice([0.0, 0.05, 0.1, 0.2]), strain)


def alloys(draw: np.random.Generator, pair: tuple[str, str], count: int) -> Iterator[Atoms]:
    """fcc of four or eight sites with two metals on them."""
    one, other = pair
    for number in range(count):
        atoms = bulk(one, "fcc", a=0.5 * (METALS[one] + METALS[other]), cubic=True) * (1 + number % 2, 1, 1)
        for site in draw.choice(len(atoms), draw.integers(1, len(atoms)), replace=False):
            atoms[site].symbol = other
        yield shaken(draw, atoms, draw.choice([0.0, 0.08, 0.15]), 0.06)


def slabs(draw: np.random.Generator, symbol: str, count: int) -> Iterator[Atoms]:
    """Two to three layers of four atoms, bare and with each adsorbate, at heights from near to gone."""
    for build, name, _ in itertools.product((fcc111, fcc100), (None, *ADSORBATES), range(count)):
        slab = build(symbol, (2, 2, 2), a=METALS[symbol], vacuum=6.0)
        if name is not None:
            guest = Atoms(name) if name in LIGHT else molecule(name)
            guest.rotate(draw.uniform(0.0, 180.0), draw.normal(size=3))
            site = str(draw.choice(["ontop", "bridge", "hollow" if build is fcc100 else "fcc"]))
            add_adsorbate(slab, guest, draw.uniform(0.8, 3.0), site)
        slab.pbc = draw.choice([(True, True, False), (True, True, True)])
        yield from near_and_relaxed(draw, slab, steps=8)


def clusters(draw: np.random.Generator, symbol: str, count: int) -> Iterator[Atoms]:
    """Dimers at all distances, clusters of thirteen atoms, and a light atom beside two of metal."""
    nearest = METALS[symbol] / 2**0.5
    for distance in np.linspace(0.75, 1.9, count) * nearest:
        yield Atoms([symbol] * 2, [(0, 0, 0), (0, 0, distance)])
        light = Atoms([symbol, symbol, str(draw.choice(LIGHT))], np.zeros((3, 3)))
        light.positions[1, 2], light.positions[2] = distance, (draw.uniform(0.8, 2.2), 0, 0.5 * distance)
        yield light
    for amplitude in (0.03, 0.15):
        yield shaken(draw, Icosahedron(symbol, 2, latticeconstant=METALS[symbol]), amplitude)


def molecules(draw: np.random.Generator, name: str, count: int) -> Iterator[Atoms]:
    """A molecule shaken in many ways, and on its way to EMT's own minimum."""
    for number in range(count):
        yield from near_and_relaxed(draw, molecule(name), steps=15 if number % 2 else 4)
    for factor in draw.uniform(0.75, 1.5, count):
        wide = molecule(name)
        wide.positions *= factor
        yield shaken(draw, wide, 0.05)


def near_and_relaxed(draw: np.random.Generator, atoms: Atoms, steps: int) -> Iterator[Atoms]:
    """The structure shaken, and the same after some steps downhill by EMT."""
    start = shaken(draw, atoms, draw.choice([0.03, 0.08, 0.15]))
    yield start
    moved = start.copy()
    moved.calc = EMT()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        FIRE(moved, logfile=None, maxstep=0.1).run(fmax=0.05, steps=steps)
    yield moved
