"""The kept neighbour list: equal trajectories, how often it is searched anew, and what it gains.

    python benchmarks/skin.py                       both rows
    python benchmarks/skin.py --rows npt            one row

2000 steps of Si64 with jmp-xs, NVE at 600 K and NPT (Berendsen), once with the kept list and once with a
search in every step. The trajectories must be bit-equal. The time of building graphs is measured on the first
500 frames of the trajectory, with and without the list in turn. Writes benchmarks/results/skin.yaml row by
row.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from ase import units
from ase.md.nptberendsen import NPTBerendsen
from ase.md.velocitydistribution import thermalize_momenta
from ase.md.verlet import VelocityVerlet
from rows import RESULTS, write_row
from systems import structure

from jmp_calc import JMPCalculator
from jmp_calc.calculator import SKIN
from jmp_calc.graph.build import build_graph
from jmp_calc.graph.neighbours import neighbour_edges
from jmp_calc.graph.skin import ReusedNeighbours

ENSEMBLES = ("nve", "npt")
WHAT = f"Si64, jmp-xs, kept neighbour list with a skin of {SKIN:g} Å; benchmarks/skin.py"


def trajectory(ensemble: str, steps: int, skin: float) -> tuple[np.ndarray, ReusedNeighbours]:
    """Positions and cell after every step, and the list that was used."""
    atoms = structure("Si64")
    calculator = JMPCalculator("jmp-xs", head="pbe", device="cpu")
    calculator._search = ReusedNeighbours(skin)
    atoms.calc = calculator
    thermalize_momenta(atoms, temperature_K=1200.0, rng=np.random.default_rng(0))
    if ensemble == "nve":
        dynamics = VelocityVerlet(atoms, 1.0 * units.fs)
    else:
        dynamics = NPTBerendsen(
            atoms,
            1.0 * units.fs,
            temperature_K=600.0,
            pressure_au=0.0,
            taut=100.0 * units.fs,
            taup=1000.0 * units.fs,
            compressibility_au=1e-2 / units.GPa,
        )
    frames: list[np.ndarray] = []
    dynamics.attach(lambda: frames.append(np.concatenate([atoms.positions, atoms.cell.array])))
    dynamics.run(steps)
    return np.array(frames), calculator._search


def graph_ms(frames: np.ndarray) -> dict[str, float]:
    """Median time in ms of building the graphs of the first frames, in turn with a kept list and with
    searches."""
    numbers, pbc = np.full(64, 14), np.ones(3, dtype=bool)
    policy, kept = (
        JMPCalculator("jmp-xs", head="pbe", device="cpu").model_config.policy,
        ReusedNeighbours(SKIN),
    )
    seconds: dict[str, list[float]] = {"kept": [], "search": []}
    for frame in frames[:500]:
        for name, search in (("kept", kept), ("search", neighbour_edges)):
            start = time.perf_counter()
            build_graph(frame[:64], numbers, frame[64:], pbc, policy, search=search)
            seconds[name].append(time.perf_counter() - start)
    return {name: 1e3 * statistics.median(times) for name, times in seconds.items()}


def main() -> None:
    """Run the ensembles with and without the list."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", nargs="*", choices=ENSEMBLES, default=ENSEMBLES)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    for ensemble in args.rows:
        kept, search = trajectory(ensemble, args.steps, SKIN)
        plain, _ = trajectory(ensemble, args.steps, 0.0)
        numbers = {
            "steps": args.steps,
            "bit_equal": bool(np.array_equal(kept, plain)),
            "calls": search.calls,
            "searches": search.searches,
            "graph_ms": graph_ms(kept),
        }
        write_row(
            args.results / "skin.yaml", ensemble, numbers, what=WHAT, threads=args.threads, order=ENSEMBLES
        )
        print(ensemble, numbers, flush=True)


if __name__ == "__main__":
    main()
