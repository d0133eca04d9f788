"""Fine-tuning of jmp-xs in the steps of 10 minutes on two idle cores: median of three seeds on 3BPA (450 and 20
frames), aspirin and silicon.

    python benchmarks/ten_minutes.py               all rows that are missing: 12 runs of about 10 minutes
    python benchmarks/ten_minutes.py --table       only print what is there

The runs are those of bpa3.py, rmd17.py and mlearn_si.py, with their results files. The table is that of
docs/transfer.md (benchmarks/tables.py).
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import bpa3
import mlearn_si
import rmd17
from row_programs import draw, training_parser
from rows import RESULTS, read_rows
from transfer_tables import print_table

SEEDS = (0, 1, 2)
START, DEFAULTS = "jmp-xs", "jmp-xs-defaults"


@dataclass(frozen=True)
class Measured:
    """One error of a run; ``part`` and ``key`` as in its row."""

    part: str
    key: str
    unit: str
    aim: float
    mace: float | None
    """MACE from scratch in the same time."""


@dataclass(frozen=True)
class Run:
    """A program, its steps and its options."""

    program: str
    steps: int
    measured: tuple[Measured, ...]
    options: tuple[str, ...] = ()
    n_train: int | None = None
    row: str = START


FORCES = "forces_mae_mev_per_a"
RUNS = {
    "3BPA, 450 frames": Run(
        "bpa3",
        bpa3.STEPS,
        (Measured("valid", FORCES, "meV/Å, 300 K", 14.0, 32.0),
         Measured("test", FORCES, "meV/Å, 300 to 1200 K", 33.0, 69.0)),
        ("--rows", START),
    ),
    "3BPA, 20 frames": Run(
        "bpa3",
        bpa3.STEPS,
        (Measured("valid", FORCES, "meV/Å, 300 K", 27.0, None),
         Measured("test", FORCES, "meV/Å, 300 to 1200 K", 115.0, None)),
        ("--rows", START),
        20,
    ),
    "aspirin, 850 frames, recipe rmd17-aspirin": Run(
        "rmd17", rmd17.STEPS, (Measured("test", FORCES, "meV/Å", 14.0, 35.0),), ("--rows", START)
    ),
    "aspirin, 850 frames, defaults": Run(
        "rmd17", rmd17.STEPS, (Measured("test", FORCES, "meV/Å", 14.0, 35.0),), ("--rows", DEFAULTS), row=DEFAULTS
    ),
    "silicon (mlearn)": Run(
        "mlearn_si",
        mlearn_si.STEPS,
        (Measured("test", FORCES, "meV/Å", 45.0, 64.0), Measured("test", "stress_mae_gpa", "GPa", 0.25, 0.36)),
    ),
}  # fmt: skip
"""Aims of 3BPA with 20 frames: what scratch has with 450."""


def table(results: Path = RESULTS) -> list[list[str]]:
    """Errors under all seeds, their median, and the aim; – where a run of these steps is missing."""
    lines = [["run", "error", *(f"seed {seed}" for seed in SEEDS), "median", "aim", "MACE from scratch"]]
    for name, run in RUNS.items():
        rows = read_rows(results / f"{run.program}.yaml")
        for item in run.measured:
            taken = [rows.get(draw(run.row, seed, run.n_train), {}) for seed in SEEDS]
            found = [
                float(row[item.part][item.key]) if row.get("steps") == run.steps else None for row in taken
            ]
            known = [error for error in found if error is not None]
            whole = f"{statistics.median(known):.3g}" if len(known) == len(SEEDS) else "–"
            cells = ["–" if error is None else f"{error:.3g}" for error in found]
            mace = "–" if item.mace is None else f"{item.mace:g}"
            lines.append([name, item.unit, *cells, whole, f"≤ {item.aim:g}", mace])
    return lines


def main() -> None:
    """Run the programs for all seeds, then print."""
    args = training_parser(__doc__, "").parse_args()
    for seed in () if args.table else SEEDS:
        for run in RUNS.values():
            few = [] if run.n_train is None else ["--n-train", str(run.n_train)]
            command = [sys.executable, str(Path(__file__).with_name(f"{run.program}.py")), *run.options, *few]
            command += ["--seed", str(seed), "--data", str(args.data), "--processes", str(args.processes)]
            command += ["--results", str(args.results), "--work", str(args.work / run.program)]
            subprocess.run(command, check=True)
    print_table(table(args.results))


if __name__ == "__main__":
    main()
