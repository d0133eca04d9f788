"""Options of commands that can share a training run among several devices and machines."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    pass

F = TypeVar("F", bound=Callable[..., Any])
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")


def distributed_options(function: F) -> F:
    """Add --devices, --num-nodes, --strategy; the command receives ``distributed: DistributedConfig``."""

    @click.option(
        "--devices",
        type=click.IntRange(min=1),
        default=None,
        help="GPUs (or processes on a CPU) per machine that share every batch.  "
        "[default: those of torchrun or srun, or 1]",
    )
    @click.option(
        "--num-nodes",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help="Machines; start the command on each, with torchrun or srun.",
    )
    @click.option(
        "--strategy",
        type=click.Choice(["auto", "ddp", "fsdp"]),
        default="auto",
        show_default=True,
        help="ddp: all weights in every process; fsdp: shared out.",
    )
    @functools.wraps(function)
    def wrapper(*args: Any, devices: int | None, num_nodes: int, strategy: Any, **rest: Any) -> Any:
        from ...training.distributed.launch import DistributedConfig

        return function(*args, distributed=DistributedConfig(devices, num_nodes, strategy), **rest)

    return wrapper  # type: ignore[return-value]
