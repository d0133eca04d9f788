"""Which settings of fine-tuning suit a start model: optimizer, peak learning rate, decay of the rate by layer, and
averaging.

    python benchmarks/finetune_defaults.py                                     all rows that are missing, one core
    python benchmarks/finetune_defaults.py --model runs/stage3/jmp_xs.safetensors --results DIR
    python benchmarks/finetune_defaults.py --tasks bpa3 --settings default lr-0.0009
    python benchmarks/finetune_defaults.py --table                             only print what is there

Tasks are some of benchmarks/transfer_tasks.py, with all frames and their fixed steps (--steps for others). The
validation frames are like the training frames; the test frames of 3BPA are not (300 to 1200 K, trained at 300 K). The
last column is the geometric mean over tasks of (test error / test error of the defaults). A row that was stopped goes
on where it was; rows of another start model are computed anew.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from row_programs import compute_missing, training_parser
from rows import read_rows
from task_runs import Tuning, add_compile_option, tuned
from transfer_tables import error
from transfer_tasks import TASKS

if TYPE_CHECKING:
    from jmp_calc.training import OptimConfig
    from jmp_calc.training.config import Method

WHAT = "fine-tuning of jmp-xs with other rates, decay by layer and averaging; benchmarks/finetune_defaults.py"
CHOSEN = ("bpa3", "ethanol", "aspirin", "tio2", "gst")


@dataclass(frozen=True)
class Settings:
    """What differs from the defaults of finetune; None: nothing."""

    lr: float | None = None
    layer_decay: float | None = None
    """Rate of a block over that of the next one; the embedding has that of the first block times it."""
    ema_decay: float | None = None
    method: Method | None = None
    betas: tuple[float, float] | None = None

    def optim(self, n_blocks: int) -> OptimConfig:
        """The settings, for a network of so many blocks."""
        from jmp_calc.training import OptimConfig

        decay = self.layer_decay
        rates = () if decay is None else tuple(decay ** (n_blocks - i) for i in range(n_blocks + 1))
        known = OptimConfig(method=self.method, lr=self.lr, layer_rates=rates)
        if self.betas is not None:
            known = dataclasses.replace(known, betas=self.betas)
        return known if self.ema_decay is None else dataclasses.replace(known, ema_decay=self.ema_decay)


SETTINGS = {
    "default": Settings(),
    "adamw-lr-0.0009": Settings(method="adamw", lr=9e-4),
    "adamw-lr-0.0018": Settings(method="adamw", lr=1.8e-3),
    "adamw-lr-0.0036": Settings(method="adamw", lr=3.6e-3),
    "lr-0.0018": Settings(lr=1.8e-3),
    "lr-0.0036": Settings(lr=3.6e-3),
    "lr-0.0036-betas-0.9-0.99": Settings(lr=3.6e-3, betas=(0.9, 0.99)),
    "lr-0.0036-betas-0.95-0.95": Settings(lr=3.6e-3, betas=(0.95, 0.95)),
    "lr-0.0072": Settings(lr=7.2e-3),
    "lr-0.0004": Settings(lr=4e-4),
    "lr-0.0006": Settings(lr=6e-4),
    "lr-0.0009": Settings(lr=9e-4),
    "lr-0.0013": Settings(lr=1.3e-3),
    "lr-0.0009-layers-0.7": Settings(lr=9e-4, layer_decay=0.7),
    "lr-0.0013-layers-0.7": Settings(lr=1.3e-3, layer_decay=0.7),
    "lr-0.0018-layers-0.5": Settings(lr=1.8e-3, layer_decay=0.5),
    "lr-0.0009-ema-0.995": Settings(lr=9e-4, ema_decay=0.995),
    "lr-0.0009-ema-0.999": Settings(lr=9e-4, ema_decay=0.999),
    "lr-0.0013-ema-0.995": Settings(lr=1.3e-3, ema_decay=0.995),
}


def tuning(row: str, args: argparse.Namespace) -> Tuning:
    """The run of a row: task/settings."""
    name = row.split("/")[0]
    return Tuning(name, args.model, args.steps or TASKS[name].steps)


def run_row(row: str, args: argparse.Namespace) -> dict[str, Any]:
    """Train for all steps (going on with an earlier part) and return the numbers."""
    from jmp_calc.zoo.names import resolve

    settings = SETTINGS[row.split("/")[1]]
    n_blocks = resolve(args.model).potential.config.backbone.num_blocks
    return tuned(row, tuning(row, args), settings.optim(n_blocks), args)


def show(rows: dict[str, dict[str, Any]]) -> None:
    """Validation and test error of all tasks, a line per settings, and the mean ratio to the defaults."""
    tasks = [name for name in CHOSEN if any(key.startswith(f"{name}/") for key in rows)]
    print(f"{'':24s}" + "".join(f"{name:>16s}" for name in tasks) + "   test / default")
    for chosen in SETTINGS:
        cells, ratios = [], []
        for name in tasks:
            row, before = rows.get(f"{name}/{chosen}"), rows.get(f"{name}/default")
            cells.append("–" if row is None else f"{error(row, 'valid'):.1f} / {error(row, 'test'):.1f}")
            if row is not None and before is not None:
                ratios.append(math.log(error(row, "test") / error(before, "test")))
        mean = f"{math.exp(sum(ratios) / len(ratios)):.3f} ({len(ratios)})" if ratios else "–"
        print(f"{chosen:24s}" + "".join(f"{cell:>16s}" for cell in cells) + f"   {mean}")


def main() -> None:
    """Run what is missing, then print."""
    parser = add_compile_option(training_parser(__doc__, "finetune_defaults", processes=1))
    parser.add_argument("--tasks", nargs="*", choices=CHOSEN, default=list(CHOSEN))
    parser.add_argument("--settings", nargs="*", choices=list(SETTINGS), default=list(SETTINGS))
    parser.add_argument("--model", default="jmp-xs", help="start: name or file")
    parser.add_argument("--steps", type=int, help="instead of those of the task")
    args = parser.parse_args()
    path = args.results / "finetune_defaults.yaml"
    for row in [] if args.table else [f"{name}/{chosen}" for name in args.tasks for chosen in args.settings]:
        compute_missing(
            path,
            [row],
            lambda name: run_row(name, args),
            what=WHAT,
            order=[f"{task}/{chosen}" for task in CHOSEN for chosen in SETTINGS],
            same=tuning(row, args).same(),
            threads=args.processes,
        )
    show(read_rows(path))


if __name__ == "__main__":
    main()
