"""A tiny network without quadruplets (half the operations to trace), data under two heads, and a run on
them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from jmp_calc.model.config import to_dict
from jmp_calc.model.potential import Potential
from jmp_calc.training.batches.dataset import FrameGraphs
from jmp_calc.training.batches.loader import Batches
from jmp_calc.training.batches.order import Fixed, Shuffled
from jmp_calc.training.batches.tasks import Task
from jmp_calc.training.config import OptimConfig, TrainConfig
from jmp_calc.training.data.frame import Frame
from jmp_calc.training.run.job import Job
from tests.training.helpers.tiny import emt_frames, tiny_config

HEADS = ["old", "other"]
CONFIG = TrainConfig(
    epochs=3,
    batch_size=2,
    accumulate=2,
    optim=OptimConfig(method="adamw", lr=2e-3, ema_decay=0.9, warmup_steps=3),
)
"""Not SOAP, whose axes are those of rounding where two structures leave directions without a gradient."""


def frames() -> tuple[Frame, ...]:
    """Ten frames: some without stress, one with nothing but its energy."""
    made = list(emt_frames(10))
    for number in (1, 4, 5):
        made[number] = dataclasses.replace(made[number], stress=None)
    alone = dataclasses.replace(made[8], forces=None, stress=None, numbers=np.full(4, 29))
    return (*made[:9], dataclasses.replace(alone, index=9))


FRAMES = frames()


def simple_potential(dtype: torch.dtype = torch.float64, *, quad_interaction: bool = False) -> Potential:
    """Random weights; three heads, of which the data have two, with scales, binding energies and repulsion of
    their own."""
    config = tiny_config("old", "unused", "other")
    heads = tuple(
        dataclasses.replace(
            head, energy_scale=1.0 + 0.3 * number, references={13: 0.4, 29: -0.2}, binding={13: 0.1, 29: -0.3}
        )
        for number, head in enumerate(config.heads)
    )
    heads = (*heads[:2], dataclasses.replace(heads[2], pairs={"Al-Cu": 2.9, "Cu-Cu": 2.8}))
    config = dataclasses.replace(
        config,
        heads=heads,
        pair_repulsion=True,
        backbone=dataclasses.replace(config.backbone, quad_interaction=quad_interaction),
        policy=dataclasses.replace(config.policy, qint_cutoff=3.2 if quad_interaction else 0.0),
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Potential(config).to(dtype).train()


def graphs(frames: tuple[Frame, ...]) -> FrameGraphs:
    """Two tasks, in turn."""
    tasks = [Task(head, stress_unit=0.1 * (1 + number)) for number, head in enumerate(HEADS)]
    numbers = np.arange(len(frames)) % 2
    return FrameGraphs(frames, simple_potential().config.policy, tasks, task_of=numbers)


def job(
    folder: Path,
    say: Callable[[str], None] = lambda line: None,
    potential: Potential | None = None,
    train: tuple[Frame, ...] = FRAMES[:8],
) -> Job:
    """A run on the frames."""
    potential = simple_potential() if potential is None else potential
    folder.mkdir(exist_ok=True, parents=True)
    data, valid = graphs(train), graphs(FRAMES[8:])
    order = Shuffled(data.sizes, max_edges=10**6, max_structures=2, accumulate=2)
    return Job(
        potential,
        Batches(data, order),
        Batches(valid, Fixed(valid.sizes, max_edges=10**6)),
        folder,
        to_dict(potential.config),
        {},
        lambda name, progress: None,
        say,
    )
