"""Fourteen molecules and eleven crystals, rattled by listed seeds, and a smooth potential for all of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.data import covalent_radii
from matscipy.neighbours import neighbour_list

MOLECULES = ("H2", "N2", "CO", "CO2", "H2O", "NH3", "CH4", "HCN", "C2H2", "C2H4", "C2H6", "H2CO", "CH3OH",
             "CH3CH2OH")  # fmt: skip
CRYSTALS: dict[str, tuple[str, float]] = {
    "Cu": ("fcc", 3.61), "Al": ("fcc", 4.05), "Ni": ("fcc", 3.52), "Pd": ("fcc", 3.89), "Pt": ("fcc", 3.92),
    "Au": ("fcc", 4.08), "Ag": ("fcc", 4.09), "W": ("bcc", 3.17), "Mo": ("bcc", 3.15),
    "Si": ("diamond", 5.43), "MgO": ("rocksalt", 4.21),
}  # fmt: skip
EMT_CRYSTALS = ("Cu", "Al", "Ni", "Pd", "Pt", "Au", "Ag")
RATTLES = {"molecule": (0.1, 11), "crystal": (0.05, 23)}
"""Standard deviation in Å and seed."""
CELLS = (("none", 0.0), ("volume", 0.0), ("full", 0.0), ("full", 5.0))
"""Which strains are free, and GPa."""


@dataclass(frozen=True)
class Case:
    """One relaxation."""

    name: str
    cell: str = "none"
    pressure_gpa: float = 0.0

    def __str__(self) -> str:
        return f"{self.name}-{self.cell}-{self.pressure_gpa:g}GPa"

    def atoms(self) -> Atoms:
        """The rattled start structure."""
        kind = "molecule" if self.name in MOLECULES else "crystal"
        atoms = molecule(self.name) if kind == "molecule" else conventional(self.name)
        deviation, seed = RATTLES[kind]
        atoms.rattle(deviation, seed=seed)
        return atoms


MOLECULE_CASES = [Case(name) for name in MOLECULES]
CRYSTAL_CASES = [Case(name, *cell) for name in CRYSTALS for cell in CELLS]
CASES = MOLECULE_CASES + CRYSTAL_CASES
EMT_CASES = [case for case in CASES if case.name in (*MOLECULES, *EMT_CRYSTALS)]


def conventional(name: str) -> Atoms:
    """The conventional cell."""
    structure, length = CRYSTALS[name]
    return bulk(name, structure, a=length, cubic=True)


class SmoothPairs(Calculator):
    """Lennard-Jones-like wells, softened at short distances and with two smooth derivatives at the cutoff.

    E = Σ ε (u² - 2u), u = (2 / (1 + (r/r0)^4))², minimum at r = r0, the sum of the covalent radii.
    """

    implemented_properties = ["energy", "forces", "stress"]  # noqa: RUF012
    depth_ev, reach = 1.0, 2.2
    """Depth of a well, and the cutoff in units of r0."""

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        radii = covalent_radii[self.atoms.numbers]
        cutoff = self.reach * 2 * radii.max()
        i, j, d, vectors = neighbour_list("ijdD", padded(self.atoms, cutoff), cutoff)
        wanted = radii[i] + radii[j]
        x = d / wanted
        energy, slope = self._well(x)
        slope = slope / wanted
        pulls = (slope / d)[:, None] * vectors
        forces = np.zeros((len(self.atoms), 3))
        np.add.at(forces, i, pulls)
        self.results = {"energy": float(energy.sum() / 2), "forces": forces}
        if self.atoms.cell.rank == 3:
            virial = np.einsum("na,nb->ab", vectors, pulls) / 2 / self.atoms.get_volume()
            self.results["stress"] = virial[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]

    def _well(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Energy and its derivative of pairs at reduced distances x, switched off between 1.5 and reach."""
        u = (2 / (1 + x**4)) ** 2
        du = -4 * x**3 * 2 * u / (1 + x**4)
        t = np.clip((x - 1.5) / (self.reach - 1.5), 0, 1)
        switch = 1 - t**3 * (10 - 15 * t + 6 * t**2)
        dswitch = -30 * t**2 * (1 - t) ** 2 / (self.reach - 1.5)
        well, dwell = self.depth_ev * (u**2 - 2 * u), self.depth_ev * (2 * u - 2) * du
        return well * switch, dwell * switch + well * dswitch


def padded(atoms: Atoms, margin: float) -> Atoms:
    """A copy with a cell, which matscipy's neighbour list needs."""
    copy = atoms.copy()
    if copy.cell.rank < 3:
        copy.center(vacuum=margin)
    return copy
