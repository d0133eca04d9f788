"""Time and memory of jmp-xs against the number of atoms: copper cells of 500 to 8000 atoms, energy and forces
with stress.

    python benchmarks/scaling.py                      all rows, each in a process of its own
    python benchmarks/scaling.py --rows Cu500 Cu1000  some
    python benchmarks/scaling.py --plot               only slopes and figure

Products of 2048³ and warm calls with moved atoms take turns: products = seconds · rate / GFLOP, which does
not depend on how fast the machine is at the moment. Slopes: least squares of log(products) and log(memory of
the first call) over log(atoms). Writes benchmarks/results/scaling.yaml row by row, and scaling.svg.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from typing import Any

from row_programs import measured_rows, measuring_parser, parsed
from rows import peak_bytes, read_rows
from speed import loaded, rated_calls

CALLS = {"Cu500": 5, "Cu1000": 4, "Cu2000": 3, "Cu4000": 2, "Cu8000": 2}
"""Structures, and the number of timed calls."""
WHAT = "energy, forces and stress of copper cells, jmp-xs, float32; benchmarks/scaling.py"


def main() -> None:
    """Measure the rows that were asked for, then plot all."""
    parser = measuring_parser(__doc__, list(CALLS))
    parser.add_argument("--plot", action="store_true", help="measure nothing")
    args = parsed(parser, measure)
    path = args.results / "scaling.yaml"
    names = [] if args.plot else args.rows
    for name, numbers in measured_rows(
        __file__, names, path, threads=args.threads, what=WHAT, order=list(CALLS)
    ):
        print(
            f"{name:8s} {numbers['seconds']:8.3f} s   rate {numbers['rate_gflops']:6.1f} GFLOP/s   products "
            f"{numbers['products']:8.1f}   memory of a call {numbers['call_gb']:.3f} GB",
            flush=True,
        )
    plot(read_rows(path), args.results / "scaling.svg")


def measure(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """One row: memory of the first call, time of the others."""
    import torch

    torch.set_num_threads(args.threads)
    atoms = loaded(f"jmp-xs/{name}", Path())
    edges = atoms.calc.build_graph(atoms).n_edges
    peak, before = peak_bytes(atoms.get_forces)
    times, rates = rated_calls(atoms, CALLS[name])
    products = [seconds * rate / 1e9 for seconds, rate in zip(times, rates)]
    return {
        "atoms": len(atoms),
        "main_edges": edges,
        "seconds": statistics.median(times),
        "rate_gflops": statistics.median(rates) / 1e9,
        "products": statistics.median(products),
        "calls": len(times),
        "call_gb": (peak - before) / 1e9,
        "process_gb": peak / 1e9,
    }


def slope(rows: dict[str, dict[str, Any]], key: str) -> float:
    """Exponent of a power law through the rows."""
    import numpy as np

    return float(np.polyfit(*np.log([[row["atoms"], row[key]] for row in rows.values()]).T, 1)[0])


def plot(rows: dict[str, dict[str, Any]], path: Path) -> None:
    """Two panels with their slopes."""
    if len(rows) < 2:
        return
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 3.6), layout="constrained")
    panels = (
        ("products", "time (GFLOP at the rate of a product)"),
        ("call_gb", "peak memory of a call (GB)"),
    )
    for axes, (key, label) in zip(figure.subplots(1, 2), panels):
        exponent = slope(rows, key)
        axes.plot(
            [row["atoms"] for row in rows.values()],
            [row[key] for row in rows.values()],
            "o-",
            color="#2f5d8c",
        )
        axes.set(
            xscale="log", yscale="log", xlabel="atoms (copper)", ylabel=label, title=f"slope {exponent:.2f}"
        )
        print(f"{label}: slope {exponent:.3f} over {len(rows)} sizes")
    figure.savefig(path)


if __name__ == "__main__":
    main()
