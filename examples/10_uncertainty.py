"""How sure is the model? The deviation of the energy grows where the training data end.

python examples/10_uncertainty.py
"""

import numpy as np
from ase.build import molecule

from jmp_calc import JMPCalculator

calc = JMPCalculator("jmp-xs", uncertainty="last-layer")
stds = {}
for stretch in (1.0, 1.2, 1.5):
    ethanol = molecule("CH3CH2OH")
    ethanol.positions *= stretch
    ethanol.calc = calc
    ethanol.get_potential_energy()
    stds[stretch] = 1000 * calc.results["energy_std"] / len(ethanol)
    print(f"ethanol, all lengths times {stretch}: {stds[stretch]:.1f} meV/atom")
print(f"ratio of stretched to relaxed {stds[1.5] / stds[1.0]:.1f} (expect 1.5 to 1000)")

ethanol = molecule("CH3CH2OH")
forces_std = calc.get_property("forces_std", ethanol)
print(f"mean deviation of a force component {1000 * np.mean(forces_std):.0f} meV/Å (expect 5 to 500)")
print("md(..., max_uncertainty_mev=50) stops where it is larger; docs/uncertainty.md says how it is scaled")
