"""Can a model be believed? The physics that every potential must obey, on jmp-xs.

python examples/14_check.py
"""

from jmp_calc import JMPCalculator, check

found = check(JMPCalculator("jmp-xs", dtype="float64"), only=["forces", "rotation", "permutation", "batch"])
print(found)
for verdict in found.verdicts:
    print(f"{verdict.status:<15} {verdict.title}")
print(f"checks that failed {len(found.failed)} (expect 0 to 0)")
print("all of them: jmp-calc check -m jmp-xs; any ASE calculator works")
