"""Phonons of silicon: bands, thermal properties and files that phonopy reads.

python examples/04_phonons.py
"""

import numpy as np
from ase.build import bulk

from jmp_calc import JMPCalculator, phonons, relax

silicon = bulk("Si")
silicon.calc = JMPCalculator("jmp-xs", head="pbe", dtype="float64")
cell = relax(silicon, cell="full", fmax=1e-4, fix_symmetry=True).atoms
found = phonons(cell, supercell="3 3 3", out="silicon")
print(found)

at_gamma = found.frequencies_thz[np.abs(found.qpoints).max(axis=1) < 1e-8]
print(f"optical mode at Γ {at_gamma.max():.1f} THz (expect 12 to 17; experiment 15.5)")
print(f"lowest frequency {found.lowest_thz:.3f} THz (expect -0.1 to 0.1): no imaginary modes")
at_300 = np.abs(found.thermal["temperatures"] - 300).argmin()
capacity = found.thermal["heat_capacity"][at_300]
print(f"heat capacity at 300 K, two atoms: {capacity:.1f} J/K/mol (expect 36 to 46; experiment 39.8)")
print("files and pictures: silicon/")
