"""Does the guard let a sane dynamics alone for 20 ps, and stop one that runs away?

    python benchmarks/guard.py                         all systems, rows that are missing
    python benchmarks/guard.py --systems ethanol       one of them
    python benchmarks/guard.py --table                 only print what is there

jmp-xs with the uncertainty of its last layer. A first picosecond at 300 K says which standard deviations are usual;
the limit is FACTOR times the largest of them. Then 20 ps at 300 K must come to their end, and the same structure,
heated by 1000 K in every picosecond, must be stopped. Rows: benchmarks/results/guard.yaml. A run that was stopped
goes on in --work.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ase.build import bulk, molecule
from rows import RESULTS, read_rows, write_row

from jmp_calc import JMPCalculator, md
from jmp_calc.analysis.table import read_table
from jmp_calc.errors import GuardError

if TYPE_CHECKING:
    from ase import Atoms

    from jmp_calc.workflows.md import MDResult

FACTOR = 4.0
KELVIN, PICOSECONDS = 300.0, 20.0
HEATING_K_PER_PS = 1000.0
HEATING = f"{KELVIN:g}>{KELVIN + HEATING_K_PER_PS * PICOSECONDS:g} {PICOSECONDS:g} ps"
WHAT = (
    "guard of md: 20 ps at 300 K, and the same heated by 1000 K/ps until it is stopped; benchmarks/guard.py"
)


def systems() -> dict[str, Atoms]:
    """Structures that jmp-xs takes."""
    return {"ethanol": molecule("CH3CH2OH"), "Cu32": bulk("Cu", cubic=True) * 2}


def main() -> None:
    """Run what is missing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--systems", nargs="*", choices=list(systems()), default=list(systems()))
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--work", type=Path, default=Path("runs/guard"), help="folder of the runs")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS / "guard.yaml")
    args = parser.parse_args()
    for name in () if args.table else args.systems:
        if name not in read_rows(args.output):
            row = watched(systems()[name], args.work / name)
            write_row(args.output, name, row, what=WHAT, threads=1, order=())
    for name, row in read_rows(args.output).items():
        print(f"{name}: {row}")


def watched(atoms: Atoms, work: Path) -> dict[str, Any]:
    """One row: the limit, the quiet run, the heated one; each in a folder of ``work``."""
    atoms.calc = JMPCalculator("jmp-xs", uncertainty="last-layer", device="cpu")
    steps = int(1000 * PICOSECONDS)
    ran(atoms, work / "first", temperature_k=KELVIN, steps=1000, stats_every=1)
    limit = FACTOR * largest_deviation(work / "first", len(atoms))
    quiet = ran(
        atoms,
        work / "quiet",
        temperature_k=KELVIN,
        steps=steps,
        stats_every=10,
        seed=1,
        max_uncertainty_mev=limit,
    )
    row = {
        "model_sha256": atoms.calc.info.sha256,
        "limit_mev_per_atom": limit,
        "quiet_ps": quiet.time_ps,
        "quiet_largest_mev_per_atom": largest_deviation(work / "quiet", len(atoms)),
    }
    try:
        hot = ran(atoms, work / "hot", schedule=HEATING, stats_every=10, seed=1, max_uncertainty_mev=limit)
    except GuardError as error:
        stopped = int(str(error.where).split()[-1])
        return {
            **row,
            "stopped_at_ps": stopped / 1000,
            "heated_to_k": KELVIN + 1e-3 * HEATING_K_PER_PS * stopped,
            "reason": error.fact,
        }
    return {
        **row,
        "stopped_at_ps": None,
        "heated_to_k": float(hot.stats[-1][hot.columns.index("temperature_K")]),
        "reason": "was not stopped",
    }


def ran(atoms: Atoms, folder: Path, **settings: Any) -> MDResult:
    """The run in ``folder``, from its restart file on if it was begun."""
    restart = folder / "restart.npz"
    return md(
        atoms,
        out=folder,
        restart=restart if restart.exists() else None,
        plot=False,
        traj_every=1000,
        **settings,
    )


def largest_deviation(folder: Path, n_atoms: int) -> float:
    """Largest standard deviation of the energy in the rows of a run, meV per atom."""
    return float(1000 * read_table(folder / "stats.dat")["energy_std_eV"].max() / n_atoms)


if __name__ == "__main__":
    main()
