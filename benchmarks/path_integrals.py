"""Path integrals of ethanol in i-PI: 16 beads in one batch against one by one, jmp-xs, float32, one thread.

    python benchmarks/path_integrals.py        # needs i-PI: pip install "jmp-calc[ipi]"

Two simulations with the same input but for ``batch_size`` take turns. Seconds are those of this process on
its core; a busy machine still makes small evaluations slower than large ones, so that its load is written
too. Writes benchmarks/results/path_integrals.yaml.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import yaml
from ase.build import molecule
from ase.io import write
from ipi.scripting import InteractiveSimulation

import jmp_calc.engines

RESULTS = Path(__file__).parent / "results" / "path_integrals.yaml"
INPUT = Path(__file__).parents[1] / "examples" / "23_path_integrals.xml"
DRIVER = Path(jmp_calc.engines.__path__[0]) / "ipi_driver.py"


def simulation(batch_size: int) -> InteractiveSimulation:
    """The example's simulation in this process; the structure is in the current folder."""
    text = INPUT.read_text().replace("DRIVER", str(DRIVER)).replace("STEPS", "100000")
    return InteractiveSimulation(
        text.replace("<batch_size> 16 </batch_size>", f"<batch_size> {batch_size} </batch_size>")
    )


def main() -> None:
    """Run in turns, compare, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--steps", type=int, default=10, help="of a round")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        write("ethanol.xyz", molecule("CH3CH2OH", cell=[30, 30, 30], pbc=False), format="extxyz")
        runs = {"batch": simulation(16), "one_by_one": simulation(1)}
        seconds: dict[str, list[float]] = {name: [] for name in runs}
        for number in range(args.rounds + 1):
            for name, run in runs.items():
                start = time.process_time()
                run.run(args.steps, write_outputs=False)
                if number:  # the first round warms up
                    seconds[name].append((time.process_time() - start) / args.steps)
        beads = {name: np.array(run.syslist[0].beads.q) for name, run in runs.items()}
        os.chdir("/")
    content = {
        "what": "PIMD of ethanol in i-PI, 16 beads, jmp-xs, float32; benchmarks/path_integrals.py",
        "threads": 1,
        "machine": platform.machine(),
        "load_average": round(os.getloadavg()[0]),
        "batch_s_per_step": round(statistics.median(seconds["batch"]), 4),
        "one_by_one_s_per_step": round(statistics.median(seconds["one_by_one"]), 4),
        "ratio": round(
            statistics.median(
                single / batch for single, batch in zip(seconds["one_by_one"], seconds["batch"])
            ),
            2,
        ),
        "steps": args.steps * args.rounds,
        "largest_difference_of_positions_bohr": float(
            f"{np.abs(beads['batch'] - beads['one_by_one']).max():.1e}"
        ),
    }
    RESULTS.write_text(yaml.safe_dump(content, sort_keys=False, width=110))
    print(RESULTS.read_text())


if __name__ == "__main__":
    main()
