"""Fine-tune jmp-xs on labelled structures: 40 frames of the shipped sample (3BPA, wB97X), two passes.

    python examples/08_finetune.py

A real run takes more frames, and epochs=20 or max_time=600; `make demo` is one.
"""

from importlib import resources

from ase.io import read, write

from jmp_calc import JMPCalculator, finetune

sample = resources.files("jmp_calc.samples") / "bpa3_sample.xyz.gz"
frames = read(str(sample), ":", format="extxyz")
atoms, molecules = frames[:4], frames[4:]  # the four isolated atoms set the zero of energy
write("train.extxyz", [*atoms, *molecules[:40]])
write("test.extxyz", molecules[-10:])

found = finetune("train.extxyz", test="test.extxyz", epochs=2, batch_size=4, out="run")
assert found.test is not None and found.test_before is not None
before, after = found.test_before.forces_mae_mev_per_a, found.test.forces_mae_mev_per_a
print(f"before: {found.test_before}")
print(f"after:  {found.test}")
print(f"force error before {before:.0f} meV/Å (expect 40 to 150)")
print(f"ratio of the force errors after and before {after / before:.2f} (expect 0.1 to 0.95)")

molecule = molecules[-1].copy()
molecule.calc = JMPCalculator(found.best)
dft = molecules[-1].get_potential_energy()
print(
    f"an unseen frame, DFT {dft:.2f} eV; error of its energy {molecule.get_potential_energy() - dft:.2f} eV"
)
print("model: run/best.safetensors; report: run/report.yaml")
