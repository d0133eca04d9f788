"""The barrier of the inversion of ammonia, by a nudged elastic band.

python examples/07_barrier.py
"""

from ase.build import molecule

from jmp_calc import JMPCalculator, neb, relax

ammonia = molecule("NH3")
ammonia.calc = JMPCalculator("jmp-xs")
initial = relax(ammonia, fmax=0.02).atoms
final = initial.copy()
final.positions[:, 2] *= -1  # the mirror image: the same molecule, inside out
final.calc = JMPCalculator("jmp-xs")

path = neb(initial, final, images=5, interpolation="linear")
print(path)
print(f"barrier {path.barrier_ev:.3f} eV (expect 0.05 to 0.6; experiment 0.25)")
print(f"difference of the two ends {abs(path.reaction_ev):.5f} eV (expect 0 to 0.001)")
angles = [path.images[path.saddle].get_angle(1, 0, 2), path.images[path.saddle].get_angle(2, 0, 3)]
print(f"H-N-H at the saddle {sum(angles) / 2:.1f} degrees (expect 117 to 121: it is flat)")
print("more: path.images, path.energies_ev, path.write('folder')")
