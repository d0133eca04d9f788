"""calc.batch against single calls: 64 molecules of 5 to 50 atoms from spice_mini, jmp-xs, two threads.

    python benchmarks/batch.py

Rounds of single calls and of one batch call take turns. Also the largest difference of energies and forces in
float64, in another order. Writes benchmarks/results/batch.yaml.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from pathlib import Path

import numpy as np
import torch
import yaml
from ase import Atoms
from ase.io import read
from folders import add_data_option

from jmp_calc import JMPCalculator

RESULTS = Path(__file__).parent / "results"
HEAD = "wb97m-d3"


def molecules(data: Path) -> list[Atoms]:
    """64 neutral molecules that the head covers, spread over the file."""
    import gzip
    import io

    text = gzip.decompress((data / "spice_mini_train.xyz.gz").read_bytes()).decode()
    found = [
        a
        for a in read(io.StringIO(text), index=":", format="extxyz")
        if 5 <= len(a) <= 50 and not a.info.get("charge")
    ]
    chosen = [found[i] for i in np.linspace(0, len(found) - 1, 64).astype(int)]
    return [Atoms(a.numbers, a.positions) for a in chosen]


def main() -> None:
    """Time, compare, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_data_option(parser)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    torch.set_num_threads(2)
    structures = molecules(args.data)
    calculator = JMPCalculator("jmp-xs", head=HEAD, device="cpu")
    seconds: dict[str, list[float]] = {"single": [], "batch": []}
    for number in range(args.rounds + 1):
        start = time.perf_counter()
        for atoms in structures:
            calculator.calculate(atoms, ["energy", "forces"])
        middle = time.perf_counter()
        calculator.batch(structures)
        if number:
            seconds["single"].append(middle - start)
            seconds["batch"].append(time.perf_counter() - middle)
    ratios = [single / batch for single, batch in zip(seconds["single"], seconds["batch"])]
    exact = JMPCalculator("jmp-xs", head=HEAD, device="cpu", dtype="float64")
    order = np.random.default_rng(0).permutation(len(structures))
    together = exact.batch([structures[i] for i in order])
    difference = 0.0
    for number, found in zip(order, together):
        exact.calculate(structures[number], ["energy", "forces"])
        difference = max(
            difference,
            abs(found["energy"] - exact.results["energy"]),
            np.abs(found["forces"] - exact.results["forces"]).max(),
        )
    content = {
        "what": "64 molecules of spice_mini, energy and forces, jmp-xs; benchmarks/batch.py",
        "threads": 2,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "atoms": [len(a) for a in structures],
        "single_s": round(statistics.median(seconds["single"]), 3),
        "batch_s": round(statistics.median(seconds["batch"]), 3),
        "ratio": round(statistics.median(ratios), 3),
        "largest_difference_float64": float(f"{difference:.2g}"),
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "batch.yaml").write_text(
        yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=110)
    )
    print({key: value for key, value in content.items() if key != "atoms"})


if __name__ == "__main__":
    main()
