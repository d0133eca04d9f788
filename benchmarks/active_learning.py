"""Active learning against chance: errors after labelling what `jmp-calc select` picks, and as many random frames.

    python benchmarks/active_learning.py                          all rows that are missing
    python benchmarks/active_learning.py --sets bpa3 --seeds 0    some of them
    python benchmarks/active_learning.py --steps 300 --rounds 1   shorter
    python benchmarks/active_learning.py --table                  only print what is there

Sets that jmp-xs never saw, as such pools are: random crystals of silicon on their way to the next minimum, TiO2 of
up to 24 atoms (rutile, anatase, brookite and others, distorted), 3BPA at 300 K and hot (bpa3-rare: all 500
frames at 300 K and every tenth of the 469 at 300, 600 and 1200 K; bpa3: every other one of them), and ethanol with
a little methanol among it (ethanol-rare: 994 frames of ethanol, and every tenth of 1145 of which 145 are methanol).
Each seed begins with the same few random frames of the first file, from which jmp-xs is fine-tuned; then, round by
round, frames of the pool are added, selected by the model of the round before or drawn at random, and jmp-xs is
fine-tuned on all anew. (This file is not select.py: that would hide Python's own module from the programs beside
it.) Rows: benchmarks/results/active_learning.yaml, with the force MAE on the test frames after every round. The
verdict is the mean difference over seeds against the spread of the seeds.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from fixed_steps import in_steps, start_identity
from row_programs import training_parser
from rows import read_rows, write_row

if TYPE_CHECKING:
    from ase import Atoms

WHAT = "force MAE in meV/Å after rounds of labelling selected or random frames of a pool; benchmarks/active_learning.py"
WAYS = {"select": "C3", "random": "0.6"}
"""With their colours."""
ERRORS = {
    "forces_mae_mev_per_a": "all test frames",
    "high_energies_forces_mae_mev_per_a": "the third of highest energy",
}
FIGURE = Path(__file__).parents[1] / "docs" / "images" / "active_learning.svg"
SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Set:
    """Frames to choose from and to judge by."""

    begin: str
    """File whose random frames come first, named without ``.xyz.gz``; its frames are in the pool;"""
    first: int
    """so many;"""
    added: int
    """and those that each round adds."""
    every: int
    """Every ``every``-th frame is in the pool,"""
    judges: int
    """and every ``judges``-th of the others judges:"""
    mixed: str | None = None
    """of this file, and all of the first one are in the pool; None: of the first."""
    most_atoms: int | None = None
    """Larger frames are left out."""
    kind: str | None = None
    """Only frames of this config_type of the first file."""


SETS = {
    "si-random": Set("si_random", 20, 20, every=4, judges=16),
    "tio2": Set("tio2_aenet", 20, 20, every=2, judges=6, most_atoms=24),
    "bpa3-rare": Set("bpa3_train", 20, 20, every=10, judges=2, mixed="bpa3_test"),
    "ethanol-rare": Set(
        "ethanol_pbe_train", 20, 20, every=10, judges=2, mixed="ethanol_pbe_test", kind="ethanol_md"
    ),
    "bpa3": Set("bpa3_train", 20, 20, every=2, judges=1, mixed="bpa3_test"),
}


def main() -> None:
    """Run what is missing, then print."""
    parser = training_parser(__doc__, "active_learning")
    parser.add_argument("--sets", nargs="*", choices=list(SETS), default=list(SETS))
    parser.add_argument("--seeds", nargs="*", type=int, default=list(SEEDS))
    parser.add_argument("--figure", type=Path, default=FIGURE)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=600, help="optimizer steps of each fine-tuning")
    args = parser.parse_args()
    path = args.results / "active_learning.yaml"
    for name in () if args.table else args.sets:
        for seed in args.seeds:
            for way in WAYS:
                row = f"{name}, {way}, seed {seed}"
                if row not in read_rows(path):
                    errors, high = rounds(name, way, seed, args)
                    numbers = {
                        "forces_mae_mev_per_a": errors,
                        "high_energies_forces_mae_mev_per_a": high,
                        "start_sha256": start_identity("jmp-xs"),
                        "steps": args.steps,
                        **sizes(SETS[name], args.rounds),
                    }
                    write_row(path, row, numbers, what=WHAT, threads=args.processes, order=[])
    show(read_rows(path))
    draw(read_rows(path), args.figure)


def sizes(set_: Set, n: int) -> dict[str, Any]:
    """Labelled frames after every round."""
    return {"frames": [set_.first + i * set_.added for i in range(n + 1)]}


def rounds(name: str, way: str, seed: int, args: argparse.Namespace) -> tuple[list[float], list[float]]:
    """Force MAE on the test frames after every fine-tuning, meV/Å, and on the third of them with the highest
    energies per atom."""
    from jmp_calc import JMPCalculator, select

    set_, rng = SETS[name], np.random.default_rng(seed)
    pool, test, n_first = frames_of(args.data, set_)
    chosen = rng.permutation(n_first)[: set_.first].tolist()
    energies = np.array([atoms.get_potential_energy() / len(atoms) for atoms in test])
    high = energies >= np.quantile(energies, 2 / 3)
    order, errors, best = rng.permutation(len(pool)).tolist(), list[list[float]](), None
    for number in range(args.rounds + 1):
        if best is not None:
            rest = [i for i in order if i not in set(chosen)]
            if way == "random":
                chosen = [*chosen, *rest[: set_.added]]
            else:
                calc = JMPCalculator(best, uncertainty="last-layer", device="cpu")
                known = [pool[i] for i in chosen]
                found = select([pool[i] for i in rest], calc=calc, n=set_.added, known=known)
                chosen = [*chosen, *(rest[i] for i in found.picked)]
        # The first round is the same for both ways.
        folder = f"{name}-{way if number else 'first'}-seed{seed}-round{number}-{args.steps}steps"
        best = trained([pool[i] for i in chosen], args.work / folder, seed, args)
        calc = JMPCalculator(best, device="cpu")
        forces = calc.batch(test, ("forces",))
        misses = [np.abs(one["forces"] - atoms.get_forces()) for one, atoms in zip(forces, test)]
        some = [misses, [own for own, above in zip(misses, high) if above]]
        errors.append([1000 * float(np.concatenate(own).mean()) for own in some])
        told = " / ".join(f"{error:.1f}" for error in errors[-1])
        print(f"{name}, {way}, seed {seed}, round {number}: {len(chosen)} frames, {told} meV/Å", flush=True)
    return [one[0] for one in errors], [one[1] for one in errors]


def frames_of(data: Path, set_: Set) -> tuple[list[Atoms], list[Atoms], int]:
    """Pool and test frames with labels, and how many of the pool, from its beginning, one may begin with."""
    first = [
        atoms
        for atoms in with_forces(data / f"{set_.begin}.xyz.gz")
        if (set_.most_atoms is None or len(atoms) <= set_.most_atoms)
        and set_.kind in (None, atoms.info.get("config_type"))
    ]
    cut = first if set_.mixed is None else with_forces(data / f"{set_.mixed}.xyz.gz")
    before = [] if set_.mixed is None else first
    pool = [*before, *cut[:: set_.every]]
    test = [atoms for i, atoms in enumerate(cut) if i % set_.every][:: set_.judges]
    return pool, test, len(before) or len(pool)


def with_forces(path: Path) -> list[Atoms]:
    """Frames of a file that have labels of forces."""
    import ase.io

    return [atoms for atoms in ase.io.read(path, index=":") if "forces" in atoms.calc.results]


def trained(frames: list[Atoms], out: Path, seed: int, args: argparse.Namespace) -> Path:
    """The best model of a fine-tuning of jmp-xs on these frames."""
    from jmp_calc.training import DataOptions, ModelOptions, TrainConfig

    if not (out / "report.yaml").exists():
        data = DataOptions(frames, valid_every=5, seed=seed, allow=("duplicates",))
        config = TrainConfig(max_steps=args.steps, processes=args.processes, seed=seed)
        in_steps(out.name, out, data, ModelOptions(model="jmp-xs"), config)
    return out / "best.safetensors"


def seeds_of(rows: dict[str, Any], name: str, way: str) -> list[dict[str, Any]]:
    """The rows of a set and a way, one per seed."""
    return [row for title, row in rows.items() if title.startswith(f"{name}, {way},")]


def show(rows: dict[str, Any]) -> None:
    """Mean and spread over seeds after the last round, of all test frames and of those of high energy."""
    for name in SETS:
        for key, what in ERRORS.items():
            last = {way: [row[key][-1] for row in seeds_of(rows, name, way)] for way in WAYS}
            if not all(last.values()):
                continue
            means = {way: np.mean(values) for way, values in last.items()}
            seeds = min(map(len, last.values()))
            spread = max(np.std(values, ddof=1) for values in last.values()) if seeds > 1 else None
            print(
                f"{name}, {what}: select {means['select']:.1f}, random {means['random']:.1f} meV/Å, gain "
                f"{means['random'] - means['select']:.1f}, "
                + ("one seed" if spread is None else f"spread of {seeds} seeds {spread:.1f}")
            )


def draw(rows: dict[str, Any], path: Path) -> None:
    """Errors against labelled frames: every seed, and the means."""
    from matplotlib.figure import Figure

    there = [name for name in SETS if any(key.startswith(f"{name},") for key in rows)]
    if not there:
        return
    figure = Figure(figsize=(4.0 * len(there), 6.0), layout="constrained")
    panels = figure.subplots(len(ERRORS), len(there), squeeze=False)
    for line, (key, what) in zip(panels, ERRORS.items(), strict=True):
        for axes, name in zip(line, there, strict=True):
            for way, colour in WAYS.items():
                mine = seeds_of(rows, name, way)
                for row in mine:
                    axes.plot(row["frames"], row[key], color=colour, linewidth=0.7, alpha=0.6)
                if mine:
                    label = f"{way} ({len(mine)} seed{'s' * (len(mine) > 1)})"
                    mean = np.mean([row[key] for row in mine], axis=0)
                    axes.plot(mine[0]["frames"], mean, "o-", color=colour, label=label)
            axes.set_title(f"{name}, {what}", fontsize=9)
            axes.set_xlabel("labelled frames")
            axes.set_ylabel("force MAE (meV/Å)")
            axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
