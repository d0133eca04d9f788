"""3BPA in a fixed number of steps: force errors after fine-tuning jmp-xs and after training the same network
from scratch.

    python benchmarks/bpa3.py                      all rows that are missing, 10 minutes each on 2 idle cores
    python benchmarks/bpa3.py --rows jmp-xs        one row; with --seed 1, --n-train 20 others
    python benchmarks/bpa3.py --model runs/stage1/jmp_xs.safetensors --results DIR --steps 600   another start
    python benchmarks/bpa3.py --table              only print and plot what is there

450 frames of bpa3_train (300 K) to train on, or a subset of them that the seed decides, every tenth of the file
for validation; test: bpa3_test (300, 600, 1200 K).
2350 steps are what two idle cores of our machine do in 10 minutes, so that a busy machine changes nothing but
``train_s``. A row that was stopped goes on where it was; only rows that took all their steps are written to
benchmarks/results/bpa3.yaml.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curves import Yardstick, plot_curves
from fixed_steps import in_steps, start_identity
from row_programs import compute_missing, draw, training_parser, with_draws
from rows import read_rows

WHAT = (
    "force and energy errors on 3BPA after a fixed number of steps; benchmarks/bpa3.py; yardstick: MACE 32x0e+1o, 5 Å, "
    "from scratch, "
    "force MAE on validation and test frames: 10 min 32 and 69, 20 min 23 and 53 meV/Å"
)
YARDSTICKS = [
    Yardstick("MACE 32x0e+1o, 5 Å, from scratch, 10 min", 32.0, 69.0),
    Yardstick("the same, 20 min", 23.0, 53.0),
]
"""Validation and test force MAE in meV/Å, measured on such a machine (project issue 3)."""


STEPS = 2350


@dataclass(frozen=True)
class Row:
    """One run."""

    model: str
    lr: float | None = None
    """None: the default of finetune for this network."""
    init_head: str = "auto"


ROWS = {
    "jmp-xs": Row("jmp-xs"),
    "jmp-xs-new-head": Row("jmp-xs", init_head="scratch"),
    "scratch-lr-0.001": Row("scratch:jmp-xs", 1e-3),
    "scratch-lr-0.002": Row("scratch:jmp-xs", 2e-3),
    "scratch-lr-0.004": Row("scratch:jmp-xs", 4e-3),
}


def main() -> None:
    """Run what is missing, then print and plot."""
    parser = with_draws(training_parser(__doc__, "bpa3"))
    parser.add_argument("--rows", nargs="*", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--optimizer", choices=("soap", "adamw"), default="soap")
    parser.add_argument("--model", type=Path, help="one more row: this model file in place of jmp-xs")
    args = parser.parse_args()
    known = ROWS if args.model is None else {args.model.stem: Row(str(args.model))}
    path = args.results / "bpa3.yaml"
    for name in () if args.table else (name for name in known if args.model is not None or name in args.rows):
        same = {"steps": args.steps, "processes": args.processes, "optimizer": args.optimizer}
        if not known[name].model.startswith("scratch:"):
            same["start_sha256"] = start_identity(known[name].model)
        compute_missing(
            path,
            [draw(name, args.seed, args.n_train)],
            lambda row, name=name: run_row(row, known[name], args),
            what=WHAT,
            order=list(dict.fromkeys([*ROWS, *known])),
            same=same,
            threads=args.processes,
        )
    rows = read_rows(path)
    show(rows)
    whole = {name: row for name, row in rows.items() if "/" not in name}
    plot_curves(args.results / "bpa3.svg", whole, YARDSTICKS, "3BPA, 450 training frames")


def run_row(name: str, row: Row, args: argparse.Namespace) -> dict[str, Any]:
    """Train for all steps (going on with an earlier part) and return the numbers."""
    from jmp_calc.training import DataOptions, ModelOptions, OptimConfig, TrainConfig

    data = DataOptions(
        args.data / "bpa3_train.xyz.gz",
        test=args.data / "bpa3_test.xyz.gz",
        valid_every=10,
        n_train=args.n_train,
        seed=args.seed,
    )
    optim = OptimConfig(method=args.optimizer, lr=row.lr)
    config = TrainConfig(max_steps=args.steps, processes=args.processes, seed=args.seed, optim=optim)
    out = args.work / f"{name.replace('/', '-')}-{args.steps}steps-{args.processes}processes-{args.optimizer}"
    return in_steps(name, out, data, ModelOptions(model=row.model, head=row.init_head), config)[1]


def show(rows: dict[str, Any]) -> None:
    """Print the table."""
    print(f"\n{'':44s} {'valid F':>8s} {'test F':>8s}  meV/Å  {'valid E':>8s} {'test E':>8s}  meV/atom")
    for yardstick in YARDSTICKS:
        print(f"{yardstick.name:44s} {yardstick.valid:8.1f} {yardstick.test:8.1f}")
    for name, row in rows.items():
        label = f"{name} (lr {row['lr']:g}, {row['steps']} steps, {row['epochs']} epochs)"
        numbers = [
            row[part][key]
            for key in ("forces_mae_mev_per_a", "energy_mae_mev_per_atom")
            for part in ("valid", "test")
        ]
        print(f"{label:44s} {numbers[0]:8.1f} {numbers[1]:8.1f}         {numbers[2]:8.2f} {numbers[3]:8.2f}")


if __name__ == "__main__":
    main()
