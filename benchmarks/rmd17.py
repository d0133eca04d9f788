"""A recipe of the JMP paper end to end: ``rmd17-aspirin`` with jmp-xs and from new weights, in a fixed time
on one core.

    python benchmarks/rmd17.py                     all rows that are missing, 30 minutes each
    python benchmarks/rmd17.py --rows jmp-xs       one row
    python benchmarks/rmd17.py --table             only print and plot what is there

The 1000 frames of aspirin_rmd17.xyz.gz (no jmp-xs was trained on them) are written as the published files are
laid out (``datasets.md`` section 6, without the ``old_*`` arrays, which nobody reads): ``rmd17_aspirin.npz``
in kcal/mol and index files, which ``--recipe rmd17-aspirin --split official-1`` reads: 850 frames to train
on, 50 for validation, 100 for the test, drawn by the legacy shuffle with seed 42. The published split (950 /
50 / 99,000) needs all 100,000 frames.

Settings are those of the recipe (from scratch: of gn-oc-rmd17-aspirin) but for those that each row lists as
``overrides``: its learning rate is that of networks 500 times larger, and its schedule takes 128 epochs of
single frames. The time covers reading, graphs, training and validation, not the last test. A row that was
stopped goes on where it was; only rows that ran their full time are written to benchmarks/results/rmd17.yaml,
with the cores they really had (busy_cores): on a shared machine compare curves by step, not last numbers.
Curves: rmd17.svg; the parity plot of each run: rmd17_parity_ROW.svg.
"""

from __future__ import annotations

import argparse
import dataclasses
import gzip
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml
from curves import Yardstick, plot_curves
from row_programs import check_full_time, compute_missing, training_parser
from rows import Clock, read_rows

if TYPE_CHECKING:
    from jmp_calc.training.config import TrainConfig
    from jmp_calc.training.finetuning.recipes import FinetuneRecipe

WHAT = (
    "recipe rmd17-aspirin in a fixed time; benchmarks/rmd17.py; yardstick: MACE from scratch, 10 "
    "minutes, force MAE 35 meV/Å"
)
YARDSTICK = Yardstick("MACE from scratch, 10 min", 35.0)
"""Force MAE in meV/Å (project issue 5)."""
ROWS = {"jmp-xs": "rmd17-aspirin", "scratch": "gn-oc-rmd17-aspirin"}
"""Row -> recipe."""
SPLIT = "official-1"
N_TEST = 100


def main() -> None:
    """Run what is missing, then print and plot."""
    parser = training_parser(__doc__, "rmd17", processes=1)
    parser.add_argument("--rows", nargs="*", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--minutes", type=float, default=30.0)
    args = parser.parse_args()
    path = args.results / "rmd17.yaml"
    compute_missing(
        path,
        [] if args.table else args.rows,
        lambda row: run_row(row, args),
        what=WHAT,
        order=list(ROWS),
        same={"minutes": args.minutes, "processes": args.processes},
        threads=args.processes,
    )
    rows = read_rows(path)
    for row, numbers in rows.items():
        print(
            f"{row:8s} {numbers['minutes']:g} min, {numbers['epochs']} epochs: force MAE before "
            f"{forces(numbers, 'test_before')}, validation {forces(numbers, 'valid')}, test "
            f"{forces(numbers, 'test')} meV/Å; "
            f"{YARDSTICK.name}: {YARDSTICK.valid}"
        )
    plot_curves(args.results / "rmd17.svg", rows, [YARDSTICK], "rMD17 aspirin, 850 training frames")


def forces(numbers: dict[str, Any], part: str) -> float:
    """Force MAE of a part in meV/Å, to one digit."""
    return round(numbers[part]["forces_mae_mev_per_a"], 1)


def run_row(row: str, args: argparse.Namespace) -> dict[str, Any]:
    """Train for the full time (going on with an earlier part) and return the numbers."""
    from jmp_calc import finetune
    from jmp_calc.training import DataOptions
    from jmp_calc.training.config import config_diff, config_to_dict
    from jmp_calc.training.finetuning.recipes import finetune_recipe
    from jmp_calc.zoo.names import resolve

    folder = write_rmd17(args.data / "aspirin_rmd17.xyz.gz", args.work / "data")
    out = args.work / f"{row}-{args.minutes:g}min-{args.processes}processes"
    start = resolve("jmp-xs")
    published = settings(finetune_recipe(ROWS[row]), start.potential.config.backbone.num_blocks)
    clock = Clock()
    result = finetune(
        folder,
        recipe=ROWS[row],
        data=DataOptions(folder, split=SPLIT),
        model="jmp-xs",
        out=out,
        device="cpu",
        config=in_time(published, 60.0 * args.minutes, args.processes),
        resume=(out / "state.pt").exists(),
    )
    assert result.test is not None and result.test_before is not None
    check_full_time(row, result.train_s, args.minutes)
    args.results.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(out / "parity.svg", args.results / f"rmd17_parity_{row}.svg")
    used = yaml.safe_load((out / "config.yaml").read_text())["training"]
    return {
        "recipe": ROWS[row],
        "overrides": config_diff(config_to_dict(published), used),
        "start_sha256": start.sha256 if row == "jmp-xs" else "new weights",
        "split": f"{SPLIT}: 850 / 50 / {N_TEST}",
        "minutes": args.minutes,
        "processes": args.processes,
        "epochs": result.n_epochs,
        "steps": result.n_steps,
        "train_s": result.train_s,
        "busy_cores": clock.cores(),
        "test_before": result.test_before.to_dict(),
        "valid": result.valid.to_dict(),
        "test": result.test.to_dict(),
        "curve_step": [line.step for line in result.history],
        "curve_s": [line.elapsed_s for line in result.history],
        "curve_valid_forces_mae_mev_per_a": [line.valid_forces_mae_mev_per_a for line in result.history],
    }


def settings(recipe: FinetuneRecipe, n_blocks: int) -> TrainConfig:
    """What ``finetune(recipe=...)`` would use, with the published statistics of the forces."""
    assert recipe.force_std is not None
    return recipe.train_config(n_blocks, recipe.force_std)


def in_time(published: TrainConfig, seconds: float, processes: int) -> TrainConfig:
    """The settings of the recipe, with a schedule that ends with the time, and our batches and learning rate
    by size."""
    optim = dataclasses.replace(published.optim, lr=None, stages=None)
    return dataclasses.replace(
        published,
        optim=optim,
        epochs=None,
        patience=None,
        max_time=seconds,
        batch_size=None,
        processes=processes,
    )


def write_rmd17(source: Path, folder: Path) -> Path:
    """``rmd17_aspirin.npz`` and the index files of the first official split in ``folder``, made once."""
    from ase.io import read

    from jmp_calc.training.datasets.base import legacy_shuffle
    from jmp_calc.units import KCAL_MOL

    last = folder / "index_test_01.csv"
    if last.exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    with gzip.open(source, "rt", encoding="utf-8") as file:
        images = read(file, ":", format="extxyz")
    np.savez(
        folder / "rmd17_aspirin.npz",
        nuclear_charges=images[0].numbers.astype(np.uint8),
        coords=np.array([atoms.positions for atoms in images]),
        energies=np.array([atoms.get_potential_energy() for atoms in images]) / KCAL_MOL,
        forces=np.array([atoms.get_forces() for atoms in images]) / KCAL_MOL,
    )
    order = legacy_shuffle(len(images))
    for name, chosen in (("index_train_01.csv", order[:-N_TEST]), (last.name, order[-N_TEST:])):
        (folder / name).write_text("".join(f"{i}\n" for i in chosen), encoding="utf-8")
    return folder


if __name__ == "__main__":
    main()
