"""Scalars in a fixed time: errors after fine-tuning jmp-xs, from scratch, and of always predicting the
training mean.

    python benchmarks/scalars.py                              all rows that are missing, 5 minutes each on one core
    python benchmarks/scalars.py --tasks dielectric-n --folds 0
    python benchmarks/scalars.py --table                      only print what is there

qm9-atomization: atomization energies of 1513 small QM9 molecules (every tenth for validation), tested on 1480
(34 molecules of the training file and none of the test file have homo and lumo, too few for a gap).
dielectric-n and dielectric-gap: refractive index and band gap of 1056 crystals with the rule of MatBench's
folds: KFold(5, shuffled, seed 18012019), 90 % of the training rows to train on. The time covers reading,
graphs, training and validation, not the test. A row that was stopped goes on where it was; only rows that ran
their full time are written to benchmarks/results/scalars.yaml.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from row_programs import check_full_time, compute_missing, training_parser
from rows import Clock, read_rows

WHAT = "scalars after a fixed time; mean absolute errors in the unit of the row; benchmarks/scalars.py"
STARTS = {"jmp-xs": "jmp-xs", "scratch": "scratch:jmp-xs"}


@dataclass(frozen=True)
class Task:
    """One target."""

    key: str
    """In ``info`` of the file."""
    unit: str
    file: str
    test_file: str | None = None
    """None: folds of ``file``."""


TASKS = {
    "qm9-atomization": Task("atomization_energy", "eV", "qm9_sub_train.xyz.gz", "qm9_sub_test.xyz.gz"),
    "dielectric-n": Task("n", "-", "dielectric_mp.xyz.gz"),
    "dielectric-gap": Task("band_gap", "eV", "dielectric_mp.xyz.gz"),
}


def main() -> None:
    """Run what is missing, then print."""
    parser = training_parser(__doc__, "scalars", processes=1)
    parser.add_argument("--tasks", nargs="*", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--starts", nargs="*", choices=list(STARTS), default=list(STARTS))
    parser.add_argument("--folds", nargs="*", type=int, choices=range(5), default=list(range(5)))
    parser.add_argument("--minutes", type=float, default=5.0)
    args = parser.parse_args()
    path = args.results / "scalars.yaml"
    compute_missing(
        path,
        [] if args.table else wanted(args),
        lambda row: run_row(row, args),
        what=WHAT,
        order=order(),
        same={"minutes": args.minutes, "processes": args.processes},
        threads=args.processes,
    )
    for row, numbers in read_rows(path).items():
        print(
            f"{row:28s} {numbers['minutes']:5g} min, {numbers['epochs']:4d} epochs: test MAE "
            f"{numbers['test_mae']:8.4g}, "
            f"constant {numbers['constant_mae']:8.4g} {numbers['unit']}, R² {numbers['test_r2']:.3f}"
        )


def wanted(args: argparse.Namespace) -> list[str]:
    """Names of rows: task, fold where it has any, start."""
    return [
        f"{part}/{start}" for task in args.tasks for part in parts(task, args.folds) for start in args.starts
    ]


def order() -> list[str]:
    """All rows there can be."""
    return [f"{part}/{start}" for task in TASKS for part in parts(task, range(5)) for start in STARTS]


def parts(task: str, folds: Any) -> list[str]:
    """The task, or its folds."""
    return [task] if TASKS[task].test_file else [f"{task}/fold-{fold}" for fold in folds]


def run_row(row: str, args: argparse.Namespace) -> dict[str, Any]:
    """Train for the full time (going on with an earlier part) and return the numbers."""
    from jmp_calc import finetune
    from jmp_calc.training import DataOptions
    from jmp_calc.training.config import TrainConfig

    name, *fold, start = row.split("/")
    task = TASKS[name]
    out = args.work / f"{row.replace('/', '-')}-{args.minutes:g}min-{args.processes}processes"
    if fold:
        train, valid, test = write_fold(
            args.data / task.file, args.work / fold[0], int(fold[0].removeprefix("fold-"))
        )
        options = DataOptions(train, allow=("unseen_element", "duplicates"))
    else:
        train, valid, test = args.data / task.file, None, args.data / str(task.test_file)
        options = DataOptions(train, valid_every=10)
    clock = Clock()
    result = finetune(
        train,
        valid=valid,
        test=test,
        target=task.key,
        model=STARTS[start],
        out=out,
        device="cpu",
        data=options,
        config=TrainConfig(max_time=60.0 * args.minutes, processes=args.processes),
        resume=(out / "state.pt").exists(),
    )
    assert result.test is not None
    check_full_time(row, result.train_s, args.minutes)
    return {
        "unit": task.unit,
        "minutes": args.minutes,
        "processes": args.processes,
        "epochs": result.n_epochs,
        "steps": result.n_steps,
        "busy_cores": clock.cores(),
        "valid_mae": result.valid.scalar_mae,
        "test_mae": result.test.scalar_mae,
        "test_rmse": result.test.scalar_rmse,
        "test_r2": result.test.scalar_r2,
        "constant_mae": result.constant_mae["test"],
        "n_test": result.test.n_structures,
        "curve_s": [round(r.elapsed_s, 1) for r in result.history],
        "curve_valid_mae": [r.valid_scalar_mae for r in result.history],
    }


def write_fold(source: Path, folder: Path, fold: int) -> tuple[Path, Path, Path]:
    """Training, validation and test frames of a fold as files, made once."""
    from ase.io import read, write

    from jmp_calc.training.datasets.base import legacy_shuffle
    from jmp_calc.training.datasets.matbench import kfold

    train, valid, test = (folder / f"{name}.extxyz" for name in ("train", "valid", "test"))
    if not test.exists():  # written last
        import gzip

        folder.mkdir(parents=True, exist_ok=True)
        with gzip.open(source, "rt", encoding="utf-8") as file:
            images = read(file, ":", format="extxyz")
        rows, tested = kfold(len(images), fold)
        rows = rows[legacy_shuffle(len(rows))]
        cut = int(0.9 * len(rows))
        for path, chosen in ((train, rows[:cut]), (valid, rows[cut:]), (test, tested)):
            write(path, [images[i] for i in chosen], format="extxyz")
    return train, valid, test


if __name__ == "__main__":
    main()
