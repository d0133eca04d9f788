"""Path integrals of ethanol with i-PI: 16 beads, their forces from jmp-xs in one batch.

    pip install "jmp-calc[ipi]"
    python examples/23_path_integrals.py --steps 400

Expect: a conserved energy within 2 meV per atom of its start, and a quantum kinetic energy of about 1.2 eV,
where classical nuclei at 300 K have 27/2 kT = 0.35 eV: the difference is zero-point motion. Beads start at
one place, so that the first 10 fs are on the way there.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from ase.build import molecule
from ase.io import write
from ase.units import kB

import jmp_calc.engines

INPUT = Path(__file__).with_suffix(".xml")
DRIVER = Path(jmp_calc.engines.__path__[0]) / "ipi_driver.py"


def main() -> None:
    """Fill in the input, run i-PI, tell what came out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=40, help="of 0.25 fs")
    parser.add_argument("--out", type=Path, default=Path("path_integrals"), help="folder")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    atoms = molecule("CH3CH2OH", cell=[30, 30, 30], pbc=False)  # i-PI wants a cell; pbc=False: it is not read
    write(args.out / "ethanol.xyz", atoms, format="extxyz")
    text = INPUT.read_text().replace("DRIVER", str(DRIVER)).replace("STEPS", str(args.steps))
    (args.out / "input.xml").write_text(text)
    started = time.perf_counter()
    program = Path(sys.executable).with_name("i-pi")
    subprocess.run([sys.executable, program, "input.xml"], cwd=args.out, check=True)
    print(f"{args.steps} steps of 16 beads in {time.perf_counter() - started:.0f} s, start included")
    _, _, conserved, _, kinetic, _ = np.loadtxt(args.out / "ethanol.out", unpack=True)
    drift = 1000 * np.ptp(conserved) / len(atoms)
    print(f"conserved energy: within {drift:.2f} meV per atom")
    print(f"quantum kinetic energy: {kinetic[len(kinetic) // 2 :].mean():.2f} eV (mean of the second half)")
    print(f"classical kinetic energy at 300 K: {1.5 * len(atoms) * kB * 300:.2f} eV")


if __name__ == "__main__":
    main()
