"""Errors of a model on labelled structures, in total and by group, and which atoms they sit on.

python examples/09_evaluate.py
"""

from importlib import resources

import numpy as np
from ase.io import read

from jmp_calc import evaluate

sample = resources.files("jmp_calc.samples") / "bpa3_sample.xyz.gz"
frames = read(str(sample), ":", format="extxyz")[4:24]  # without the isolated atoms

found = evaluate(frames, model="jmp-xs", head="wb97x-ani2x", group_by="formula")
print("\n".join(found.lines()))
print(f"force error {found.errors.forces_mae_mev_per_a:.0f} meV/Å (expect 60 to 160)")
print("jmp-xs was not trained on 3BPA; ten minutes of fine-tuning give 16 (README.md)")

predicted = found.predictions
lengths = np.linalg.norm(predicted.forces - predicted.forces_true, axis=1).reshape(len(frames), -1)
worst = lengths.mean(axis=0).argmax()
error = 1000 * lengths[:, worst].mean()
print(f"the atom with the largest mean error: {frames[0].symbols[worst]}{worst}, {error:.0f} meV/Å")
print([path.name for path in found.write("errors")])
print("the same as a map in a browser: found.write_chemiscope('errors') (extra view)")
