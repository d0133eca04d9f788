"""Small structures of every kind the energy must be right for."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.build import bulk, fcc111, graphene, molecule


def rattled(atoms: Atoms, amplitude: float = 0.1, seed: int = 0) -> Atoms:
    """A copy with random displacements (Å)."""
    atoms = atoms.copy()
    atoms.positions += amplitude * np.random.default_rng(seed).standard_normal(atoms.positions.shape)
    return atoms


def triclinic() -> Atoms:
    """Two atoms in a skewed cell that is smaller than every cutoff."""
    cell = [[3.1, 0.2, 0.1], [0.9, 3.3, -0.2], [1.1, -0.7, 3.6]]
    return Atoms("SiC", scaled_positions=[[0.02, 0.05, 0.01], [0.27, 0.31, 0.22]], cell=cell, pbc=True)


def left_handed() -> Atoms:
    """The same crystal with two lattice vectors exchanged."""
    atoms = triclinic()
    return Atoms(atoms.numbers, positions=atoms.positions, cell=atoms.cell.array[[1, 0, 2]], pbc=True)


def skewed() -> Atoms:
    """The same lattice described by long, nearly parallel vectors, with an atom outside of the cell."""
    atoms = triclinic()
    a, b, c = atoms.cell.array
    positions = atoms.positions + [[0, 0, 0], 2 * a - b]
    return Atoms(atoms.numbers, positions=positions, cell=[a, b + 4 * a, c - 3 * b + 2 * a], pbc=True)


def slab() -> Atoms:
    """Copper with CO on top, periodic in the plane."""
    atoms = fcc111("Cu", (1, 1, 2), vacuum=4.0, orthogonal=False) + Atoms("CO", [[0, 0, 7.9], [0, 0.1, 9.05]])
    atoms.pbc = (True, True, False)
    return rattled(atoms, 0.05)


def wire() -> Atoms:
    """A zigzag chain, periodic along x only."""
    return Atoms(
        "C2H2", [[0, 0, 0], [1.2, 0.6, 0.1], [0, -1.1, 0], [1.2, 1.7, 0.2]], cell=[2.4, 0, 0], pbc=(1, 0, 0)
    )


DISORDERED = {
    "ethanol": lambda: rattled(molecule("CH3CH2OH"), 0.05),
    "triclinic": triclinic,
    "left-handed": left_handed,
    "skewed": skewed,
    "slab": slab,
    "wire": wire,
    "silicon": lambda: rattled(bulk("Si"), 0.1),
}
"""Structures without symmetry, by name."""

PERFECT = {
    "Si": lambda: bulk("Si", cubic=True),
    "Cu": lambda: bulk("Cu"),
    "NaCl": lambda: bulk("NaCl", "rocksalt", 5.64),
}
"""Cubic crystals on their sites: forces vanish, the stress is isotropic."""

SPECIAL = {
    "linear CO2": lambda: molecule("CO2"),
    "linear HCCH": lambda: molecule("C2H2"),
    "planar C2H4": lambda: molecule("C2H4"),
    "planar C6H6": lambda: molecule("C6H6"),
    "planar graphene": lambda: graphene(a=2.46),
    "chain of 4 along z": lambda: Atoms("C4", [[0, 0, 1.3 * i] for i in range(4)]),
    "periodic chain": lambda: Atoms("C", cell=[1.3, 0, 0], pbc=(True, False, False)),
    "diatomic": lambda: molecule("N2"),
    "diatomic along x": lambda: Atoms("NO", [[0, 0, 0], [1.15, 0, 0]]),
    "isolated atom": lambda: Atoms("O"),
    "two far atoms": lambda: Atoms("OH", [[0, 0, 0], [0, 30, 0]]),
}
"""Arrangements where angles or dihedrals are degenerate, or where there are no edges."""
