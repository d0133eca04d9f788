"""The energy does not depend on how a structure is described, and energies add up."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .subjects import name_of
from .verdict import Measured, NotApplicable, larger

if TYPE_CHECKING:
    from ase import Atoms

    from .probe import Probe
    from .subjects import Subjects

Array = NDArray[np.float64]
_TURN = (0.4, -1.1, 2.0)
"""Rotation vector along no axis of any crystal."""
_APART = 40.0
"""Å between fragments, beyond every cutoff."""


def difference(probe: Probe, atoms: Atoms, other: Atoms, back: Callable[[Array], Array]) -> Measured:
    """Largest difference of energy per atom (eV) and of forces (eV/Å) after ``back`` turned them back."""
    one, two = (probe.results([given], ["energy", "forces"])[0] for given in (atoms, other))
    energy = abs(one["energy"] - two["energy"]) / len(atoms)
    return Measured(larger(energy, np.abs(one["forces"] - back(two["forces"])).max()), name_of(atoms))


def _same(forces: Array) -> Array:
    return forces


def _taken(forces: Array, order: NDArray[np.int64]) -> Array:
    return np.asarray(forces[order])


def translation(probe: Probe, subjects: Subjects) -> Measured:
    """Energy and forces after a shift of everything."""
    found = []
    for atoms in subjects.disordered:
        other = atoms.copy()
        other.translate([17.3, -4.1, 0.77])
        found.append(difference(probe, atoms, other, _same))
    return Measured.worst(found)


def _turned(probe: Probe, subjects: Subjects, sign: float) -> Measured:
    from ase import Atoms
    from scipy.spatial.transform import Rotation

    matrix = sign * Rotation.from_rotvec(_TURN).as_matrix()
    found = []
    for atoms in subjects.disordered:
        other = Atoms(atoms.numbers, atoms.positions @ matrix, cell=atoms.cell.array @ matrix, pbc=atoms.pbc)
        found.append(difference(probe, atoms, other, lambda forces: forces @ matrix.T))
    return Measured.worst(found)


def rotation(probe: Probe, subjects: Subjects) -> Measured:
    """Energy, and forces turned back, after a rotation."""
    return _turned(probe, subjects, 1.0)


def reflection(probe: Probe, subjects: Subjects) -> Measured:
    """Energy, and forces turned back, after a rotation with inversion."""
    return _turned(probe, subjects, -1.0)


def permutation(probe: Probe, subjects: Subjects) -> Measured:
    """Energy and forces with the atoms in another order."""
    found = []
    for atoms in subjects.disordered:
        order = np.random.default_rng(probe.seed + 1).permutation(len(atoms))
        found.append(difference(probe, atoms, atoms[order], partial(_taken, order=np.argsort(order))))
    return Measured.worst(found)


def lattice(probe: Probe, subjects: Subjects) -> Measured:
    """Energy and forces with single atoms moved by whole lattice vectors."""
    found = []
    for atoms in subjects.periodic:
        other = atoms.copy()
        shifts = np.random.default_rng(probe.seed + 2).integers(-3, 4, size=(len(atoms), 3)) * atoms.pbc
        other.positions += shifts @ atoms.cell.array
        found.append(difference(probe, atoms, other, _same))
    return Measured.worst(found)


def supercell(probe: Probe, subjects: Subjects) -> Measured:
    """Energy per atom and forces of a supercell against those of its cell, of one atom among them."""
    found = []
    for atoms in (*subjects.periodic, *subjects.crystals[:1]):
        repeats = [2 if periodic else 1 for periodic in atoms.pbc]
        repeats[0] = 3 if atoms.pbc[0] else 1
        large = atoms.repeat(repeats)
        copies = int(np.prod(repeats))
        one, two = (probe.results([given], ["energy", "forces"])[0] for given in (atoms, large))
        energy = abs(two["energy"] - copies * one["energy"]) / len(large)
        force = float(np.abs(two["forces"] - np.tile(one["forces"], (copies, 1))).max())
        found.append(Measured(larger(energy, force), f"{name_of(atoms)} × {copies}"))
    return Measured.worst(found)


def fragments(probe: Probe, subjects: Subjects) -> Measured:
    """Energy per atom of molecules far apart against the sum of their energies."""
    parts = [*subjects.molecules, *subjects.linear, *subjects.planar]
    if len(parts) < 2:
        raise NotApplicable("the calculator computes fewer than two of the molecules")
    together = parts[0][:0]
    for number, part in enumerate(parts):
        moved = part.copy()
        moved.translate([0.0, 0.0, _APART * number])
        together += moved
    alone = float(probe.energies(parts).sum())
    whole = float(probe.energies([together])[0])
    return Measured(abs(whole - alone) / len(together), " + ".join(str(part.symbols) for part in parts))


def crystals(probe: Probe, subjects: Subjects) -> Measured:
    """Forces (eV/Å) in perfect cubic crystals, and what their stress (eV/Å³) is not isotropic by."""
    found = []
    for atoms in subjects.crystals:
        from ase.calculators.calculator import PropertyNotImplementedError

        (forces,) = probe.forces([atoms])
        found.append(Measured(float(np.abs(forces).max()), name_of(atoms), "forces"))
        try:
            stress = probe.results([atoms], ["stress"])[0]["stress"]
        except PropertyNotImplementedError:
            continue
        left = np.concatenate([stress[:3] - stress[:3].mean(), stress[3:]])
        found.append(Measured(float(np.abs(left).max()), name_of(atoms), "stress"))
    return Measured.worst(found)
