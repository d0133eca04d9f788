"""What the network knows of structures, as numbers: find the odd one out of a data set.

python examples/13_descriptors.py
"""

from importlib import resources

import numpy as np
from ase.io import read

from jmp_calc import JMPCalculator

sample = resources.files("jmp_calc.samples") / "bpa3_sample.xyz.gz"
frames = read(str(sample), ":", format="extxyz")[4:34]
odd = frames[7].copy()
odd.positions[3] += [0.5, 0.0, 0.0]  # one atom of 27 in a wrong place
frames[7] = odd

found = JMPCalculator("jmp-xs").descriptors(frames)
features = found.per_atom.reshape(len(frames), 27, -1)
print(f"features of an atom {features.shape[-1]} (expect 32 to 512)")
distance = np.linalg.norm(features - np.median(features, axis=0), axis=-1).max(axis=1)
print(f"the odd frame is {distance.argmax()} (expect 7 to 7)")
print(f"its distance against the next {distance.max() / np.sort(distance)[-2]:.1f} (expect 1.1 to 100)")
print("a map of structures and atoms in a browser: jmp-calc descriptors FILE --chemiscope (extra view)")
