"""One round of active learning: which structures of a pool are worth a label? The teacher here is the sample.

python examples/11_active_learning.py
"""

from importlib import resources

from ase.io import read, write

from jmp_calc import JMPCalculator, select

sample = resources.files("jmp_calc.samples") / "bpa3_sample.xyz.gz"
molecules = read(str(sample), ":", format="extxyz")[4:64]
known, pool = molecules[:20], [atoms.copy() for atoms in molecules[20:]]  # the pool has no labels
pool.append(known[0].copy())  # a copy of what is known

picked = select(pool, calc=JMPCalculator("jmp-xs", uncertainty="last-layer"), n=5, known=known)
print(picked)
for number, reason in picked.left_out.items():
    print(f"left out: {number}, {reason}")
print(f"structures picked {len(picked.picked)} (expect 5 to 5)")
print(f"share of the variance left after the last pick {picked.left[-1]:.2f} (expect 0 to 1)")
print(f"first pick, counted in the pool: {picked.picked[0]} (expect 0 to 39)")

labelled = [molecules[20 + number] for number in picked.picked]  # your teacher computes these: jmp-calc label
write("next.extxyz", [*known, *labelled])
print('then: finetune("next.extxyz"), dynamics with the new model for the next pool, and again')
