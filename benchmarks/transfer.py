"""What pre-training is worth on tasks that no jmp-xs has seen: fine-tuning in fixed steps against the same network
from scratch in three times the steps, the best of three learning rates by validation.

    python benchmarks/transfer.py                                  all rows that are missing, one core
    python benchmarks/transfer.py --tasks bpa3 aspirin --frames 50
    python benchmarks/transfer.py --starts scratch                 rows that do not depend on the bundled model
    python benchmarks/transfer.py --model runs/stage1/jmp_xs.safetensors --results DIR    another start
    python benchmarks/transfer.py --table                          print, plot and write docs/transfer.md

Tasks, splits and steps are in transfer_tasks.py. Each is trained with all its frames and with 50 (a subset that the
seed decides), under seed 0, and four tasks under three seeds: from scratch seeds 1 and 2 take the rate that was
best under seed 0. Two programs with different --tasks may share a machine and --work. Steps are not compiled unless
--compile says so, because a compiled step differs in the last digits and begins when its program is ready. A row
that was stopped goes on where it was; only finished ones are written to benchmarks/results/transfer.yaml. Rows of
another start model, rule or number of steps are computed anew; after another change of the defaults of finetune remove
those that it touches.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from row_programs import compute_missing, training_parser
from rows import RESULTS, read_rows
from tables import rewrite
from task_runs import Tuning, add_compile_option, tuned
from transfer_tables import FILE, best_scratch, plot, show
from transfer_tasks import FEW, SCRATCH_RATES, SCRATCH_STEPS, SEEDS, SPREAD, TASKS

WHAT = "fine-tuning of unseen tasks in fixed steps, pre-trained and from scratch; benchmarks/transfer.py"
STARTS = ("pre-trained", "scratch")
SCRATCH = "scratch:jmp-xs"


@dataclass(frozen=True)
class Row:
    """One run; ``lr``: from scratch, else the default of finetune."""

    task: str
    frames: str
    """all or 50."""
    seed: int
    lr: float | None = None

    @property
    def name(self) -> str:
        """As in the results file."""
        start = "pre-trained" if self.lr is None else f"scratch-lr-{self.lr:g}"
        return f"{self.task}/{self.frames}/{start}/seed-{self.seed}"

    def tuning(self, args: argparse.Namespace) -> Tuning:
        """The run."""
        steps = args.steps or TASKS[self.task].steps
        model = args.model if self.lr is None else SCRATCH
        n_train = None if self.frames == "all" else int(self.frames)
        return Tuning(
            self.task, model, steps if self.lr is None else SCRATCH_STEPS * steps, n_train, self.seed
        )


def plan(args: argparse.Namespace, path: Path) -> Iterator[Row]:
    """Rows in the order in which they are run; of later seeds from scratch the rate that was best under seed 0,
    once all three are there."""
    for seed in args.seeds:
        for task in args.tasks:
            for frames in args.frames:
                if seed and task not in SPREAD:
                    continue
                if "pre-trained" in args.starts:
                    yield Row(task, frames, seed)
                if "scratch" in args.starts:
                    best = best_scratch(read_rows(path), task, frames, 0)
                    rates = SCRATCH_RATES if seed == 0 else [] if best is None else [best["lr"]]
                    yield from (Row(task, frames, seed, lr) for lr in rates)


def order() -> list[str]:
    """Names of all rows that there can be."""
    return [
        Row(task, frames, seed, lr).name
        for task in TASKS
        for frames in ("all", str(FEW))
        for seed in SEEDS
        for lr in (None, *SCRATCH_RATES)
    ]


def run_row(row: Row, args: argparse.Namespace) -> dict[str, Any]:
    """Train for all steps (going on with an earlier part) and return the numbers."""
    from jmp_calc.training import OptimConfig

    return tuned(row.name, row.tuning(args), OptimConfig(lr=row.lr), args)


def main() -> None:
    """Run what is missing, then print, plot and write the page."""
    parser = add_compile_option(training_parser(__doc__, "transfer", processes=1))
    parser.add_argument("--tasks", nargs="*", choices=list(TASKS), default=list(TASKS), metavar="TASK")
    parser.add_argument("--frames", nargs="*", choices=("all", str(FEW)), default=["all", str(FEW)])
    parser.add_argument("--starts", nargs="*", choices=STARTS, default=list(STARTS))
    parser.add_argument("--seeds", nargs="*", type=int, choices=SEEDS, default=list(SEEDS))
    parser.add_argument("--model", default="jmp-xs", help="pre-trained start: name or file")
    parser.add_argument("--steps", type=int, help="of a pre-trained start, instead of those of the task")
    args = parser.parse_args()
    path = args.results / FILE
    for row in () if args.table else plan(args, path):
        compute_missing(
            path,
            [row.name],
            lambda _, row=row: run_row(row, args),
            what=WHAT,
            order=order(),
            same=row.tuning(args).same(),
            threads=args.processes,
        )
    show(read_rows(path))
    plot(args.results / "transfer.svg", read_rows(path))
    if args.results == RESULTS:
        rewrite("transfer.md")


if __name__ == "__main__":
    main()
