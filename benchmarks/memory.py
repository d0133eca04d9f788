"""Peak resident memory against atoms: one call for energy and forces, and one training step on gradient
forces.

    python benchmarks/memory.py                                            all rows, each in a process of its own
    python benchmarks/memory.py --rows jmp-s/aspirin/forces jmp-l/nanotube370/training
    python benchmarks/memory.py --options '{"activation_checkpointing": "on"}' --rows ...       rows of their own
    python benchmarks/memory.py --plot                                     only the figure

process_gb is the peak of the process, call_gb what the call added to it. A training step: energy, forces with
their graph, the gradient of a squared loss, AdamW. Products of 2048³ are timed before and after the call:
products = seconds · rate / GFLOP. Random weights for jmp-s and jmp-l. Writes benchmarks/results/memory.yaml
row by row, and memory.svg.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from row_programs import (
    measured_rows,
    measuring_parser,
    parsed,
    suffix,
    with_calculator_options,
    with_networks,
)
from rows import peak_bytes, read_rows
from speed import loaded, prepare, timed

if TYPE_CHECKING:
    from jmp_calc.inference.memory import Checkpointing

SYSTEMS = {
    "jmp-xs": ("aspirin", "ac-ala5-nhme", "water192", "nanotube370", "Cu256", "Cu1008"),
    "jmp-s": ("ethanol", "aspirin", "ac-ala5-nhme", "Si64", "water192", "nanotube370"),
    "jmp-l": ("ethanol", "aspirin", "ac-ala5-nhme", "nanotube370"),
}  # fmt: skip
KINDS = ("forces", "training")
ROWS = [
    f"{model}/{system}/{kind}" for model, systems in SYSTEMS.items() for system in systems for kind in KINDS
]
WHAT = (
    "peak memory of energy and forces, and of a training step on gradient forces, float32; "
    "benchmarks/memory.py"
)


def main() -> None:
    """Measure the rows that were asked for, then plot all."""
    parser = with_calculator_options(with_networks(measuring_parser(__doc__, ROWS)))
    parser.add_argument("--plot", action="store_true", help="measure nothing")
    args = parsed(parser, measure)
    path = args.results / "memory.yaml"
    for name, numbers in measured_rows(
        __file__,
        [] if args.plot else args.rows,
        path,
        "--work",
        str(args.work),
        "--options",
        json.dumps(args.options),
        threads=args.threads,
        what=WHAT,
        order=ROWS,
        prepare=lambda name: prepare(name, args.work),
        suffix=suffix(args.options),
    ):
        print(
            f"{name:40s} {numbers['atoms']:5d} atoms   call {numbers['call_gb']:7.3f} GB   process "
            f"{numbers['process_gb']:7.3f} GB   {numbers['seconds']:8.2f} s",
            flush=True,
        )
    plot(read_rows(path), args.results / "memory.svg")


def measure(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """One row."""
    import torch

    torch.set_num_threads(args.threads)
    from jmp_calc.model.cost import GraphCounts

    row, kind = name.rsplit("/", 1)
    atoms = loaded(row, args.work, **args.options)
    counts = GraphCounts.of(atoms.calc.build_graph(atoms))
    choice = args.options.get("activation_checkpointing", "auto")
    call = atoms.get_forces if kind == "forces" else training_step(atoms, choice)

    def product() -> float:
        left = torch.rand(2048, 2048)  # let go before the call, whose memory counts
        left @ left
        return timed(lambda: left @ left)

    products = [product()]
    took: list[float] = []
    peak, before = peak_bytes(lambda: took.append(timed(call)))
    rate = 2 * 2048**3 / statistics.median([*products, product()])
    return {
        "atoms": counts.atoms,
        "main_edges": counts.main,
        "call_gb": (peak - before) / 1e9,
        "process_gb": peak / 1e9,
        "seconds": took[0],
        "rate_gflops": rate / 1e9,
        "products": took[0] * rate / 1e9,
    }


def training_step(atoms: Any, checkpointing: Checkpointing) -> Callable[[], None]:
    """One step of all weights; the calculator gives way to a network that can be trained."""
    from jmp_calc.graph.batch import collate
    from jmp_calc.inference.memory import choose_recompute
    from jmp_calc.model.cost import GraphCounts
    from jmp_calc.training.config import OptimConfig
    from jmp_calc.training.optim.optimizer import make_optimizer
    from jmp_calc.zoo.names import resolve

    batch, info, config = collate([atoms.calc.build_graph(atoms)]), atoms.calc.info, atoms.calc.model_config
    atoms.calc = None
    potential = resolve(info.path).potential.with_config(config).train()
    optimizer = make_optimizer(potential, OptimConfig(lr=1e-4))

    def step() -> None:
        recompute = choose_recompute(
            config, GraphCounts.of_batch(batch), 4, "training", checkpointing, batch.numbers.device
        )
        prediction = potential(batch, heads=info.head, create_graph=True, recompute=recompute)
        (prediction.energy.square().sum() + prediction.forces.square().sum()).backward()
        optimizer.step()

    return step


def plot(rows: dict[str, dict[str, Any]], path: Path) -> None:
    """Memory of a call against atoms, one line per model, kind and set of options."""
    if not rows:
        return
    from matplotlib.figure import Figure

    lines: dict[str, list[tuple[int, float]]] = {}
    for name, row in rows.items():
        model, _, rest = name.split("/", 2)
        lines.setdefault(f"{model}, {rest}", []).append((row["atoms"], row["call_gb"]))
    figure = Figure(figsize=(6.5, 4.2), layout="constrained")
    axes = figure.subplots()
    colours = {"jmp-xs": "#2f5d8c", "jmp-s": "#55a868", "jmp-l": "#c44e52"}
    for label, points in lines.items():
        style = "o-" if "forces" in label else "s--"
        style = style if "=" not in label else style.replace("o", "^").replace("s", "v")
        axes.plot(*zip(*sorted(points)), style, color=colours[label.split(",")[0]], ms=4, lw=1.2, label=label)
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="atoms",
        ylabel="peak memory of one call (GB)",
        title="energy and forces, and a training step",
    )
    axes.legend(fontsize=7)
    figure.savefig(path)


if __name__ == "__main__":
    main()
