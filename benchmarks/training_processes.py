"""Time of a training step of jmp-xs on a CPU: one thread, two threads, two processes with one thread each,
interleaved.

    python benchmarks/training_processes.py [--rounds 12]

Batches of eight 3BPA frames. Writes benchmarks/results/training_processes.yaml: median seconds per step and
the ratio to one thread. The gradients are the same (tests/training/distributed/test_cpu_pool.py).
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from pathlib import Path

import torch
import yaml
from folders import add_data_option

from jmp_calc.model.config import JMP_XS, JMP_XS_POLICY, HeadConfig, ModelConfig
from jmp_calc.model.potential import Potential
from jmp_calc.training.batches.dataset import FrameGraphs
from jmp_calc.training.batches.loader import Batches
from jmp_calc.training.batches.order import Fixed
from jmp_calc.training.batches.tasks import Task
from jmp_calc.training.config import TrainConfig
from jmp_calc.training.data.labels import read_labelled
from jmp_calc.training.distributed.cpu_pool import GradientPool
from jmp_calc.training.optim.gradients import SummedGradients, step_shares

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Time the three ways in turn."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_data_option(parser)
    parser.add_argument("--rounds", type=int, default=12)
    args = parser.parse_args()
    torch.manual_seed(0)
    head = HeadConfig("energy", hidden=32, num_layers=3)
    model = ModelConfig(
        JMP_XS, JMP_XS_POLICY, (head,), "energy", subtract_lone_atom=True, pair_repulsion=True
    )
    frames = read_labelled(args.data / "bpa3_train.xyz.gz", index=":8").frames
    graphs = FrameGraphs(frames, JMP_XS_POLICY, Task("energy"))
    batches = Batches(graphs, Fixed(graphs.sizes, max_edges=10**6, max_structures=8))
    config = TrainConfig()
    seconds: dict[str, list[float]] = {"one thread": [], "two threads": [], "two processes": []}
    with GradientPool(Potential(model), SummedGradients(config), 2) as pool:
        single = GradientPool(Potential(model), SummedGradients(config), 1)
        for _ in range(args.rounds + 1):
            for name, times in seconds.items():
                torch.set_num_threads(2 if name == "two threads" else 1)
                (step,) = batches.steps(0, processes=2 if name == "two processes" else 1)
                shares = step_shares(step, config, config.forces)
                began = time.perf_counter()
                (pool if name == "two processes" else single).gradients(shares)
                times.append(time.perf_counter() - began)
    medians = {name: statistics.median(times[1:]) for name, times in seconds.items()}
    content = {
        "what": "training step of jmp-xs, 8 frames of 3BPA; benchmarks/training_processes.py",
        "n_cores": os.cpu_count(),
        "rounds": args.rounds,
        "median_s": {name: round(value, 4) for name, value in medians.items()},
        "times_faster_than_one_thread": {
            name: round(medians["one thread"] / value, 2) for name, value in medians.items()
        },
    }
    RESULTS.mkdir(exist_ok=True)
    text = yaml.safe_dump(content, sort_keys=False)
    (RESULTS / "training_processes.yaml").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
