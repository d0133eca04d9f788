"""Start and speed of eager calls, of compile=True and of a program exported ahead of time.

    python benchmarks/aoti.py [--threads 2]

jmp-xs in float32. ``start_s``: from the start of Python to the first forces of ethanol, in a process of its
own; with compile=True once with an empty cache (``first_start_s``) and once more. Calls per second: energy
and forces of moved atoms through the calculator, the three kinds in turn in one process. Writes
benchmarks/results/aoti.yaml.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from compiled import CALLS, HEAD, timed
from rows import RESULTS, write_row

if TYPE_CHECKING:
    from jmp_calc import JMPCalculator

KINDS = ("eager", "compile=True", "compiled=FILE")
SYSTEMS = ("ethanol", "Si64")


def main() -> None:
    """Export, start each kind, then compare their calls."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--program", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        measured = (
            calls(args.program) if args.measure == "calls" else {"done": start(args.measure, args.program)}
        )
        print(json.dumps(measured))
        return
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "program.pt2"
        environment = {
            **os.environ,
            "TORCHINDUCTOR_CACHE_DIR": f"{folder}/cache",
            "OMP_NUM_THREADS": str(args.threads),
        }

        def run(*words: str) -> tuple[dict[str, Any], float]:
            """What a process prints last, and when it was started."""
            begin = time.time()
            done = subprocess.run(
                [sys.executable, *words], env=environment, stdout=subprocess.PIPE, text=True, check=True
            )
            print(words[-1], f"{time.time() - begin:.0f} s", done.stdout, flush=True)
            return json.loads(done.stdout.splitlines()[-1]), begin

        def started(kind: str) -> float:
            found, begin = run(__file__, "--program", str(program), "--measure", kind)
            return float(found["done"]) - begin

        begin = time.time()
        export = ["-m", "jmp_calc.cli.main", "export", "jmp-xs", "--head", HEAD, "-o", str(program)]
        subprocess.run([sys.executable, *export], env=environment, check=True)
        exported = {"export_s": time.time() - begin, "file_mb": program.stat().st_size / 1e6}
        first = {"first_start_s": started("compile=True")}
        extra: dict[str, dict[str, float]] = {"eager": {}, "compile=True": first, "compiled=FILE": exported}
        starts = {kind: {"start_s": started(kind), **extra[kind]} for kind in KINDS}
        rates, _ = run(__file__, "--program", str(program), "--measure", "calls")
    for kind in KINDS:
        what = "jmp-xs, energy and forces, float32: eager, compile=True, exported program; benchmarks/aoti.py"
        write_row(
            RESULTS / "aoti.yaml",
            kind,
            {**starts[kind], **rates[kind]},
            what=what,
            threads=args.threads,
            order=KINDS,
        )


def calculator(kind: str, program: Path) -> JMPCalculator:
    """A calculator of this kind."""
    from jmp_calc import JMPCalculator

    compiled = program if kind == "compiled=FILE" else None
    return JMPCalculator("jmp-xs", head=HEAD, device="cpu", compile=kind == "compile=True", compiled=compiled)


def start(kind: str, program: Path) -> float:
    """When the first forces are there, as seconds since the epoch."""
    from systems import structure

    calculator(kind, program).get_forces(structure("ethanol"))
    return time.time()


def calls(program: Path) -> dict[str, dict[str, float]]:
    """Calls per second of every kind, and its largest differences to eager calls; the first two calls are not
    counted."""
    from systems import structure

    calculators = {kind: calculator(kind, program) for kind in KINDS}
    rates: dict[str, dict[str, float]] = {kind: {} for kind in KINDS}
    for name in SYSTEMS:
        atoms = structure(name)
        times: dict[str, list[float]] = {kind: [] for kind in KINDS}
        differences: dict[str, float] = dict.fromkeys(KINDS, 0.0)
        for number in range(CALLS[name] + 2):
            atoms.rattle(0.001, seed=number)
            for kind, calc in calculators.items():
                times[kind].append(timed(partial(calc.get_forces, atoms)))
                difference = calc.results["forces"] - calculators["eager"].results["forces"]
                differences[kind] = max(differences[kind], float(np.abs(difference).max()))
        for kind in KINDS:
            rates[kind][f"{name}_calls_per_s"] = 1.0 / statistics.median(times[kind][2:])
            rates[kind][f"{name}_largest_difference_ev_per_a"] = differences[kind]
    return rates


if __name__ == "__main__":
    main()
