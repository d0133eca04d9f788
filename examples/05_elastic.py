"""Equation of state and elastic constants of silicon, by two ways to the bulk modulus.

python examples/05_elastic.py
"""

from ase.build import bulk

from jmp_calc import JMPCalculator, elastic, eos, relax

silicon = bulk("Si")
silicon.calc = JMPCalculator("jmp-xs", head="pbe", dtype="float64")
cell = relax(silicon, cell="full", fmax=1e-4, fix_symmetry=True).atoms

curve = eos(cell)
print(curve)
constants = elastic(cell)
print(constants)

from_curve, from_strain = curve.fit.bulk_modulus_gpa, constants.tensor.hill.bulk_gpa
print(f"bulk modulus from energies {from_curve:.1f} GPa (expect 60 to 130; experiment 98)")
print(f"ratio of the bulk modulus from stresses to it {from_strain / from_curve:.3f} (expect 0.9 to 1.1)")
clamped, relaxed = (one.constants_gpa[3, 3] for one in (constants.clamped, constants.relaxed))
print(f"share of C44 that is left when ions relax {relaxed / clamped:.2f} (expect 0.4 to 1.0)")
