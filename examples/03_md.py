"""Dynamics: does a free molecule keep its energy, and does a thermostat keep the temperature?

python examples/03_md.py
"""

from ase.build import molecule

from jmp_calc import JMPCalculator, md, relax

atoms = molecule("CH3CH2OH")
atoms.calc = JMPCalculator("jmp-xs")
start = relax(atoms).atoms

nve = md(start, ensemble="nve", temperature_k=300, timestep_fs=0.5, steps=100, seed=1)
print(nve)
energy = nve.stats[:, nve.columns.index("etot_eV")]
print(f"spread of the total energy {1000 * energy.std() / len(atoms):.3f} meV/atom (expect 0 to 1)")

nvt = md(start, ensemble="nvt", temperature_k=300, friction_per_ps=50, timestep_fs=1.0, steps=150, seed=1)
temperature = nvt.stats[len(nvt.stats) // 3 :, nvt.columns.index("temperature_K")]
print(nvt)
print(f"mean temperature {temperature.mean():.0f} K (expect 150 to 450)")
print("so wide because nine atoms for 0.1 ps are few; frames: nvt.atoms, nvt.trajectory")
