"""Pairs of processes of one run: each gets the variables that a launcher would give it."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.training.helpers.served import prepared

VARIABLES = (
    "RANK",
    "LOCAL_RANK",
    "WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
    "NODE_RANK",
    "SLURM_NTASKS",
    "SLURM_STEP_NUM_TASKS",
    "TORCHELASTIC_RUN_ID",
)


@dataclass(frozen=True)
class Ended:
    """How two processes ended."""

    codes: tuple[int | None, ...]
    stdout: tuple[str, ...]
    stderr: tuple[str, ...]


def by_hand(rank: int, port: int) -> dict[str, str]:
    """What somebody sets who starts both processes himself."""
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }


def by_srun(rank: int, port: int) -> dict[str, str]:
    """What ``srun --nodes=1 --ntasks-per-node=2`` sets; the port follows from the number of the job."""
    return {
        "SLURM_JOB_ID": str(port - 15000),
        "SLURM_JOB_NAME": "train",
        "SLURM_NODELIST": "127.0.0.1",
        "SLURM_NNODES": "1",
        "SLURM_NTASKS": "2",
        "SLURM_NTASKS_PER_NODE": "2",
        "SLURM_STEP_NUM_NODES": "1",
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_NODEID": "0",
        "SLURM_PROCID": str(rank),
        "SLURM_LOCALID": str(rank),
    }


def pair(
    target: Callable[..., None],
    *arguments: Any,
    out: Path,
    launcher: Callable[[int, int], dict[str, str]] = by_hand,
    meanwhile: Callable[[list[Any]], None] = lambda processes: None,
) -> Ended:
    """Run ``target(*arguments)`` in two processes, for two minutes at most; what they print goes to ``out``.

    ``meanwhile`` gets the processes after their start. A process that does not end has the exit code None.
    """
    out.mkdir(parents=True, exist_ok=True)
    port, began = free_port(), time.monotonic()
    processes: list[Any] = [
        prepared(
            target,
            *arguments,
            output=out / f"{rank}",
            variables={**dict.fromkeys(VARIABLES), **launcher(rank, port)},
        )
        for rank in (0, 1)
    ]
    for process in processes:
        process.start()
    meanwhile(processes)
    for process in processes:
        process.join(max(0.0, began + 120.0 - time.monotonic()))
    codes = tuple(process.exitcode for process in processes)
    for process in processes:
        process.kill()
    texts = [tuple((out / f"{rank}.{name}").read_text() for rank in (0, 1)) for name in ("stdout", "stderr")]
    return Ended(codes, *texts)


def free_port() -> int:
    """One of those that Fabric derives from the number of a SLURM job."""
    for port in range(15000 + os.getpid() % 9000, 25000):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port
    raise AssertionError("no free port")
