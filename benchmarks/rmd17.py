"""Aspirin in a fixed number of steps: the recipe ``rmd17-aspirin`` of the JMP paper end to end, with jmp-xs and from
new weights, and what ``jmp-calc finetune`` does on the same frames without a recipe.

    python benchmarks/rmd17.py                     all rows that are missing, 10 minutes each on 2 idle cores
    python benchmarks/rmd17.py --rows jmp-xs       one row; with --seed 1, --n-train 50 others
    python benchmarks/rmd17.py --table             only print and plot what is there

The 1000 frames of aspirin_rmd17.xyz.gz (no jmp-xs was trained on them) are written as the published files are
laid out (``datasets.md`` section 6, without the ``old_*`` arrays, which nobody reads): ``rmd17_aspirin.npz``
in kcal/mol and index files, which ``--recipe rmd17-aspirin --split official-1`` reads: 850 frames to train
on, 50 for validation, 100 for the test, drawn by the legacy shuffle with seed 42. The published split (950 /
50 / 99,000) needs all 100,000 frames.

Settings are those of the recipe (from scratch: of gn-oc-rmd17-aspirin) but for those that each row lists as
``overrides``: its learning rate is that of networks 500 times larger, and its schedule takes 128 epochs of
single frames. The row ``jmp-xs-defaults`` has the defaults of finetune: energies and forces, the most similar head. STEPS are those of 10 minutes on two idle cores of our machine, by the 2350 steps of bpa3.py and
the edges of both molecules. A row that was stopped goes on where it was; only rows that took all their steps are
written to benchmarks/results/rmd17.yaml. Curves: rmd17.svg; the parity plot of each run: rmd17_parity_ROW.svg.
"""

from __future__ import annotations

import argparse
import dataclasses
import gzip
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from curves import Yardstick, plot_curves
from fixed_steps import in_steps, start_identity
from row_programs import compute_missing, draw, training_parser, with_draws
from rows import read_rows

if TYPE_CHECKING:
    from jmp_calc.training.config import TrainConfig
    from jmp_calc.training.finetuning.recipe import FinetuneRecipe

WHAT = (
    "recipe rmd17-aspirin in a fixed number of steps; benchmarks/rmd17.py; yardstick: MACE from scratch, 10 "
    "minutes, force MAE 35 meV/Å"
)
YARDSTICK = Yardstick("MACE from scratch, 10 min", 35.0)
"""Force MAE in meV/Å (project issue 5)."""
ROWS = {"jmp-xs": "rmd17-aspirin", "scratch": "gn-oc-rmd17-aspirin", "jmp-xs-defaults": None}
"""Row -> recipe; None: the defaults of finetune."""
SPLIT = "official-1"
N_VALID, N_TEST = 50, 100
STEPS = 3600


def main() -> None:
    """Run what is missing, then print and plot."""
    parser = with_draws(training_parser(__doc__, "rmd17"))
    parser.add_argument("--rows", nargs="*", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--steps", type=int, default=STEPS)
    args = parser.parse_args()
    path = args.results / "rmd17.yaml"
    for name in () if args.table else args.rows:
        start = start_identity("scratch:jmp-xs" if name == "scratch" else "jmp-xs")
        compute_missing(
            path,
            [draw(name, args.seed, args.n_train)],
            lambda row, name=name: run_row(row, ROWS[name], args),
            what=WHAT,
            order=list(ROWS),
            same={"steps": args.steps, "processes": args.processes, "start_sha256": start},
            threads=args.processes,
        )
    rows = read_rows(path)
    for row, numbers in rows.items():
        print(
            f"{row:16s} {numbers['steps']} steps, {numbers['epochs']} epochs: force MAE validation "
            f"{forces(numbers, 'valid')}, test {forces(numbers, 'test')} meV/Å; {YARDSTICK.name}: {YARDSTICK.valid}"
        )
    whole = {name: row for name, row in rows.items() if "/" not in name}
    plot_curves(args.results / "rmd17.svg", whole, [YARDSTICK], "rMD17 aspirin, 850 training frames")


def forces(numbers: dict[str, Any], part: str) -> float:
    """Force MAE of a part in meV/Å, to one digit."""
    return round(numbers[part]["forces_mae_mev_per_a"], 1)


def run_row(name: str, recipe: str | None, args: argparse.Namespace) -> dict[str, Any]:
    """Train for all steps (going on with an earlier part) and return the numbers."""
    return with_defaults(name, args) if recipe is None else with_recipe(name, recipe, args)


def with_defaults(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """Energies and forces by the defaults of finetune."""
    from jmp_calc.training import DataOptions, ModelOptions, TrainConfig

    parts = split_files(args.data / "aspirin_rmd17.xyz.gz", args.work / "data")
    data = DataOptions(parts[0], valid=parts[1], test=parts[2], n_train=args.n_train, seed=args.seed)
    config = TrainConfig(max_steps=args.steps, processes=args.processes, seed=args.seed)
    _, numbers = in_steps(name, run_folder(name, args), data, ModelOptions(model="jmp-xs"), config)
    return {"recipe": "none", "split": split_text(args), **numbers}


def run_folder(name: str, args: argparse.Namespace) -> Path:
    """Where a row is trained."""
    out: Path = args.work / f"{name.replace('/', '-')}-{args.steps}steps-{args.processes}processes"
    return out


def split_text(args: argparse.Namespace) -> str:
    """The split in words."""
    return f"{SPLIT}: {args.n_train or 850} / {N_VALID} / {N_TEST}"


def with_recipe(name: str, recipe: str, args: argparse.Namespace) -> dict[str, Any]:
    """The settings of a recipe but for what is listed as overrides."""
    from jmp_calc.training import DataOptions, ModelOptions
    from jmp_calc.training.config import config_diff, config_to_dict
    from jmp_calc.training.finetuning.recipes import finetune_recipe
    from jmp_calc.zoo.names import resolve

    folder = write_rmd17(args.data / "aspirin_rmd17.xyz.gz", args.work / "data")
    task = finetune_recipe(recipe)
    out = run_folder(name, args)
    published = settings(task, resolve("jmp-xs").potential.config.backbone.num_blocks)
    data = DataOptions(folder, recipe=task, split=SPLIT, n_train=args.n_train, seed=args.seed)
    config = in_fixed_steps(published, args)
    result, numbers = in_steps(name, out, data, ModelOptions(model="jmp-xs"), config)
    args.results.mkdir(parents=True, exist_ok=True)
    if "/" not in name:
        shutil.copyfile(out / "parity.svg", args.results / f"rmd17_parity_{name}.svg")
    overrides = config_diff(config_to_dict(published), config_to_dict(result.config))
    return {
        "recipe": recipe,
        "overrides": overrides,
        "split": split_text(args),
        **numbers,
    }


def settings(recipe: FinetuneRecipe, n_blocks: int) -> TrainConfig:
    """What ``finetune(recipe=...)`` would use, with the published statistics of the forces."""
    assert recipe.force_std is not None
    return recipe.train_config(n_blocks, recipe.force_std)


def in_fixed_steps(published: TrainConfig, args: argparse.Namespace) -> TrainConfig:
    """The settings of the recipe, with a schedule that ends with the steps, and our batches and learning rate
    by size."""
    optim = dataclasses.replace(published.optim, lr=None, stages=None)
    return dataclasses.replace(
        published,
        optim=optim,
        epochs=None,
        patience=None,
        max_time=None,
        max_steps=args.steps,
        batch_size=None,
        processes=args.processes,
        seed=args.seed,
    )


def split_files(source: Path, folder: Path) -> list[Path]:
    """The same training, validation and test frames as extended XYZ."""
    from ase.io import read, write

    from jmp_calc.training.datasets.base import legacy_shuffle

    with gzip.open(source, "rt", encoding="utf-8") as file:
        images = read(file, ":", format="extxyz")
    order = legacy_shuffle(len(images))
    ends = {"train": (0, -N_VALID - N_TEST), "valid": (-N_VALID - N_TEST, -N_TEST), "test": (-N_TEST, None)}
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.extxyz" for name in ends]
    for path, (first, last) in zip(paths, ends.values(), strict=True):
        write(path, [images[i] for i in order[first:last]], format="extxyz")
    return paths


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
