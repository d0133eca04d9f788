"""A training step on gradient forces: eager and compiled, and in inference calls of the same batch.

    python benchmarks/training_step.py                    all rows, with 2 threads and with 1
    python benchmarks/training_step.py --rows jmp-xs/bpa3 --threads 1

jmp-xs on batches of 3BPA (frames of the bundled sample), jmp-s with random weights on aspirin (8 Å,
30 neighbours). A step is what the fine-tuning loop does: energies and forces with their graph, the loss, its
gradient, clipping, AdamW; compiled, all but the last two are one program. An inference call is that of the
calculator: combined weights, no gradients of weights, energies and forces. All three take turns, with a
product of 2048³ between them. ``compile_s`` is 0 where the program lay in inductor's cache already. Writes
benchmarks/results/training_step.yaml.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from row_programs import measured_rows, measuring_parser, parsed, with_networks
from speed import CUTOFF, prepare, timed
from systems import covering_head, network, structure

if TYPE_CHECKING:
    from ase import Atoms

    from jmp_calc.model.potential import Potential
    from jmp_calc.training.compiled.programs import CompiledGradients
    from jmp_calc.training.data.frame import Frame

BATCHES = {
    "jmp-xs/bpa3": (4, 8), "jmp-xs/bpa3-16": (16, 4), "jmp-s/aspirin": (1, 5), "jmp-s/aspirin-4": (4, 3),
}  # fmt: skip
"""Structures in the batch, and the number of timed turns."""
ROWS = [f"{name}{suffix}" for name in BATCHES for suffix in ("", " 1 thread")]
WHAT = (
    "training step on gradient forces, eager and compiled, and inference calls of the same batch, float32; "
    "benchmarks/training_step.py"
)


def main() -> None:
    """Measure the rows that were asked for."""
    args = parsed(with_networks(measuring_parser(__doc__, ROWS)), measure)
    for name, numbers in measured_rows(
        __file__,
        args.rows,
        args.results / "training_step.yaml",
        "--work",
        str(args.work),
        threads=args.threads,
        what=WHAT,
        order=ROWS,
        prepare=lambda name: prepare(name.removesuffix(" 1 thread"), args.work),
    ):
        print(
            f"{name:26s} step {numbers['step_s'] * 1e3:8.1f} ms   compiled {numbers['compiled_s'] * 1e3:8.1f} "
            f"ms   gain {numbers['gain']:.2f}   call {numbers['call_s'] * 1e3:8.1f} ms   ratio "
            f"{numbers['ratio']:.2f}",
            flush=True,
        )


def measure(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """One row: eager steps, compiled steps and calls in turn."""
    import torch

    row = name.removesuffix(" 1 thread")
    torch.set_num_threads(1 if row != name else args.threads)
    size, repeats = BATCHES[row]
    eager, compiled, call, facts = steps_and_call(row, size, args.work)
    left = torch.rand(2048, 2048)
    for warm in (eager, compiled, compiled, call):
        warm()
    times: list[tuple[float, float, float, float]] = []
    for _ in range(repeats):
        product = timed(lambda: left @ left)
        times.append((timed(eager), timed(compiled), timed(call), product))
    return {
        "structures": size,
        **facts,
        "step_s": statistics.median(t[0] for t in times),
        "compiled_s": statistics.median(t[1] for t in times),
        "gain": statistics.median(t[0] / t[1] for t in times),
        "call_s": statistics.median(t[2] for t in times),
        "ratio": statistics.median(t[0] / t[2] for t in times),
        "rate_gflops": 2 * 2048**3 / statistics.median(t[3] for t in times) / 1e9,
        "load": os.getloadavg()[0],
    }


Step = Callable[[], object]


def steps_and_call(name: str, size: int, work: Path) -> tuple[Step, Step, Step, dict[str, Any]]:
    """An eager and a compiled training step and an inference call of one batch; atoms and seconds of
    compiling."""
    from jmp_calc.training.batches.dataset import FrameGraphs
    from jmp_calc.training.batches.tasks import Task
    from jmp_calc.training.config import OptimConfig, TrainConfig
    from jmp_calc.training.optim.gradients import SummedGradients, step_shares
    from jmp_calc.training.optim.optimizer import clip_gradients, make_optimizer

    trained, head, frames = model_and_frames(name, size, work)
    frozen = trained.with_config(trained.config).eval()
    frozen.freeze("conservative")
    target = FrameGraphs(frames, trained.config.policy, Task(head)).collate(range(size))
    config = TrainConfig(compile="on")
    (share,) = step_shares([[target]], config, "conservative")
    optimizer = make_optimizer(trained.train(), OptimConfig(lr=1e-6))
    programs, compile_s = compiled_program(trained, head, config)

    def step(gradients: SummedGradients) -> None:
        optimizer.zero_grad()
        gradients(trained, share)
        clip_gradients(trained.parameters(), 10.0)
        optimizer.step()
        if programs.failure is not None:
            raise SystemExit(f"{name}: {programs.failure}")

    facts = {"atoms": target.batch.n_atoms, "compile_s": compile_s}
    eager, compiled = SummedGradients(config), SummedGradients(config, programs)
    return lambda: step(eager), lambda: step(compiled), lambda: frozen(target.batch, heads=head), facts


def compiled_program(potential: Potential, head: str, config: Any) -> tuple[CompiledGradients, float]:
    """Compiled steps without stress, and the seconds that it took to make them."""
    from jmp_calc.training.compiled.build import build
    from jmp_calc.training.compiled.programs import CompiledGradients, Kind

    programs, kind = CompiledGradients(potential, [head], config), Kind("conservative", stress=False)
    file, began = programs.files[kind], time.monotonic()
    if file.is_file():
        return programs, 0.0
    file.parent.mkdir(parents=True, exist_ok=True)
    build(programs.specs[kind], file)
    return programs, time.monotonic() - began


def model_and_frames(name: str, size: int, work: Path) -> tuple[Potential, str, Sequence[Frame]]:
    """The network to train, its head, and labelled frames."""
    import dataclasses

    from ase.io import read

    from jmp_calc.zoo.names import resolve

    model, system = name.split("/")
    if model == "jmp-xs":
        with resources.as_file(resources.files("jmp_calc.samples") / "bpa3_sample.xyz.gz") as sample:
            structures = [atoms for atoms in read(sample, index=":") if len(atoms) > 1][:size]
    else:
        structures = [structure(system.split("-")[0]) for _ in range(size)]
    path = network(model, work)
    potential = resolve(path).potential
    if model != "jmp-xs":
        cutoff = CUTOFF.get(system, 8.0)
        policy = dataclasses.replace(potential.config.policy, cutoff=cutoff)
        potential = potential.with_config(dataclasses.replace(potential.config, policy=policy))
    return potential, covering_head(path, structures[0]), [frame(atoms) for atoms in structures]


def frame(atoms: Atoms) -> Frame:
    """A structure with labels of zero: the time of a step does not depend on them."""
    from jmp_calc.training.data.frame import Frame

    return Frame(
        numbers=atoms.numbers.astype(np.int64),
        positions=atoms.positions,
        cell=atoms.cell.array,
        pbc=atoms.pbc,
        energy=0.0,
        forces=np.zeros_like(atoms.positions),
        stress=None,
        group="default",
        source="sample",
        index=0,
    )


if __name__ == "__main__":
    main()
