"""What each part of the pre-training is worth: jmp-xs without it for the same number of steps, then short
fine-tunings on four unseen tasks.

    python benchmarks/ablation.py --pack runs/stage1/mixture.npz          all rows that are missing, one core
    python benchmarks/ablation.py --pack PACK --rows full no-crystals --seeds 0
    python benchmarks/ablation.py --table                                 only print what is there

The pack holds the frames of a stage of the recipe (``jmp-calc pretrain jmp-xs`` leaves it in its folder); rows
without some sets read what is left of it. All rows take STEPS steps (20 core-minutes) at a constant rate after the
warm-up, as a stage does, so that no head is judged before it has had its time; the averaged weights are used. Then 50
training frames of each task, in the steps of transfer_tasks.py. With one head for all methods every set keeps linear
references of its own, by least squares: their energies have nothing else in common. A row that was stopped goes on
where it was; only finished ones are written to benchmarks/results/ablation.yaml.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from fixed_steps import has_begun
from row_programs import compute_missing, training_parser
from rows import RESULTS, read_rows
from task_runs import Tuning, add_compile_option, tuned
from transfer_tables import MISSING, Lines, error, print_table
from transfer_tasks import FEW, TASKS

if TYPE_CHECKING:
    from jmp_calc.training.pretraining.pack import Packed
    from jmp_calc.training.pretraining.recipe import PretrainRecipe

WHAT = "test errors after a short pre-training without some of its parts and a short fine-tuning; benchmarks/ablation.py"
STEPS = 1500
SEEDS = (0, 1)
TARGETS = ("bpa3", "aspirin", "si-random", "tio2")
ONE_HEAD = "all-methods"


@dataclass(frozen=True)
class Variant:
    """What differs from the recipe."""

    changes: tuple[str, ...] = ()
    """Settings, as for ``jmp-calc pretrain --set``."""
    without: str = ""
    """Sets that are left out: ``molecules`` and ``crystals`` that are made, or ``files`` of DFT."""
    one_head: bool = False


ROWS = {
    "full": Variant(),
    "no-made-molecules": Variant(without="molecules"),
    "no-made-crystals": Variant(without="crystals"),
    "no-dft": Variant(without="files"),
    "one-head": Variant(one_head=True),
    "T1": Variant(("mixture.temperature=1.0",)),
    "Tinf": Variant(("mixture.temperature=inf",)),
    "atom-wise-loss": Variant(("train.loss.structure_wise=false",)),
}
"""The recipe has temperature 2, a head per method and a structure-wise loss."""


def content(variant: Variant, seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """The recipe with the changes of a row."""
    from jmp_calc.training.pretraining.mixture import changed, read_recipe

    seeds = (f"train.seed={seed}", f"mixture.seed={seed}")
    settings = (f"train.processes={args.processes}", f"train.compile={args.compile}")
    recipe = changed(read_recipe(args.recipe), (*variant.changes, *seeds, *settings))
    recipe["train"].pop("max_time", None)
    recipe["train"]["validate_every"] = args.steps
    recipe["sets"] = {name: item for name, item in recipe["sets"].items() if kind(item) != variant.without}
    for item in recipe["sets"].values():
        # Made frames are in the pack already; what they were like may be left out.
        if "made" in item:
            item["made"].pop("like", None)
    if variant.one_head:
        for item in recipe["sets"].values():
            item["head"] = ONE_HEAD
            item.pop("constant", None)
        recipe["heads"] = {ONE_HEAD: {"level_of_theory": "all methods, each with its own linear references"}}
        recipe["mixture"]["default_head"] = ONE_HEAD
    used = {item["head"] for item in recipe["sets"].values()}
    recipe["heads"] = {name: head for name, head in recipe["heads"].items() if name in used}
    if recipe["mixture"]["default_head"] not in used:
        kept = (name for name, head in recipe["heads"].items() if head.get("keep", True))
        recipe["mixture"]["default_head"] = next(kept)
    if recipe["mixture"].get("default_for_molecules") not in used:
        recipe["mixture"].pop("default_for_molecules", None)
    return recipe


def kind(item: Mapping[str, Any]) -> str:
    """What a set of the recipe is made of."""
    return str(item["made"]["sample"]) if "made" in item else "files"


def with_own_references(packed: Packed) -> Packed:
    """The pack with energies above linear references of each set, by least squares on its training frames."""
    import dataclasses

    import numpy as np

    from jmp_calc.training.data.references import fit_references

    energy, sets = packed.energy.copy(), []
    for number, item in enumerate(packed.sets):
        members = np.flatnonzero(packed.set_index == number)
        labelled = [int(i) for i in members if not np.isnan(energy[i])]
        trained = [packed.frame(i) for i in labelled if not packed.valid[i]]
        values = fit_references(trained, mode="lstsq").values if trained else {}
        for i in labelled:
            energy[i] -= sum(values.get(int(z), 0.0) for z in packed.frame(i).numbers)
        zero = dict.fromkeys(item.references, 0.0)
        sets.append(dataclasses.replace(item, references=zero, isolated={}, isolated_references=False))
    return dataclasses.replace(packed, energy=energy, sets=tuple(sets))


def pack_of(variant: Variant, args: argparse.Namespace) -> Path:
    """The file of frames that a row reads, made once."""
    from jmp_calc.training.pretraining.pack import load_packed, save_packed

    given: Path = args.pack
    if not variant.one_head:
        return given
    path: Path = args.work / f"one-head-{digest(given)[:8]}.npz"
    if not path.exists():
        save_packed(path, with_own_references(load_packed(given)), {})
    return path


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def recipe_for(name: str, seed: int, args: argparse.Namespace) -> PretrainRecipe:
    """The recipe of a row as one stage of so many steps."""
    from jmp_calc.training.pretraining.chain import StageOptions
    from jmp_calc.training.pretraining.recipe import recipe_of, staged

    return staged(recipe_of(content(ROWS[name], seed, args), name), StageOptions(steps=args.steps))


def run_row(row: str, args: argparse.Namespace) -> dict[str, Any]:
    """Pre-train (going on with an earlier part), fine-tune on all tasks, and return the errors."""
    from jmp_calc.training import OptimConfig
    from jmp_calc.training.pretrain import pretrain
    from jmp_calc.training.pretraining.options import PretrainOptions
    from jmp_calc.training.pretraining.recipe import model_name

    name, _, number = row.partition("/seed-")
    recipe = recipe_for(name, int(number), args)
    out = args.work / f"{name}-seed-{number}-{args.steps}steps-{digest(args.pack)[:8]}"
    if not (out / "report.yaml").exists():  # else it is finished, and its model has fine-tunings already
        options = PretrainOptions(pack=pack_of(ROWS[name], args), device="cpu", valid_frames=15)
        pretrain(recipe, out, options, resume=has_begun(out))
    report = yaml.safe_load((out / "report.yaml").read_text())
    tasks = {}
    for target in TARGETS:
        steps = args.tuning_steps or TASKS[target].steps
        tuning = Tuning(target, str(out / model_name(recipe.mixture)), steps, FEW, int(number))
        found = tuned(f"{row}/{target}", tuning, OptimConfig(), args)
        tasks[target] = {key: found[key] for key in ("steps", "rule", "init_head", "lr", "valid", "test")}
    return {
        "steps": report["n_steps"],
        "pack_sha256": digest(args.pack),
        "processes": args.processes,
        "train_s": report["train_s"],
        "valid": report["valid"],
        "tasks": tasks,
    }


def table(results: Path = RESULTS) -> Lines:
    """Test error on every task, mean over the seeds, and the geometric mean of the ratios to the full recipe."""
    rows = read_rows(results / "ablation.yaml")
    units = [f"{name} ({TASKS[name].unit})" for name in TARGETS]
    lines = [["pre-training", "seeds", *units, "error / full"]]
    means: dict[str, list[float]] = {}
    for name in ROWS:
        found = [rows[f"{name}/seed-{seed}"] for seed in SEEDS if f"{name}/seed-{seed}" in rows]
        if not found:
            lines.append([name, "0", *[MISSING] * (len(TARGETS) + 1)])
            continue
        tests = [[error(row["tasks"][target], "test") for row in found] for target in TARGETS]
        means[name] = [statistics.fmean(errors) for errors in tests]
        ratio = MISSING
        if "full" in means:
            logs = [math.log(own / full) for own, full in zip(means[name], means["full"])]
            ratio = f"{math.exp(statistics.fmean(logs)):.3f}"
        cells = [
            f"{mean:.3g}" + (f" ± {statistics.stdev(errors):.2g}" if len(errors) > 1 else "")
            for mean, errors in zip(means[name], tests)
        ]
        lines.append([name, str(len(found)), *cells, ratio])
    return lines


def main() -> None:
    """Run what is missing, then print."""
    parser = add_compile_option(training_parser(__doc__, "ablation", processes=1))
    parser.add_argument("--rows", nargs="*", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--seeds", nargs="*", type=int, choices=SEEDS, default=list(SEEDS))
    parser.add_argument("--recipe", default="jmp-xs", help="name or TOML file")
    parser.add_argument("--pack", type=Path, help="frames of a stage: mixture.npz of its folder")
    parser.add_argument("--steps", type=int, default=STEPS, help="of the pre-training")
    parser.add_argument("--tuning-steps", type=int, help="of the fine-tunings, instead of those of the tasks")
    args = parser.parse_args()
    if not args.table and args.pack is None:
        parser.error("--pack is needed")
    path = args.results / "ablation.yaml"
    names = [f"{name}/seed-{seed}" for seed in args.seeds for name in args.rows]
    compute_missing(
        path,
        [] if args.table else names,
        lambda row: run_row(row, args),
        what=WHAT,
        order=[f"{name}/seed-{seed}" for name in ROWS for seed in SEEDS],
        same={} if args.table else {"steps": args.steps, "pack_sha256": digest(args.pack)},
        threads=args.processes,
    )
    print_table(table(args.results))


if __name__ == "__main__":
    main()
