"""Every number that converts units: eV, Å and eV/Å^3 are the units of this package (CODATA 2018)."""

from __future__ import annotations

LENGTH_UNITS = {"angstrom": 1.0, "å": 1.0, "a": 1.0, "bohr": 0.529177210903, "nm": 10.0}
"""Å per unit."""

ENERGY_UNITS = {
    "ev": 1.0, "mev": 1e-3, "hartree": 27.211386245988, "ha": 27.211386245988, "rydberg": 13.605693122994,
    "ry": 13.605693122994, "kcal/mol": 0.0433641153087705, "kj/mol": 0.0103642696562621,
}  # fmt: skip
"""eV per unit."""

HARTREE = ENERGY_UNITS["hartree"]
RYDBERG = ENERGY_UNITS["rydberg"]
KCAL_MOL = ENERGY_UNITS["kcal/mol"]
KJ_MOL = ENERGY_UNITS["kj/mol"]
"""eV."""

BOHR = LENGTH_UNITS["bohr"]
"""Å."""

GPA_PER_EV_A3 = 160.21766208
"""GPa of 1 eV/Å^3."""

COULOMB = HARTREE * BOHR
"""e^2/(4 pi eps0), eV Å."""
