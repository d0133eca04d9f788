"""Sampling temperature and structure-wise loss: four pre-trainings of jmp-xs on six sets of different
domains.

    python benchmarks/pretraining.py                      all rows that are missing, 1800 steps each
    python benchmarks/pretraining.py --rows T1 --processes 2
    python benchmarks/pretraining.py --table              only print and plot what is there

Surfaces, bulk metals, zeolites, water clusters, alkanes and reactions of hydrogen with oxygen: sizes from 300
to 6000 frames, so that the temperature matters, and from 2 to 130 atoms, so that the reduction of the loss
matters. All rows take the same number of steps of the same size; held-out sets
(training/pretraining/holdout.toml) are refused. A row that was stopped goes on where it was; only finished
rows are written to benchmarks/results/pretraining.yaml, with a figure.
"""

from __future__ import annotations

import argparse
import resource
from pathlib import Path
from typing import Any

from row_programs import compute_missing, training_parser
from rows import read_rows

WHAT = "validation errors of six sets after pre-training with and without temperature and structure-wise loss"
ROWS = {
    "T1": (1.0, False),
    "T2": (2.0, False),
    "T1-structure-wise": (1.0, True),
    "T2-structure-wise": (2.0, True),
}
"""Temperature, and whether forces are averaged over the atoms of a structure first."""
SETS = {
    "qm22-alkanes": 6000,
    "h2-combustion": 4000,
    "oc20-trajs": 1500,
    "mlearn": 600,
    "zeolites": 300,
    "water-mp2": 300,
}
"""Frames of each set, validation included."""
STEPS, VALIDATE_EVERY, VALID_FRAMES = 1800, 200, 15


def content(temperature: float, structure_wise: bool, processes: int) -> dict[str, Any]:
    """The recipe of jmp-xs with six of its sets, fewer steps, and the settings of a row."""
    from jmp_calc.training.pretraining.mixture import read_recipe

    recipe = read_recipe("jmp-xs")
    recipe["sets"] = {name: {**recipe["sets"][name], "cap": cap, "weight": 1.0} for name, cap in SETS.items()}
    used = {item["head"] for item in recipe["sets"].values()}
    recipe["heads"] = {name: head for name, head in recipe["heads"].items() if name in used}
    recipe["mixture"] = {**recipe["mixture"], "name": "comparison", "temperature": temperature}
    recipe["train"] = {
        "max_steps": STEPS, "validate_every": VALIDATE_EVERY, "max_edges_per_batch": 6000, "batch_size": 32,
        "processes": processes, "loss": {**recipe["train"]["loss"], "structure_wise": structure_wise},
        "optim": {**recipe["train"]["optim"], "warmup_steps": 50, "ema_decay": 0.99},
    }  # fmt: skip
    return recipe


def run_row(row: str, args: argparse.Namespace) -> dict[str, Any]:
    """Train (going on with an earlier part) and return the errors and their curves."""
    from jmp_calc.training.pretrain import pretrain
    from jmp_calc.training.pretraining.build_pack import build
    from jmp_calc.training.pretraining.mixture import mixture_of
    from jmp_calc.training.pretraining.options import PretrainOptions
    from jmp_calc.training.pretraining.pack import save_packed
    from jmp_calc.training.pretraining.recipe import recipe_of
    from jmp_calc.training.validation.history import read_tasks

    began = cpu_seconds()
    recipe, out, pack = (
        recipe_of(content(*ROWS[row], args.processes), row),
        args.work / row,
        args.work / "pack.npz",
    )
    if not pack.exists():
        save_packed(pack, build(mixture_of(recipe.content), args.data), recipe.content)
    options = PretrainOptions(pack=pack, device="cpu", valid_frames=VALID_FRAMES)
    result = pretrain(recipe, out, options, resume=(out / "state.pt").exists())
    curves: dict[str, Any] = {}
    for point in read_tasks(out):
        curve = curves.setdefault(point["task"], {"step": [], "energy": [], "forces": []})
        curve["step"].append(int(point["step"]))
        for label, key in (("energy", "energy_mae_mev_per_atom"), ("forces", "forces_mae_mev_per_a")):
            curve[label].append(float(point[key]) if point[key] else None)
    return {
        "temperature": ROWS[row][0],
        "structure_wise": ROWS[row][1],
        "steps": result.n_steps,
        "processes": args.processes,
        "cpu_minutes_of_the_last_start": (cpu_seconds() - began) / 60.0,
        "valid": {name: errors.to_dict() for name, errors in result.errors.items()},
        "curves": curves,
    }


def cpu_seconds() -> float:
    """Of this process and of those that it has waited for."""
    return sum(resource.getrusage(who).ru_utime for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def show(rows: dict[str, Any]) -> None:
    """Force errors of every set, a line per row."""
    for name, row in rows.items():
        numbers = "  ".join(
            f"{task} {errors['forces_mae_mev_per_a']:.0f}" for task, errors in row["valid"].items()
        )
        print(f"{name:20s} force MAE (meV/Å): {numbers}")


def plot(rows: dict[str, Any], path: Path) -> None:
    """Force and energy error of every set against the step, one line per row."""
    from matplotlib.figure import Figure

    if not rows:
        return
    tasks = list(next(iter(rows.values()))["curves"])
    figure = Figure(figsize=(2.6 * len(tasks), 5.0), layout="constrained")
    grid = figure.subplots(2, len(tasks), squeeze=False, sharex=True)
    for column, task in enumerate(tasks):
        for axes, label in zip(grid[:, column], ("forces", "energy")):
            for name, row in rows.items():
                curve = row["curves"][task]
                points = [
                    (step, value) for step, value in zip(curve["step"], curve[label]) if value is not None
                ]
                axes.plot(
                    *zip(*points),
                    label=name,
                    lw=1.0,
                    ls="-" if row["structure_wise"] else "--",
                    color="C0" if row["temperature"] == 1.0 else "C1",
                )
            axes.set(yscale="log")
        grid[0, column].set(title=task)
        grid[1, column].set(xlabel="step")
    grid[0, 0].set(ylabel="force MAE (meV/Å)")
    grid[1, 0].set(ylabel="energy MAE (meV/atom)")
    grid[0, 0].legend(fontsize=7)
    figure.savefig(path)


def main() -> None:
    """Run what is missing, then print and plot."""
    parser = training_parser(__doc__, "pretraining")
    parser.add_argument("--rows", nargs="*", choices=list(ROWS), default=list(ROWS))
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    path = args.results / "pretraining.yaml"
    compute_missing(
        path,
        [] if args.table else args.rows,
        lambda row: run_row(row, args),
        what=WHAT,
        order=list(ROWS),
        threads=args.processes,
        same={"steps": STEPS},
    )
    rows = read_rows(path)
    show(rows)
    plot(rows, args.results / "pretraining.svg")


if __name__ == "__main__":
    main()
