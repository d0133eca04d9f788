"""Energy conservation: 5 ps of NVE dynamics in float32 at 0.5 fs after 1 ps of Langevin dynamics.

    python benchmarks/nve.py                     all systems that are missing
    python benchmarks/nve.py --rows si64         one of them
    python benchmarks/nve.py --table             only print what is there

ethanol (300 K) and Si64 (600 K) with jmp-xs; 3BPA (300 K) with the model that benchmarks/bpa3.py fine-tuned.
The slope of the total energy per atom is a least-squares line without the first 0.5 ps. Runs that were
stopped go on from their restart files; a system is recorded in benchmarks/results/nve.yaml when its 5 ps are
complete.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.io import read
from folders import add_data_option
from row_programs import compute_missing
from rows import RESULTS, read_rows

from jmp_calc import JMPCalculator, md, relax

WHAT = "slope of the total energy per atom in NVE dynamics; benchmarks/nve.py"
TIMESTEP_FS, EQUILIBRATION, STEPS = 0.5, 2000, 10_000
BPA3_MODEL = Path("runs/bpa3/jmp-xs-10min-2processes/best.safetensors")
LIMIT_MEV = 0.2
"""meV/atom/ps"""


@dataclass(frozen=True)
class Row:
    """One system."""

    temperature_k: float
    fine_tuned: bool = False


ROWS = {"ethanol": Row(300.0), "si64": Row(600.0), "3bpa": Row(300.0, fine_tuned=True)}


def structure(name: str, data: Path) -> Atoms:
    """Start structure before relaxation."""
    if name == "ethanol":
        return molecule("CH3CH2OH")
    if name == "si64":
        return bulk("Si", cubic=True) * (2, 2, 2)
    return read(data / "bpa3_train.xyz.gz", index=10)


def run_row(name: str, row: Row, args: argparse.Namespace) -> dict[str, Any]:
    """Relax, equilibrate, run; goes on where an earlier call was stopped."""
    model = str(args.model_3bpa) if row.fine_tuned else args.model
    calculator = JMPCalculator(model, head=None if row.fine_tuned else args.heads.get(name))
    folder = args.work / name
    if not (folder / "start.traj").exists():
        atoms = structure(name, args.data)
        atoms.calc = calculator
        found = relax(atoms, fmax=0.01, steps=1000).atoms
        found.calc = calculator
        warm = md(
            found,
            ensemble="nvt",
            temperature_k=row.temperature_k,
            timestep_fs=TIMESTEP_FS,
            steps=EQUILIBRATION,
            friction_per_ps=20.0,
        ).atoms
        folder.mkdir(parents=True, exist_ok=True)
        warm.write(folder / "start.traj")
    start = read(folder / "start.traj")
    start.calc = calculator
    began, restart = time.perf_counter(), folder / "nve" / "restart.npz"
    result = md(
        start,
        ensemble="nve",
        temperature_k=row.temperature_k,
        timestep_fs=TIMESTEP_FS,
        steps=STEPS,
        velocities="keep",
        restart=restart if restart.exists() else None,
        out=folder / "nve",
    )
    seconds = time.perf_counter() - began
    numbers, drift = result.to_dict(), result.drift
    assert drift is not None
    return {
        "model": "jmp-xs fine-tuned on 3BPA" if row.fine_tuned else args.model,
        "head": calculator.info.head,
        "model_sha256": calculator.info.sha256,
        "atoms": len(start),
        "dtype": "float32",
        "timestep_fs": TIMESTEP_FS,
        "time_ps": numbers["time_ps"],
        "temperature_k_mean": numbers["temperature_k_mean"],
        "slope_mev_per_atom_per_ps": drift.drift_mev_per_atom_per_ps,
        "standard_error": drift.standard_error,
        "verdict": drift.verdict,
        "limit": LIMIT_MEV,
        "seconds_of_last_stretch": seconds,
    }


def main() -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_data_option(parser)
    parser.add_argument("--rows", nargs="*", choices=sorted(ROWS), default=list(ROWS))
    parser.add_argument("--model", default="jmp-xs")
    parser.add_argument(
        "--model-3bpa", type=Path, default=BPA3_MODEL, help="model fine-tuned by benchmarks/bpa3.py"
    )
    parser.add_argument("--work", type=Path, default=Path("runs/nve"), help="folder of the runs")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="compute nothing")
    parser.set_defaults(heads={"ethanol": "wb97x-ani2x", "si64": "pbe"})
    args = parser.parse_args()
    path = args.results / "nve.yaml"
    compute_missing(
        path,
        [] if args.table else args.rows,
        lambda name: run_row(name, ROWS[name], args),
        what=WHAT,
        threads=torch.get_num_threads(),
        order=list(ROWS),
    )
    print(
        f"{'':10s} {'atoms':>5s} {'T (K)':>7s} {'slope':>9s} ± {'error':7s} meV/atom/ps   (limit {LIMIT_MEV})"
    )
    for name, row in read_rows(path).items():
        print(
            f"{name:10s} {row['atoms']:5d} {row['temperature_k_mean']:7.1f} "
            f"{row['slope_mev_per_atom_per_ps']:+9.4f} ± "
            f"{row['standard_error']:<7.4f} {row['verdict']}"
        )


if __name__ == "__main__":
    main()
