"""3BPA in a fixed number of steps: force errors after fine-tuning jmp-xs and after training the same network
from scratch.

    python benchmarks/bpa3.py                      all rows that are missing, 10 minutes each on 2 idle cores
    python benchmarks/bpa3.py --rows jmp-xs        one row
    python benchmarks/bpa3.py --model runs/stage1/jmp_xs.safetensors --results DIR --steps 600   another start
    python benchmarks/bpa3.py --table              only print and plot what is there

450 frames of bpa3_train (300 K) to train on, every tenth for validation; test: bpa3_test (300, 600, 1200 K).
2350 steps are what two idle cores of our machine do in 10 minutes, so that a busy machine changes nothing but
``train_s``. A row that was stopped goes on where it was; only rows that took all their steps are written to
benchmarks/results/bpa3.yaml.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from curves import Yardstick, plot_curves
from row_programs import compute_missing, training_parser
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
    parser = training_parser(__doc__, "bpa3")
    parser.add_argument("--rows", nargs="*", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--model", type=Path, help="one more row: this model file in place of jmp-xs")
    args = parser.parse_args()
    known = ROWS if args.model is None else {args.model.stem: Row(str(args.model))}
    path = args.results / "bpa3.yaml"
    compute_missing(
        path,
        [] if args.table else [name for name in known if args.model is not None or name in args.rows],
        lambda name: run_row(name, known[name], args),
        what=WHAT,
        order=list(dict.fromkeys([*ROWS, *known])),
        same={"steps": args.steps, "processes": args.processes},
        threads=args.processes,
    )
    rows = read_rows(path)
    show(rows)
    plot_curves(args.results / "bpa3.svg", rows, YARDSTICKS, "3BPA, 450 training frames")


def run_row(name: str, row: Row, args: argparse.Namespace) -> dict[str, Any]:
    """Train for all steps (going on with an earlier part) and return the numbers."""
    from jmp_calc import finetune
    from jmp_calc.training import DataOptions
    from jmp_calc.training.config import OptimConfig, TrainConfig
    from jmp_calc.training.finetuning.options import ModelOptions
    from jmp_calc.zoo.names import resolve

    out = args.work / f"{name}-{args.steps}steps-{args.processes}processes"
    train = args.data / "bpa3_train.xyz.gz"
    result = finetune(
        train,
        test=args.data / "bpa3_test.xyz.gz",
        model=row.model,
        out=out,
        device="cpu",
        config=TrainConfig(max_steps=args.steps, processes=args.processes, optim=OptimConfig(lr=row.lr)),
        resume=(out / "state.pt").exists(),
        data=DataOptions(train, valid_every=10),
        start=ModelOptions(head=row.init_head),
    )
    assert result.test is not None
    if result.n_steps < args.steps:
        raise SystemExit(f"{name}: stopped after {result.n_steps} of {args.steps} steps, not recorded")
    settings = yaml.safe_load((out / "config.yaml").read_text())["training"]
    return {
        "model": row.model,
        "start_sha256": resolve(row.model.removeprefix("scratch:")).sha256,
        "init_head": result.init_head or "new weights",
        "lr": settings["optim"]["lr"],
        "processes": args.processes,
        "epochs": result.n_epochs,
        "steps": result.n_steps,
        "train_s": result.train_s,
        "valid_before": result.before.to_dict(),
        "valid": result.valid.to_dict(),
        "test": result.test.to_dict(),
        "curve_step": [line.step for line in result.history],
        "curve_s": [line.elapsed_s for line in result.history],
        "curve_valid_forces_mae_mev_per_a": [line.valid_forces_mae_mev_per_a for line in result.history],
    }


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
