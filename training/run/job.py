"""What a training loop works on, and how long that will be."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from jmp_calc.errors import UsageError

from ..batches.loader import Batches
from ..config import TrainConfig
from ..distributed.world import World
from .checkpoint import Checkpoint, Progress

if TYPE_CHECKING:
    from torch import Tensor

    from jmp_calc.model.potential import Potential

    from ..validation.history import MetricLogger
    from ..validation.validate import Retained


STATE_FILE = "state.pt"


VALIDATION_SHARE = 0.15
"""Validation runs so often that it costs about this share of the time."""


@dataclass(frozen=True)
class Job:
    """What ``fit`` works on, beside the settings."""

    potential: Potential
    train: Batches
    valid: Batches
    folder: Path
    model_config: dict[str, Any]
    """Plain dict of the model's configuration; stored in the state, so that it can be rebuilt."""
    data: dict[str, Any]
    """Fingerprint of the data; a resumed run must have the same."""
    save_model: Callable[[str, Progress], None]
    """Writes the model as it is now, under the given file name: "best" or "last". The weights in it are those
    of ``Progress.weights``."""
    say: Callable[[str], None] = lambda text: None
    spent_s: float = 0.0
    """Seconds of the time budget that were spent before the loop (reading, graphs)."""
    loggers: Sequence[MetricLogger] = ()
    """Receive the rows of metrics.csv."""
    world: World = World()
    """The processes that share the run. Only the first one saves, says and logs; all read the same folder."""
    fixed_heads: tuple[str, ...] = ()
    """Names of heads that are not trained."""
    retained: tuple[Retained, ...] = ()
    """Earlier data whose errors are written to tasks.csv at every validation."""
    averages: Mapping[str, Tensor] = field(default_factory=dict)
    """Averaged weights to go on from, by name; the others start as the weights are."""
    steps_before: int = 0
    """Steps that these averages stand for."""
    state_saved: Callable[[Checkpoint], None] = lambda state: None
    """Is told every state that was written."""


def total_steps(train: Batches, config: TrainConfig) -> int | None:
    """Optimizer steps of the whole run (an estimate where batches differ between epochs); None: time
    decides."""
    by_epochs = None if config.n_epochs is None else config.n_epochs * train.n_steps(0)
    return min((steps for steps in (by_epochs, config.max_steps) if steps is not None), default=None)


def validation_interval(config: TrainConfig, trained: int, valid: int, retained: int) -> int:
    """Epochs between validations, from settings and numbers of structures alone: a resumed run validates at
    the same steps.

    Args:
        config: whether weights are averaged, and the stages.
        trained: structures of an epoch.
        valid: validation structures, which are evaluated with averaged weights and with those as they are.
        retained: structures of earlier data, which are evaluated once.
    """
    # Patience and plateau of the published schedules count validations, one per epoch.
    if config.optim.stages is not None:
        return 1
    evaluated = valid * (1 if config.optim.ema_decay is None else 2) + retained
    # A training step costs about three evaluations: forces, and the gradient of the forces.
    share = evaluated / (3.0 * max(trained, 1))
    return max(1, math.ceil(share / VALIDATION_SHARE))


def check_combination(config: TrainConfig, world: World, dtype: torch.dtype) -> None:
    """UsageError for settings that do not go together."""
    if config.precision != "32-true" and dtype != torch.float32:
        raise UsageError(f"--precision {config.precision} is for weights in float32.", hint="--dtype float32")
    if config.precision == "16-mixed" and config.optim.pcgrad:
        raise UsageError(
            "PCGrad does not work in float16.", where="training setting pcgrad", hint="precision bf16-mixed"
        )
    if world.size > 1 and config.processes > 1:
        raise UsageError("--processes and --devices contradict each other.", hint="leave --processes out")
    if world.shards and config.lora_rank is not None:
        raise UsageError(
            "Low-rank updates are too small to be shared out.", where="--lora-rank", hint="--strategy ddp"
        )
    if world.size > 1 and config.optim.pcgrad:
        raise UsageError(
            "PCGrad needs the gradients of all tasks in one process.",
            where="training setting pcgrad",
            hint="use one device, or pcgrad = false",
        )
