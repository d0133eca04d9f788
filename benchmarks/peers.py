"""Steps of NVE dynamics per second through ASE: jmp-xs against MACE of the published sizes, interleaved in
one run.

    python -m venv mace-env && mace-env/bin/pip install torch==2.13.0 mace-torch ase
    python benchmarks/peers.py --mace-python mace-env/bin/python
    python benchmarks/peers.py --mace-python mace-env/bin/python --rows small/Si64

Both programs run in processes and environments of their own, with the same structure, threads, time step and
precision (float32), and take turns: rounds of a few steps each, with a 2048³ matrix product before each
round. MACE has random
weights and 89 elements: "small" is 128x0e, "medium" 128x0e + 128x1o, two layers, 6 Å, as in MACE-MP-0. Writes
benchmarks/results/peers.yaml row by row.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results"
STEPS = {"ethanol": 40, "aspirin": 30, "Si64": 10, "water192": 4, "Cu256": 3, "Cu1008": 1}
"""Structures, and MD steps per round."""
HIDDEN = {"small": "128x0e", "medium": "128x0e + 128x1o"}
AIM = {"ethanol": 1.5, "aspirin": 1.5, "Si64": 3.0, "water192": 3.0, "Cu256": 3.0, "Cu1008": 3.0}


def main() -> None:
    """Run the rows that were asked for, or serve one program of a row."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    rows = [f"{size}/{name}" for size in HIDDEN for name in STEPS]
    parser.add_argument(
        "--mace-python", default=sys.executable, help="interpreter of the environment with mace-torch"
    )
    parser.add_argument(
        "--rows", nargs="*", choices=rows, default=[row for row in rows if row.startswith("small")]
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--serve", nargs=2, metavar=("PROGRAM", "STRUCTURE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(*args.serve, args.threads)
        return
    for row in args.rows:
        size, name = row.split("/")
        numbers = compare(size, name, args)
        write_row(args.results, row, numbers, args)
        print(
            f"{row:18s} jmp-xs {numbers['jmp_xs_ms']:8.1f} ms   MACE {numbers['mace_ms']:8.1f} ms   ratio "
            f"{numbers['ratio']:.2f}   (rate {numbers['rate_gflops']:.0f} GFLOP/s, aim {numbers['aim']})",
            flush=True,
        )


def compare(size: str, name: str, args: argparse.Namespace) -> dict[str, Any]:
    """Alternate rounds of both programs."""
    ours = Program([sys.executable], "jmp-xs", name, args.threads)
    theirs = Program([args.mace_python], size, name, args.threads)
    seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
    rates, ratios = [], []
    for number in range(args.rounds + 1):
        one, rate_one = ours.run(STEPS[name])
        other, rate_other = theirs.run(STEPS[name])
        if number == 0:
            continue
        seconds["ours"].append(one)
        seconds["theirs"].append(other)
        rates += [rate_one, rate_other]
        ratios.append(other * rate_other / (one * rate_one))
    ours.close()
    theirs.close()
    return {
        "jmp_xs_ms": 1e3 * statistics.median(seconds["ours"]),
        "mace_ms": 1e3 * statistics.median(seconds["theirs"]),
        "ratio": statistics.median(ratios),
        "rate_gflops": statistics.median(rates) / 1e9,
        "rounds": args.rounds,
        "steps_per_round": STEPS[name],
        "aim": AIM[name] if size == "small" else None,
    }


class Program:
    """A process that runs MD steps when told to."""

    def __init__(self, interpreter: list[str], program: str, structure: str, threads: int) -> None:
        command = [*interpreter, __file__, "--serve", program, structure, "--threads", str(threads)]
        # e3nn 0.4, which MACE needs, reads a file of constants of its own with a pickle that newer torch
        # refuses.
        environment = {**os.environ, "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"} if program in HIDDEN else None
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )

    def run(self, steps: int) -> tuple[float, float]:
        """Seconds per step of one round, and the rate of a matrix product just before it."""
        assert self.process.stdin is not None and self.process.stdout is not None
        print(steps, file=self.process.stdin, flush=True)
        for line in self.process.stdout:
            if line.startswith("{"):
                answer = json.loads(line)
                return answer["seconds"], answer["rate"]
        raise SystemExit("a program ended before its round")

    def close(self) -> None:
        """Let it end."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def serve(program: str, name: str, threads: int) -> None:
    """Answer every number of steps on stdin with their time, as JSON."""
    import torch
    from ase import units
    from ase.md.verlet import VelocityVerlet

    torch.set_num_threads(threads)
    sys.path.insert(0, str(HERE))
    from systems import structure

    atoms = structure(name)
    atoms.calc = our_calculator(atoms) if program == "jmp-xs" else mace_calculator(program)
    dynamics = VelocityVerlet(atoms, 0.5 * units.fs)
    left = torch.rand(2048, 2048)
    for line in sys.stdin:
        start = time.perf_counter()
        left @ left
        rate = 2 * 2048**3 / (time.perf_counter() - start)
        start = time.perf_counter()
        dynamics.run(int(line))
        print(json.dumps({"seconds": (time.perf_counter() - start) / int(line), "rate": rate}), flush=True)


def our_calculator(atoms: Any) -> Any:
    """jmp-xs with a head that knows the elements."""
    from systems import covering_head

    from jmp_calc import JMPCalculator

    return JMPCalculator("jmp-xs", head=covering_head("jmp-xs", atoms), device="cpu")


def mace_calculator(size: str) -> Any:
    """MACE as in MACE-MP-0, random weights."""
    import numpy as np
    import torch
    from e3nn import o3
    from mace import modules
    from mace.calculators import MACECalculator

    torch.manual_seed(0)
    torch.set_default_dtype(torch.float32)
    elements = list(range(1, 90))
    model = modules.ScaleShiftMACE(
        r_max=6.0,
        num_bessel=10,
        num_polynomial_cutoff=5,
        max_ell=3,
        num_interactions=2,
        num_elements=len(elements),
        interaction_cls=modules.interaction_classes["RealAgnosticResidualInteractionBlock"],
        interaction_cls_first=modules.interaction_classes["RealAgnosticResidualInteractionBlock"],
        hidden_irreps=o3.Irreps(HIDDEN[size]),
        MLP_irreps=o3.Irreps("16x0e"),
        gate=torch.nn.functional.silu,
        atomic_energies=np.zeros(len(elements)),
        avg_num_neighbors=60.0,
        atomic_numbers=elements,
        correlation=3,
        radial_type="bessel",
        atomic_inter_scale=0.01,
        atomic_inter_shift=0.0,
    )
    return MACECalculator(models=[model], device="cpu", default_dtype="float32")


def write_row(folder: Path, row: str, numbers: dict[str, Any], args: argparse.Namespace) -> None:
    """Add one row to peers.yaml."""
    import yaml

    path = folder / "peers.yaml"
    rows = (yaml.safe_load(path.read_text()) or {}).get("rows", {}) if path.exists() else {}
    rows[row] = {
        key: float(f"{value:.4g}") if isinstance(value, float) else value for key, value in numbers.items()
    }
    content = {
        "what": "milliseconds per NVE step through ASE, float32; ratio > 1: jmp-xs is faster; benchmarks/peers.py",
        "threads": args.threads,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "rows": rows,
    }
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=110))


if __name__ == "__main__":
    main()
