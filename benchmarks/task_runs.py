"""One fine-tuning on a task of transfer_tasks.py, for the programs that compare starts or settings."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fixed_steps import in_steps, start_identity
from transfer_tasks import TASKS, VALIDATIONS, written

if TYPE_CHECKING:
    from jmp_calc.training import OptimConfig


@dataclass(frozen=True)
class Tuning:
    """What differs between runs on a task."""

    task: str
    model: str
    """Name or file of the start, ``scratch:NAME`` for new weights."""
    steps: int
    n_train: int | None = None
    """Size of the subset of the training frames; None: all."""
    seed: int = 0
    """Of weights, order and subset."""

    def same(self) -> dict[str, Any]:
        """Numbers of a row that make it the one that is wanted."""
        task = TASKS[self.task]
        identity = {"steps": self.steps, "rule": task.rule, "batch": task.batch}
        return {**identity, "start_sha256": start_identity(self.model)}


def add_compile_option(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """``--compile``, off: a compiled step differs in the last digits and begins when its program is ready."""
    parser.add_argument(
        "--compile",
        choices=("off", "auto", "on"),
        default="off",
        help="compiled steps, as in jmp-calc finetune",
    )
    return parser


def tuned(row: str, tuning: Tuning, optim: OptimConfig, args: argparse.Namespace) -> dict[str, Any]:
    """Train for all steps (going on with an earlier part) and return the numbers of the row.

    ``args``: ``data``, ``work``, ``processes`` and ``compile`` of the program.
    """
    from jmp_calc.training import DataOptions, ModelOptions, TargetTask, TrainConfig

    task, name = TASKS[tuning.task], row.replace("/", "-")
    files = written(task, args.data, args.work / "data" / tuning.task)
    config = TrainConfig(
        max_steps=tuning.steps,
        batch_size=task.batch,
        validate_every=max(1, tuning.steps // VALIDATIONS),
        processes=args.processes,
        compile=args.compile,
        seed=tuning.seed,
        optim=optim,
    )
    data = DataOptions(
        files.train,
        valid=files.valid,
        test=files.test,
        target=None if task.target is None else TargetTask(task.target, kind="scalar", unit=task.unit),
        allow=("unseen_element", "duplicates"),
        n_train=tuning.n_train,
        seed=tuning.seed,
    )
    # Another start model, or other frames, train in a folder of their own.
    out = args.work / f"{name}-{tuning.steps}steps-{start_identity(tuning.model)[:8]}-{files.digest}"
    _, numbers = in_steps(row, out, data, ModelOptions(model=tuning.model), config)
    return {
        "rule": task.rule,
        "batch": task.batch,
        "train_frames": tuning.n_train or files.n_train,
        **numbers,
    }
