"""Relax a molecule, a crystal with its cell, and many molecules side by side.

python examples/02_relax.py
"""

from ase.build import bulk, molecule

from jmp_calc import JMPCalculator, relax, relax_many

ethanol = molecule("CH3CH2OH")
ethanol.rattle(0.05, seed=1)
ethanol.calc = JMPCalculator("jmp-xs")
found = relax(ethanol, fmax=0.01)
print(found)
print(f"O-H bond of ethanol {found.atoms.get_distance(2, 3):.3f} Å (expect 0.93 to 1.00)")

silicon = bulk("Si", a=5.6)
silicon.calc = JMPCalculator("jmp-xs", head="pbe", dtype="float64")
cell = relax(silicon, cell="full", fmax=1e-3, fix_symmetry=True)
constant = (4 * cell.atoms.get_volume()) ** (1 / 3)
print(f"lattice constant of silicon {constant:.3f} Å (expect 5.40 to 5.55)")
print(f"space group before and after: {cell.space_groups}")

molecules = [molecule(name) for name in ("CH4", "NH3", "H2O", "CH3OH")]
many = relax_many(molecules, calc=JMPCalculator("jmp-xs"), out="relaxed", fmax=0.02)
print(many)
print("structures, energies and steps: relaxed/")
