"""One optimizer step of every published recipe with the networks of the paper, on small files in the real
layouts.

    python benchmarks/recipes.py                           all rows that are not recorded yet
    python benchmarks/recipes.py --rows jmp-l/rmd17-aspirin    this one, also if it is recorded

JMP-S and JMP-L in the official layout with random weights (1.1 GB in --work). Readers, splits, losses, groups
and rates of the optimizer are those of the recipe; structures and numbers of frames are small, so the errors
mean nothing. Times are CPU seconds, which other work on the machine changes little. Each row is measured in a
process of its own and written at once to benchmarks/results/recipes.yaml.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
from pathlib import Path
from typing import Any

from row_programs import measured_rows, measuring_parser, parsed, with_networks
from rows import read_rows

sys.path.insert(0, str(Path(__file__).parents[1]))  # the small files are those of the tests

NETWORKS = {"jmp-s": 4, "jmp-l": 6}
"""Interaction blocks."""
WHAT = (
    "one optimizer step of the full-size network (random weights, float32) on smallest structures, CPU "
    "seconds; "
    "benchmarks/recipes.py"
)


def main() -> None:
    """Measure the rows that were asked for."""
    from jmp_calc.training.finetuning.recipes import recipe_names

    names = [f"{network}/{recipe}" for network in NETWORKS for recipe in recipe_names()]
    parser = with_networks(measuring_parser(__doc__, names), "runs/recipes")
    parser.set_defaults(rows=None)
    args = parsed(parser, measure)
    path = args.results / "recipes.yaml"
    for name, numbers in measured_rows(
        __file__,
        args.rows or [name for name in names if name not in read_rows(path)],
        path,
        "--work",
        str(args.work),
        threads=args.threads,
        what=WHAT,
        order=names,
        prepare=lambda name: network_file(name.split("/")[0], args.work),
    ):
        print(
            f"{name:36s} step {numbers['step_s']:6.1f} s   run {numbers['run_s']:6.1f} s   "
            f"{numbers['peak_gb']:.2f} GB",
            flush=True,
        )


def network_file(network: str, work: Path) -> Path:
    """The network with random weights, written on first use."""
    path = work / f"{network}-random.safetensors"
    if not path.exists():
        from jmp_calc.model.config import JMP_L, JMP_S
        from tests.training.helpers.small_sets import write_official_network

        work.mkdir(parents=True, exist_ok=True)
        write_official_network(path, {"jmp-s": JMP_S, "jmp-l": JMP_L}[network])
    return path


def measure(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """One row: a step, and what it did to the weights."""
    import torch

    from tests.training.helpers.one_step import one_step

    torch.set_num_threads(args.threads)
    network, recipe = name.split("/")
    with tempfile.TemporaryDirectory(dir=args.work) as folder:
        done = one_step(recipe, network_file(network, args.work), NETWORKS[network], Path(folder))
    witness, row = done.witness, done.result.history[-1]
    return {
        "weights": witness.weights,
        "without_gradient": witness.without_gradient,
        "unmoved": witness.unmoved,
        "groups": len(witness.rates),
        "loss": row.train_loss,
        "step_s": done.step_s,
        "run_s": done.run_s,
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
    }


if __name__ == "__main__":
    main()
