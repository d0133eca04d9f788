"""Compiled against eager calls: calls per second, seconds of compilation, largest difference.

    python benchmarks/compiled.py [--systems ethanol Si64] [--threads 2]

jmp-xs in float32, energy and forces of moved atoms through the calculator; eager calls, compiled calls and a
matrix product of 2048 x 2048 (the speed of the machine) follow each other in one process. The program is
first compiled in another process with an empty cache (first_call_s), then again from the cache
(cached_call_s). Writes its run into benchmarks/results/compiled.yaml.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

if TYPE_CHECKING:
    from jmp_calc import JMPCalculator

RESULTS = Path(__file__).parent / "results"
HEAD = "rpbe"
"""One program for all systems; the time does not depend on the head."""
CALLS = {"ethanol": 60, "aspirin": 50, "ac-ala5-nhme": 25, "Si64": 25, "water192": 12, "Cu256": 8}


def main() -> None:
    """Compile once, then measure all systems."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--systems", nargs="*", choices=list(CALLS), default=list(CALLS)[:4])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--measure", choices=("compile", "calls"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(first_call() if args.measure == "compile" else measure(args.systems)))
        return
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": cache, "OMP_NUM_THREADS": str(args.threads)}
        command = [sys.executable, __file__, "--systems", *args.systems, "--measure"]
        first = run([*command, "compile"], environment)
        cached = run([*command, "compile"], environment)
        rows = run([*command, "calls"], environment)
    numbers = {"first_call_s": first["seconds"], "cached_call_s": cached["seconds"], "rows": rows}
    write_run(args.threads, numbers)


def write_run(threads: int, numbers: dict[str, Any]) -> None:
    """Add or replace the run with this number of threads."""
    path = RESULTS / "compiled.yaml"
    runs = yaml.safe_load(path.read_text())["runs"] if path.exists() else {}
    content = {
        "what": "jmp-xs, energy and forces, eager against compile=True, float32; benchmarks/compiled.py",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "runs": {**runs, f"threads_{threads}": numbers},
    }
    RESULTS.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=110))


def run(command: list[str], environment: dict[str, str]) -> dict[str, Any]:
    """What a process of this script prints last; its other lines go to the terminal."""
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    print(done.stdout, flush=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def first_call() -> dict[str, float]:
    """Seconds of the first compiled call, with the check against eager."""
    from systems import structure

    from jmp_calc import JMPCalculator

    atoms = structure("ethanol")
    atoms.calc = JMPCalculator("jmp-xs", head=HEAD, device="cpu", compile=True)
    return {"seconds": round(timed(atoms.get_forces), 1)}


def measure(systems: list[str]) -> dict[str, Any]:
    """One row per system."""
    from jmp_calc import JMPCalculator

    eager, compiled = (
        JMPCalculator("jmp-xs", head=HEAD, device="cpu", compile=choice) for choice in (False, True)
    )
    rows = {}
    for name in systems:
        rows[name] = row(name, eager, compiled)
        print(name, rows[name], flush=True)
    return rows


def row(name: str, eager: JMPCalculator, compiled: JMPCalculator) -> dict[str, Any]:
    """Probe, eager and compiled calls in turn; the first two of each are not counted."""
    import torch
    from systems import structure

    atoms, left = structure(name), torch.rand(2048, 2048)
    calls = {
        "probe": lambda: left @ left,
        "eager": lambda: eager.get_forces(atoms),
        "compiled": lambda: compiled.get_forces(atoms),
    }
    times: dict[str, list[float]] = {key: [] for key in calls}
    differences = []
    for number in range(CALLS[name] + 2):
        atoms.rattle(0.001, seed=number)
        for key, call in calls.items():
            times[key].append(timed(call))
        differences.append(
            [np.abs(eager.results[key] - compiled.results[key]).max() for key in ("energies", "forces")]
        )
    middle = {key: statistics.median(seconds[2:]) for key, seconds in times.items()}
    energies, forces = np.max(differences, axis=0)
    return {
        "atoms": len(atoms),
        "main_edges": eager.build_graph(atoms).n_edges,
        "eager_calls_per_s": significant(1.0 / middle["eager"]),
        "compiled_calls_per_s": significant(1.0 / middle["compiled"]),
        "gain": significant(middle["eager"] / middle["compiled"]),
        "rate_gflops": significant(2e-9 * 2048**3 / middle["probe"]),
        "largest_difference_ev_per_atom": significant(energies, 2),
        "largest_difference_ev_per_a": significant(forces, 2),
    }


def timed(call: Any) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def significant(value: float, digits: int = 3) -> float:
    """The value with so many digits."""
    return float(f"{value:.{digits}g}")


if __name__ == "__main__":
    main()
