"""OpenMM on jmp-xs: a molecule by the model, then a water by the model among waters of a force field.

pip install "jmp-calc[openmm]"
python examples/21_openmm.py
"""

from ase.build import molecule
from ase.units import kJ, mol
from openmm import LangevinMiddleIntegrator, Vec3, app, unit
from openmmml import MLPotential

from jmp_calc import JMPCalculator

ethanol, head = molecule("CH3CH2OH"), "wb97x-ani2x"
topology = app.Topology()
residue = topology.addResidue("ETH", topology.addChain())
for symbol in ethanol.symbols:
    topology.addAtom(symbol, app.Element.getBySymbol(symbol), residue)

system = MLPotential("jmp-xs").createSystem(topology, head=head, dtype="float64")
integrator = LangevinMiddleIntegrator(300 * unit.kelvin, 10 / unit.picosecond, 0.5 * unit.femtosecond)
simulation = app.Simulation(topology, system, integrator)
simulation.context.setPositions(ethanol.positions / 10)
energy = simulation.context.getState(energy=True).getPotentialEnergy()
found = energy.value_in_unit(unit.kilojoule_per_mole) * kJ / mol
expected = JMPCalculator("jmp-xs", head=head, dtype="float64").get_potential_energy(ethanol)
print(f"energy less that of ASE {1e6 * (found - expected):.3f} µeV (expect -1 to 1)")
simulation.context.setVelocitiesToTemperature(300 * unit.kelvin, 1)
simulation.step(200)
after = simulation.context.getState(energy=True).getPotentialEnergy()
print(
    f"above the start after 0.1 ps at 300 K: {(after - energy)._value * kJ / mol:.2f} eV (expect -0.5 to 1.5)"
)

water = app.Modeller(app.Topology(), [])
field = app.ForceField("amber14/tip3pfb.xml")
water.addSolvent(field, boxSize=Vec3(2, 2, 2) * unit.nanometer)
options = {"nonbondedMethod": app.PME, "nonbondedCutoff": 0.9 * unit.nanometer, "rigidWater": True}
force_field = field.createSystem(water.topology, **options)
chosen = [atom.index for atom in next(water.topology.residues()).atoms()]
mixed = MLPotential("jmp-xs").createMixedSystem(water.topology, force_field, chosen, head=head)
integrator = LangevinMiddleIntegrator(300 * unit.kelvin, 5 / unit.picosecond, 0.5 * unit.femtosecond)
simulation = app.Simulation(water.topology, mixed, integrator)
simulation.context.setPositions(water.positions)
simulation.context.setVelocitiesToTemperature(300 * unit.kelvin, 1)
simulation.step(50)
total = water.topology.getNumAtoms()
print(f"atoms of the box {total} (expect 600 to 900), of which by the model: {len(chosen)}")
