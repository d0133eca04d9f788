"""What two processes compute for test_distributed.py: ``python -m tests.training.helpers.two_processes
FOLDER``.

Starting processes takes longer than all that they compute here, so that one start serves many tests. At the
end the second process kills itself in the middle of a run.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jmp_calc.cli.main import report
from jmp_calc.errors import NotConvergedError
from jmp_calc.machine.signals import Interrupted
from jmp_calc.model.config import to_dict
from jmp_calc.training import DataOptions, ModelOptions, TrainResult
from jmp_calc.training.batches.dataset import FrameGraphs, TargetBatch
from jmp_calc.training.batches.loader import Batches
from jmp_calc.training.batches.order import Fixed, Order, Shuffled
from jmp_calc.training.batches.tasks import Task
from jmp_calc.training.config import OptimConfig, TrainConfig
from jmp_calc.training.data.frame import Frame
from jmp_calc.training.distributed.launch import DistributedConfig, started
from jmp_calc.training.distributed.world import World
from jmp_calc.training.finetune import finetune
from jmp_calc.training.loop import Fitted, fit
from jmp_calc.training.pretrain import pretrain
from jmp_calc.training.pretraining.options import PretrainOptions
from jmp_calc.training.pretraining.recipe import load_recipe
from jmp_calc.training.run.job import Job
from jmp_calc.training.run.log import silent
from tests.training.helpers.resumed import resumed_fit
from tests.training.helpers.tiny import emt_frames, tiny_potential

FRAMES = emt_frames(13)
"""Nine of them in batches of four: the last batch of an epoch has one structure, which two processes cannot
share."""
CONFIG = TrainConfig(
    epochs=2,
    batch_size=4,
    optim=OptimConfig(method="adamw", lr=5e-3, ema_decay=0.9, warmup_steps=3),
)
"""SOAP is not for weights that are shared out, and its axes are those of rounding where few structures leave
directions without a gradient."""
TIGHT = dataclasses.replace(
    CONFIG,
    accumulate=2,
    optim=dataclasses.replace(CONFIG.optim, clip_norm=0.1, clip_value=0.05),
)
EARLIER = {
    "replayed": dataclasses.replace(CONFIG, epochs=None, max_steps=3),
    "low rank": dataclasses.replace(CONFIG, epochs=None, max_steps=3, lora_rank=2),
}


class Disturbed(Batches):
    """Batches with something happening before a step."""

    before: Callable[[int], None] = staticmethod(lambda step: None)

    def steps(self, epoch: int, skip: int = 0, processes: int = 1) -> Iterator[list[list[TargetBatch]]]:
        for number, step in enumerate(super().steps(epoch, skip, processes), start=skip):
            self.before(number)
            yield step


def job(
    folder: Path,
    world: World,
    config: TrainConfig = CONFIG,
    frames: tuple[Frame, ...] = FRAMES,
    before: Callable[[int], None] = lambda step: None,
) -> Job:
    """The same small network and data for every process, in float64."""
    potential = tiny_potential(dtype=torch.float64)
    folder.mkdir(exist_ok=True, parents=True)

    def batches(chosen: tuple[Frame, ...], *, shuffle: bool) -> Disturbed:
        data = FrameGraphs(chosen, potential.config.policy, Task("old"))
        order: Order = Fixed(data.sizes, max_edges=10**6, max_structures=2)
        if shuffle:
            order = Shuffled(data.sizes, max_edges=10**6, max_structures=4, accumulate=config.accumulate)
        made = Disturbed(data, order, rank=world.rank, world_size=world.size)
        made.before = before  # type: ignore[method-assign]
        return made

    return Job(
        potential,
        batches(frames[:9], shuffle=True),
        batches(frames[9:], shuffle=False),
        folder,
        to_dict(potential.config),
        {},
        lambda name, progress: None,
        world=world,
    )


def rows(made: Fitted | TrainResult) -> list[list[float]]:
    """What has to be the same however many processes there are."""
    return [
        [row.step, row.train_loss, row.gradient_norm, row.valid_loss, row.valid_forces_mae_mev_per_a, row.lr]
        for row in (made.history.rows if isinstance(made, Fitted) else made.history)
    ]


def broken_frames() -> tuple[Frame, ...]:
    """One of the training frames has a force that is no number."""
    forces = np.zeros((4, 3))
    forces[0, 0] = np.inf
    return (*FRAMES[:3], dataclasses.replace(FRAMES[3], forces=forces), *FRAMES[4:])


def pretrained(folder: Path, out: Path, world: World) -> dict[str, torch.Tensor]:
    """Weights after three steps on four data sets under three heads.

    The first two have data of one head only, the third has data of one in the first process and of the others
    in the second.
    """
    recipe = load_recipe(
        folder / "recipe.toml",
        ["train.max_steps=3", "train.epochs=2", "train.batch_size=3", "train.optim.method=adamw"],
    )
    out.mkdir(exist_ok=True)
    options = PretrainOptions(pack=folder / "pack.npz", device="cpu", dtype="float64")
    pretrain(recipe, out, options, distributed=world, say=lambda text: None)
    return torch.load(out / "state.pt", weights_only=True)["weights"]


def finetuned(folder: Path, out: Path, world: World, config: TrainConfig) -> list[list[float]]:
    """Numbers of a fine-tuning that replays one set under an old head and watches another one under a third
    head."""
    data = DataOptions(
        folder / "train.extxyz",
        valid=folder / "valid.extxyz",
        replay=(f"{folder / 'earlier.extxyz'}:other",),
        replay_share=0.4,
        retain=(f"{folder / 'held.extxyz'}:old",),
    )
    start = ModelOptions(model=str(folder / "tiny.safetensors"), dtype="float64", keep_heads=True)
    result = finetune(
        data=data, start=start, config=config, out=out, device="cpu", distributed=world, say=silent
    )
    (watched,) = result.forgetting
    errors = [
        found
        for item in (watched.before, watched.after, result.valid)
        for found in (item.energy_mae_mev_per_atom, item.forces_mae_mev_per_a)
    ]
    return [*rows(result), [found for found in errors if found is not None]]


def together(out: Path, world: World) -> dict[str, Any]:
    """Everything but the end."""
    ddp = dataclasses.replace(world, shards=False)
    found: dict[str, Any] = {"whole": rows(fit(job(out / "whole", ddp), CONFIG))}

    def signal_to_second(step: int) -> None:
        if step == 1 and world.rank == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    try:
        fit(job(out / "parts", ddp, before=signal_to_second), CONFIG)
    except Interrupted as stopped:
        found["stopped"] = world.collect((stopped.exit_code, stopped.note))
    found["resumed"] = rows(resumed_fit(job(out / "parts", ddp), CONFIG))
    found["tight"] = rows(fit(job(out / "tight", ddp, TIGHT), TIGHT))
    found["sharded"] = rows(fit(job(out / "sharded", world, TIGHT), TIGHT))
    longer = dataclasses.replace(TIGHT, epochs=3)
    found["resumed sharded"] = rows(resumed_fit(job(out / "sharded", world, longer), longer, override=True))
    try:
        fit(job(out / "nan", ddp, frames=broken_frames()), CONFIG)
    except NotConvergedError as stopped:
        found["nan"] = world.collect(str(stopped))
    # By its own clock the second process would stop at once.
    timed = dataclasses.replace(CONFIG, epochs=None, max_time=50.0, max_steps=2)
    late = dataclasses.replace(job(out / "timed", ddp), spent_s=100.0 * world.rank)
    found["timed"] = [row[0] for row in rows(fit(late, timed))]
    for name, config in EARLIER.items():
        found[name] = finetuned(out / "earlier", out / name, ddp, config)
    for name, member in (("ddp", ddp), ("fsdp", world)):
        torch.save(
            pretrained(out / "mixture", out / f"pretrained-{name}", member), out / f"{name}-{world.rank}.pt"
        )
    return found


def main(out: Path) -> None:
    """Write what was found, then let the second process die."""
    with started(DistributedConfig(devices=2, strategy="fsdp"), "cpu") as world:
        found = together(out, world)
        if world.is_first:
            (out / "found.json").write_text(json.dumps(found))

        def die(step: int) -> None:
            if step == 1 and world.rank == 1:
                os.kill(os.getpid(), signal.SIGKILL)

        fit(job(out / "died", dataclasses.replace(world, shards=False), before=die), CONFIG)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except BaseException as error:
        sys.exit(report(error))
