"""Energy and conservative forces through JMPCalculator: time as a share of the machine's matrix rate, and
peak memory.

    python benchmarks/speed.py                        all rows, each in a process of its own
    python benchmarks/speed.py --rows jmp-s/aspirin   one row
    python benchmarks/speed.py --options '{"compile": true}' --rows jmp-s/aspirin      a row of its own

Rate: 2 · 2048³ / t of a float32 product on the same threads, timed between the calls. Dense work: the linear
    layers of the energy and its derivative (jmp_calc/model/cost.py). share = dense work / (time · rate). Peak
    memory is that of the whole process, imports, file and the probe's 48 MB included. Warm calls with moved
    atoms; jmp-s and jmp-l have random weights. Writes benchmarks/results/speed.yaml, one row after the other.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from row_programs import (
    measured_rows,
    measuring_parser,
    parsed,
    suffix,
    with_calculator_options,
    with_networks,
)

WHAT = "energy and conservative forces, warm, float32; benchmarks/speed.py"
ROWS = {
    "jmp-xs/ethanol": 40, "jmp-xs/aspirin": 40, "jmp-xs/ac-ala5-nhme": 20, "jmp-xs/Si64": 20,
    "jmp-xs/water192": 8,
    "jmp-xs/Cu256": 6, "jmp-xs/Cu1008": 4, "jmp-s/ethanol": 10, "jmp-s/aspirin": 10, "jmp-s/ac-ala5-nhme": 6,
    "jmp-s/Si64": 6, "jmp-l/aspirin": 6, "jmp-l/ac-ala5-nhme": 4,
}  # fmt: skip
"""Model and structure, and the number of timed calls."""
CUTOFF = {"Si64": 12.0}
"""Å of the official graphs; 8 Å for the molecules. jmp-xs has its own graphs."""


def main() -> None:
    """Measure the rows that were asked for."""
    args = parsed(with_calculator_options(with_networks(measuring_parser(__doc__, list(ROWS)))), measure)
    for name, numbers in measured_rows(
        __file__,
        args.rows,
        args.results / "speed.yaml",
        "--work",
        str(args.work),
        "--options",
        json.dumps(args.options),
        threads=args.threads,
        what=WHAT,
        order=list(ROWS),
        prepare=lambda name: prepare(name, args.work),
        suffix=suffix(args.options),
    ):
        print(
            f"{name:22s} {numbers['seconds'] * 1e3:9.1f} ms   rate {numbers['rate_gflops']:6.1f} GFLOP/s   "
            "dense "
            f"{numbers['dense_gflop']:8.2f} GFLOP   share {numbers['share_of_rate']:.3f}   "
            f"{numbers['peak_gb']:.2f} GB",
            flush=True,
        )


def prepare(name: str, work: Path) -> None:
    """Write the file with random weights in a process whose memory does not count."""
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); from pathlib import Path; "
        f"from systems import network; network({name.split('/')[0]!r}, Path({str(work)!r}))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def measure(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """One row: interleaved probe and calls."""
    import torch

    torch.set_num_threads(args.threads)
    from jmp_calc.model.cost import GraphCounts, dense_flops

    atoms = loaded(name, args.work, **args.options)
    config = atoms.calc.model_config
    counts = GraphCounts.of(atoms.calc.build_graph(atoms))
    dense = dense_flops(config.backbone, config.heads[0], counts)
    atoms.get_forces()
    times, rates = rated_calls(atoms, ROWS[name])
    shares = [dense / (seconds * rate) for seconds, rate in zip(times, rates)]
    return {
        "atoms": len(atoms),
        "main_edges": counts.main,
        "seconds": statistics.median(times),
        "rate_gflops": statistics.median(rates) / 1e9,
        "dense_gflop": dense / 1e9,
        "share_of_rate": round(statistics.median(shares), 4),
        "calls": len(times),
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
    }


def loaded(name: str, work: Path, **options: Any) -> Any:
    """The structure of a row with its calculator (and further options of it) attached."""
    sys.path.insert(0, str(Path(__file__).parent))
    from systems import covering_head, network, structure

    from jmp_calc import JMPCalculator

    model, system = name.split("/")
    atoms = structure(system)
    cutoff = None if model == "jmp-xs" else CUTOFF.get(system, 8.0)
    path = network(model, work)
    atoms.calc = JMPCalculator(path, **{"cutoff": cutoff, "head": covering_head(path, atoms), **options})
    return atoms


def rated_calls(atoms: Any, calls: int) -> tuple[list[float], list[float]]:
    """Seconds of energy and forces with moved atoms, and before each the FLOP/s of a product; a first pair is
    left out."""
    import torch

    left = torch.rand(2048, 2048)
    times, rates = [], []
    for number in range(calls + 1):
        rates.append(2 * 2048**3 / timed(lambda: left @ left))
        atoms.rattle(0.001, seed=number)
        times.append(timed(atoms.get_forces))
    return times[1:], rates[1:]


def timed(call: Any) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
