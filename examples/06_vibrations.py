"""Vibrations and thermochemistry of water, by automatic differentiation and by differences of forces.

python examples/06_vibrations.py
"""

import numpy as np
from ase.build import molecule

from jmp_calc import JMPCalculator, vib

water = molecule("H2O")
water.calc = JMPCalculator("jmp-xs", dtype="float64")
found = vib(water, temperatures="298.15 500")
print(found)
for frequency, name in zip(found.frequencies_cm1, ("bend", "symmetric stretch", "antisymmetric stretch")):
    print(f"{name}: {frequency:.0f} cm-1 (expect 1000 to 4500)")
print(f"zero-point energy {found.zero_point_ev:.3f} eV (expect 0.45 to 0.65)")
print(f"symmetry number {found.symmetry_number} (expect 2 to 2)")
for thermo in found.thermo:
    print(f"free energy at {thermo.temperature_k:g} K: {thermo.free_energy_ev:.3f} eV")

finite = vib(water, method="finite", displacement=0.002)
difference = np.abs(finite.frequencies_cm1 - found.frequencies_cm1).max()
print(f"largest difference of the two ways {difference:.2f} cm-1 (expect 0 to 5)")
