"""Every number that converts units: eV, Å and eV/Å^3 are the units of this package (CODATA 2018)."""

from __future__ import annotations

from typing import Literal

UnitKind = Literal["energy", "length", "forces", "stress"]

LENGTH_UNITS = {"angstrom": 1.0, "å": 1.0, "a": 1.0, "ang": 1.0, "bohr": 0.529177210903, "nm": 10.0}
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

EV_PER_FREQUENCY = 0.0646541513
"""Quantum in eV of the angular frequency 1 √(eV/(Å² amu))."""

GPA_PER_EV_A3 = 160.21766208
"""GPa of 1 eV/Å^3."""

J_M2_PER_EV_A2 = GPA_PER_EV_A3 / 10
"""J/m^2 of 1 eV/Å^2."""

PRESSURE_UNITS = {
    "gpa": 1.0 / GPA_PER_EV_A3, "kbar": 0.1 / GPA_PER_EV_A3, "mpa": 1e-3 / GPA_PER_EV_A3,
    "bar": 1e-4 / GPA_PER_EV_A3, "pa": 1e-9 / GPA_PER_EV_A3,
}  # fmt: skip
"""eV/Å^3 per unit."""

FREQUENCY_UNITS = {"THz": 1.0, "cm-1": 0.0299792458, "meV": 0.2417989242084918}
"""THz per unit."""

THZ_PER_EV = 1e3 * FREQUENCY_UNITS["meV"]
"""THz of a quantum of 1 eV."""
CM1_PER_EV = THZ_PER_EV / FREQUENCY_UNITS["cm-1"]
"""cm⁻¹ of a quantum of 1 eV."""

CM1_PER_INVERSE_FS = 1e3 / FREQUENCY_UNITS["cm-1"]
"""cm⁻¹ of one oscillation per fs."""
CM2_PER_S_OF_A2_PER_FS = 0.1
"""cm²/s of 1 Å²/fs, a diffusion coefficient."""

KM_PER_MOL_OF_E2_PER_AMU = 974.8801
"""km/mol of 1 e²/amu, the squared derivative of a dipole by a normal coordinate: N_A e² / (12 ε0 c² amu)."""

KM_S_PER_THZ_A = 0.1
"""km/s of 1 THz Å, a slope of bands."""

COULOMB = HARTREE * BOHR
"""e^2/(4 pi eps0), eV Å."""

UNIT_EXAMPLES: dict[UnitKind, tuple[str, ...]] = {
    "energy": ("eV", "meV", "hartree", "rydberg", "kcal/mol", "kJ/mol"),
    "length": ("angstrom", "bohr", "nm"),
    "forces": ("eV/angstrom", "hartree/bohr", "rydberg/bohr", "kcal/mol/angstrom"),
    "stress": ("eV/angstrom^3", "GPa", "kbar", "hartree/bohr^3"),
}
"""Usual names, for messages."""


def unit_factor(name: str, kind: UnitKind) -> float:
    """eV, Å, eV/Å or eV/Å^3 of one unit; KeyError for a name that is none.

    Forces are an energy per length, stresses an energy per cubed length or a pressure; upper and lower case
    are the same.
    """
    text = name.strip().lower().replace(" ", "").replace("**", "^").replace("³", "^3")
    if kind == "energy":
        found = ENERGY_UNITS.get(text)
    elif kind == "length":
        found = LENGTH_UNITS.get(text)
    elif kind == "forces":
        found = _ratio(text, 1)
    else:
        cubed = text.removesuffix("3").removesuffix("^") if text.endswith("3") else ""
        found = PRESSURE_UNITS.get(text) or _ratio(cubed, 3)
    if found is None:
        raise KeyError(name)
    return found


def _ratio(text: str, power: int) -> float | None:
    energy, _, length = text.rpartition("/")
    if energy not in ENERGY_UNITS or length not in LENGTH_UNITS:
        return None
    return ENERGY_UNITS[energy] / float(LENGTH_UNITS[length] ** power)
