"""Every engine against ASE: energy, forces, stress, energy conservation, processor time of a step.

    python benchmarks/engines.py                                  the rows that are missing
    python benchmarks/engines.py --rows LAMMPS/Si64 --again       one of them anew
    python benchmarks/engines.py --python LAMMPS=PATH             an environment that has the engine
    python benchmarks/engines.py --table                          only print what is there

ethanol and Si64 (benchmarks/systems.py) with jmp-xs. Results are compared in float64. Dynamics are NVE in
float32 from one and the same start: the range is the largest less the smallest total energy per atom. The time
is that of the processor, of the engine and of ASE in the same process one after the other, so that other work
on the machine does not count. LAMMPS, OpenMM and i-PI run in the environments of .ci/engines, where these are.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.md.velocitydistribution import Stationary, thermalize_momenta
from engine_adapters import ADAPTERS, Engine, InASE, Job
from row_programs import compute_missing
from rows import RESULTS, in_process, keep_rows, read_rows
from systems import structure

WHAT = "engines on jmp-xs against ASE; benchmarks/engines.py"
STRUCTURES = {"ethanol": ("wb97x-ani2x", 0.5, 400), "Si64": ("pbe", 1.0, 100)}
"""Head, time step in fs, steps."""
TEMPERATURE_K = 300.0
EVERY, WARM = 5, 5
ENVIRONMENTS = {"LAMMPS": "lammps", "OpenMM": "openmm", "i-PI": "ipi"}
"""Folders below that of .ci/engines; the others run in this environment."""
ROWS = [f"{engine}/{name}" for name in STRUCTURES for engine in ADAPTERS]


def prepared(name: str) -> Atoms:
    """A structure with a box and velocities."""
    atoms = structure(name)
    if not atoms.pbc.any():
        atoms.center(vacuum=6.0)
    rng = np.random.default_rng(0)
    thermalize_momenta(atoms, temperature_K=TEMPERATURE_K, rng=rng)
    Stationary(atoms)
    return atoms


def step_ms(engine: Engine, steps: int) -> tuple[float, list[float]]:
    """Milliseconds of the processor per step, and total energies in eV."""
    engine.totals(WARM, WARM)
    began = time.process_time()
    totals = engine.totals(steps, EVERY)
    return 1e3 * (time.process_time() - began) / steps, totals


def measure(row: str) -> dict[str, Any]:
    """One engine on one structure; in the environment of the engine."""
    kind, _, name = row.partition("/")
    head, timestep_fs, steps = STRUCTURES[name]
    job = Job(prepared(name), head, "float64", timestep_fs)
    numbers: dict[str, Any] = {
        "atoms": len(job.atoms),
        "head": head,
        "timestep_fs": timestep_fs,
        "steps": steps,
    }
    if kind != "ASE":
        expected, found = InASE(job).results(), ADAPTERS[kind](job).results()
        numbers["energy_ev"] = abs(found.energy - expected.energy)
        numbers["forces_ev_per_a"] = float(np.abs(found.forces - expected.forces).max())
        if found.stress is not None and expected.stress is not None:
            numbers["stress_gpa"] = float(np.abs(found.stress - expected.stress).max() / units.GPa)
    fast = Job(job.atoms, head, "float32", timestep_fs)
    numbers["ms_per_step"], totals = step_ms(ADAPTERS[kind](fast), steps)
    numbers["ms_per_step_ase"] = numbers["ms_per_step"] if kind == "ASE" else step_ms(InASE(fast), steps)[0]
    numbers["range_mev_per_atom"] = 1e3 * float(np.ptp(totals)) / len(job.atoms)
    slope = np.polyfit(timestep_fs * EVERY * np.arange(len(totals)) / 1000, totals, 1)[0]
    numbers["slope_mev_per_atom_per_ps"] = 1e3 * float(slope) / len(job.atoms)
    return numbers


def interpreter(row: str, given: dict[str, str]) -> str:
    """Python of the environment that has the engine."""
    kind = row.partition("/")[0]
    if kind in given:
        return given[kind]
    if kind not in ENVIRONMENTS:
        return sys.executable
    folder = Path(os.environ.get("JMP_CALC_ENGINES", ".venv-engines")) / ENVIRONMENTS[kind]
    if not folder.is_dir():
        raise SystemExit(f"{row}: no environment {folder}; make it with .ci/engines {ENVIRONMENTS[kind]}")
    return str(folder / "bin" / "python")


def main() -> None:
    """Compute what is missing, then print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", nargs="*", choices=ROWS, default=ROWS, metavar="ROW")
    parser.add_argument("--again", action="store_true", help="measure rows that are there once more")
    parser.add_argument("--python", nargs="*", default=[], metavar="ENGINE=PATH")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="compute nothing")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(args.measure)))
        return
    path, given = args.results / "engines.yaml", dict(text.split("=", 1) for text in args.python)
    if args.again and not args.table:
        keep_rows(path, lambda name, _: name not in args.rows)
    compute_missing(
        path,
        [] if args.table else args.rows,
        lambda row: in_process(__file__, row, python=interpreter(row, given)),
        what=WHAT,
        threads=int(os.environ.get("OMP_NUM_THREADS", "1")),
        order=ROWS,
    )
    for name, row in read_rows(path).items():
        print(f"{name:18s} {row['ms_per_step']:7.1f} ms, ASE {row['ms_per_step_ase']:7.1f} ms")


if __name__ == "__main__":
    main()
