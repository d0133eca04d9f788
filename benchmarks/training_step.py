"""A training step on gradient forces, in inference calls of the same batch.

    python benchmarks/training_step.py

jmp-xs on batches of 3BPA (frames of the bundled sample), jmp-s with random weights on aspirin (8 Å, 30
neighbours). A step is what the fine-tuning loop does: energies and forces with their graph, the loss, its
gradient, clipping, AdamW. An inference
call is that of the calculator: combined weights, no gradients of weights, energies and forces. Both take
turns, with a product of 2048³ between them. Writes benchmarks/results/training_step.yaml.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

from row_programs import measured_rows, measuring_parser, parsed, with_networks
from speed import CUTOFF, prepare, timed
from systems import covering_head, network, structure

ROWS = {"jmp-xs/bpa3": (4, 8), "jmp-xs/bpa3-16": (16, 4), "jmp-s/aspirin": (1, 5), "jmp-s/aspirin-4": (4, 3)}
"""Structures in the batch, and the number of timed pairs."""
WHAT = (
    "training step on gradient forces over inference calls of the same batch, float32; "
    "benchmarks/training_step.py"
)


def main() -> None:
    """Measure the rows that were asked for."""
    args = parsed(with_networks(measuring_parser(__doc__, list(ROWS))), measure)
    for name, numbers in measured_rows(
        __file__,
        args.rows,
        args.results / "training_step.yaml",
        "--work",
        str(args.work),
        threads=args.threads,
        what=WHAT,
        order=list(ROWS),
        prepare=lambda name: prepare(name, args.work),
    ):
        print(
            f"{name:18s} step {numbers['step_s'] * 1e3:8.1f} ms   call {numbers['call_s'] * 1e3:8.1f} ms   "
            "ratio "
            f"{numbers['ratio']:.2f}",
            flush=True,
        )


def measure(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """One row: steps and calls in turn."""
    import torch

    torch.set_num_threads(args.threads)
    size, repeats = ROWS[name]
    step, call, atoms = step_and_call(name, size, args.work)
    left = torch.rand(2048, 2048)
    for warm in (step, call):
        warm()
    times: list[tuple[float, float, float]] = []
    for _ in range(repeats):
        product = timed(lambda: left @ left)
        times.append((timed(step), timed(call), product))
    return {
        "structures": size,
        "atoms": atoms,
        "step_s": statistics.median(t[0] for t in times),
        "call_s": statistics.median(t[1] for t in times),
        "ratio": statistics.median(t[0] / t[1] for t in times),
        "rate_gflops": 2 * 2048**3 / statistics.median(t[2] for t in times) / 1e9,
    }


def step_and_call(name: str, size: int, work: Path) -> tuple[Callable[[], object], Callable[[], object], int]:
    """A training step and an inference call of one batch, and its number of atoms."""
    import dataclasses

    import torch
    from ase.io import read

    from jmp_calc.graph.batch import collate
    from jmp_calc.graph.build import build_graph
    from jmp_calc.training.config import OptimConfig
    from jmp_calc.training.optim.optimizer import clip_gradients, make_optimizer
    from jmp_calc.zoo.names import resolve

    model, system = name.split("/")
    if model == "jmp-xs":
        with resources.as_file(resources.files("jmp_calc.samples") / "bpa3_sample.xyz.gz") as sample:
            structures = [atoms for atoms in read(sample, index=":") if len(atoms) > 1][:size]
    else:
        structures = [structure(system.split("-")[0]) for _ in range(size)]
    path = network(model, work)
    head = covering_head(path, structures[0])
    trained = resolve(path).potential
    if model != "jmp-xs":
        cutoff = CUTOFF.get(system, 8.0)
        trained = trained.with_config(
            dataclasses.replace(
                trained.config, policy=dataclasses.replace(trained.config.policy, cutoff=cutoff)
            )
        )
    frozen = trained.with_config(trained.config).eval()
    frozen.freeze("conservative")
    policy = trained.config.policy
    batch = collate([build_graph(a.positions, a.numbers, a.cell.array, a.pbc, policy) for a in structures])
    target = torch.zeros_like(batch.positions)
    optimizer = make_optimizer(trained.train(), OptimConfig(lr=1e-6))

    def step() -> None:
        optimizer.zero_grad()
        prediction = trained(batch, heads=head, create_graph=True)
        (prediction.energy.abs().mean() + (prediction.forces - target).square().mean()).backward()
        clip_gradients(trained.parameters(), 10.0)
        optimizer.step()

    return step, lambda: frozen(batch, heads=head), batch.n_atoms


if __name__ == "__main__":
    main()
