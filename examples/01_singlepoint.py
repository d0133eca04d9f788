"""Energy, forces and stress: a molecule, a crystal, and several structures in one batch.

python examples/01_singlepoint.py
"""

import numpy as np
from ase.build import bulk, molecule

from jmp_calc import JMPCalculator

calc = JMPCalculator("jmp-xs")  # a name, a file of ours, or a published .pt checkpoint

ethanol = molecule("CH3CH2OH")
ethanol.calc = calc
print(f"energy {ethanol.get_potential_energy():.3f} eV, head {calc.info.head}")
print(f"largest force on ethanol {np.abs(ethanol.get_forces()).max():.3f} eV/Å (expect 0 to 1)")
print(f"sum of its forces {np.abs(ethanol.get_forces().sum(axis=0)).max():.6f} eV/Å (expect 0 to 0.0001)")

silicon = bulk("Si", a=5.43)
silicon.calc = JMPCalculator("jmp-xs", head="pbe")
pressure = -silicon.get_stress()[:3].mean() * 160.2177  # eV/Å³ to GPa
print(f"pressure of silicon at the experimental lattice constant {pressure:.2f} GPa (expect -5 to 5)")

molecules = [molecule(name) for name in ("H2O", "CH4", "NH3", "CH3OH")]
results = calc.batch(molecules)
print("energies in one batch, eV:", *(f"{result['energy']:.3f}" for result in results))
single = calc.get_potential_energy(molecules[1])
print(f"difference from one by one {abs(results[1]['energy'] - single):.6f} eV (expect 0 to 0.0001)")
