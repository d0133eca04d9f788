"""``jmp_calc.estimate`` against what is measured: time and peak memory of energy and forces, row by row.

    python benchmarks/estimates.py                        all rows, each in a process of its own
    python benchmarks/estimates.py --rows jmp-s/aspirin   one row
    python benchmarks/estimates.py --fit                  constants of jmp_calc/inference/estimate.py from the recorded rows

The estimate's probes and warm calls with moved atoms take turns; medians. Memory: what the process has at its
peak during the first call, beyond what it had before. ratio = estimated / measured. Writes
benchmarks/results/estimates.yaml.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import asdict, fields
from typing import Any

from row_programs import measured_rows, measuring_parser, parsed, with_networks
from rows import peak_bytes, read_rows
from speed import loaded, prepare, timed

CALLS = {
    "jmp-xs/ethanol": 20, "jmp-xs/aspirin": 20, "jmp-xs/ac-ala5-nhme": 10, "jmp-xs/Si64": 10,
    "jmp-xs/water192": 6,
    "jmp-xs/Cu256": 6, "jmp-s/ethanol": 10, "jmp-s/aspirin": 6, "jmp-s/ac-ala5-nhme": 4, "jmp-s/Si64": 4,
    "jmp-s/water192": 3, "jmp-s/Cu256": 3, "jmp-l/aspirin": 3,
}  # fmt: skip
"""Rows, and the number of timed calls."""
WHAT = "estimated and measured time and memory of energy and forces, float32; benchmarks/estimates.py"


def main() -> None:
    """Measure the rows that were asked for, or fit."""
    parser = with_networks(measuring_parser(__doc__, list(CALLS)))
    parser.add_argument("--fit", action="store_true", help="measure nothing, print the best constants")
    args = parsed(parser, measure)
    path = args.results / "estimates.yaml"
    if args.fit:
        fit(read_rows(path))
        return
    for name, numbers in measured_rows(
        __file__,
        args.rows,
        path,
        "--work",
        str(args.work),
        threads=args.threads,
        what=WHAT,
        order=list(CALLS),
        prepare=lambda name: prepare(name, args.work),
    ):
        print(
            f"{name:20s} {numbers['seconds'] * 1e3:9.1f} ms, estimated "
            f"{numbers['estimated_seconds'] * 1e3:9.1f}, ratio "
            f"{numbers['time_ratio']:.2f}   memory {numbers['call_gb']:.3f} GB, estimated "
            f"{numbers['estimated_gb']:.3f}, "
            f"ratio {numbers['memory_ratio']:.2f}",
            flush=True,
        )


def measure(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """One row."""
    import torch

    torch.set_num_threads(args.threads)
    from jmp_calc.inference.estimate import Work
    from jmp_calc.inference.memory import estimated_bytes
    from jmp_calc.machine.speed import Machine, probe_machine
    from jmp_calc.model.cost import GraphCounts

    atoms = loaded(name, args.work)
    config = atoms.calc.model_config
    counts = GraphCounts.of(atoms.calc.build_graph(atoms))
    peak, before = peak_bytes(atoms.get_forces)
    estimated = estimated_bytes(config, counts, 4)
    times, probes = [], []
    for number in range(CALLS[name] + 1):
        probes.append(probe_machine(torch.device("cpu"), torch.float32, repeats=1))
        atoms.rattle(0.001, seed=number)
        times.append(timed(atoms.get_forces))
    seconds = statistics.median(times[1:])
    machine = Machine(
        *(statistics.median(getattr(probe, field.name) for probe in probes[1:]) for field in fields(Machine))
    )
    work = Work.of(config.backbone, config.heads[0], counts, "float32")
    return {
        "atoms": counts.atoms,
        "main_edges": counts.main,
        "seconds": seconds,
        "estimated_seconds": work.seconds(machine),
        "time_ratio": work.seconds(machine) / seconds,
        "call_gb": (peak - before) / 1e9,
        "estimated_gb": estimated / 1e9,
        "memory_ratio": estimated / (peak - before),
        "calls": CALLS[name],
        "terms_s": list(work.times(machine)),
        "machine": asdict(machine),
    }


def fit(rows: dict[str, dict[str, Any]]) -> None:
    """Least squares of the relative errors, no constant below zero; dense products are held at the probe's
    rate."""
    import numpy as np
    from scipy.optimize import nnls

    from jmp_calc.inference.estimate import TimeConstants

    seconds = np.array([row["seconds"] for row in rows.values()])
    shares = np.array([row["terms_s"] for row in rows.values()]) / seconds[:, None]
    found, _ = nnls(shares[:, 1:], 1.0 - shares[:, 0])
    best = TimeConstants(1.0, *found.tolist())
    print(", ".join(f"{key}={value:.3g}" for key, value in asdict(best).items()))
    for name, ratio in zip(rows, shares @ [1.0, *found]):
        print(f"{name:20s} estimated / measured {ratio:.2f}")


if __name__ == "__main__":
    main()
