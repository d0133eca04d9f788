"""Starting a training run on several devices or machines, and ending it with one message.

Lightning Fabric reads what torchrun or SLURM says, chooses devices and makes the process group. Without
either, the first process starts the others with its own command line. Fabric's wrappers of modules are not
used: gradients of conservative forces need two backward passes, and one sum of all gradients per step
(``World.add_gradients``) is exact for both.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

import torch
import torch.distributed as dist

from jmp_calc.errors import UsageError
from jmp_calc.machine.device import choose_device

from .shutdown import LAST_WORDS, common_store, gathered, hang_up, leave, release
from .world import World

Strategy = Literal["auto", "ddp", "fsdp"]
TIMEOUT = timedelta(hours=3)
"""For work of the first process alone. A process that dies is noticed at once, because its connections
close."""
_OF_TORCHRUN = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class DistributedConfig:
    """Which processes share a training run; the numbers of the run do not depend on it."""

    devices: int | None = None
    """Processes per machine, each with its own GPU (or share of a CPU); None: those of torchrun or srun, else
    1."""
    num_nodes: int = 1
    """Machines."""
    strategy: Strategy = "auto"
    """ddp: every process has all weights; fsdp: each keeps a part of them, of their moments and averages;
    auto: ddp."""

    def __post_init__(self) -> None:
        for name in ("devices", "num_nodes"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name} must be positive.", where=f"--{name.replace('_', '-')}")
        if self.strategy not in ("auto", "ddp", "fsdp"):
            raise UsageError(f"There is no strategy {self.strategy!r}.", hint="choose auto, ddp or fsdp")


@contextmanager
def started(config: DistributedConfig | World, device: str = "auto") -> Iterator[World]:
    """All processes of a run, this one among them; an error of any is told once, by the first.

    Args:
        config: how many processes there are to be; a World: they are started, and this is one of them.
        device: auto, cpu or cuda; GPUs are numbered by the rank within a machine.

    Raises UsageError where the processes cannot be started or do not find each other.
    """
    if isinstance(config, World):
        yield config
        return
    cluster = surroundings(os.environ)
    devices, nodes = processes(config, cluster, os.environ)
    if devices * nodes == 1:
        yield World()
        return
    kind = choose_device(device).type
    check_devices(kind, devices)
    with ExitStack() as stack:
        started_by_others = cluster is not None or "LOCAL_RANK" in os.environ
        children = [] if started_by_others else stack.enter_context(launched(devices, nodes))
        world, store = joined(kind, devices, nodes, cluster)
        world = dataclasses.replace(world, shards=config.strategy == "fsdp")
        stack.callback(hang_up)
        try:
            yield world
        except BaseException as error:
            if not world.is_first:
                leave(store, world, error)
            told = gathered(store, world, error, children)
            if told is error:
                raise
            raise told from error
        finally:
            if world.is_first:
                release(store, world)


def surroundings(environment: Mapping[str, str]) -> Literal["torchrun", "slurm"] | None:
    """Who started this process as one of several; None: nobody, or this module.

    UsageError if some of torchrun's variables are there and others are not, because each process would think
    it is alone.
    """
    if "TORCHELASTIC_RUN_ID" in environment:
        return "torchrun"
    interactive = environment.get("SLURM_JOB_NAME") in ("bash", "interactive")
    # SLURM_NTASKS is there in a batch script too, which is started once; a step is what srun starts.
    if int(environment.get("SLURM_STEP_NUM_TASKS", 1)) > 1 and not interactive:
        return "slurm"
    found = [name for name in _OF_TORCHRUN[:3] if name in environment]
    missing = [name for name in _OF_TORCHRUN if name not in environment]
    if found and missing and int(environment.get("WORLD_SIZE", 1)) > 1:
        raise UsageError(
            f"{', '.join(found)} are set as by torchrun, but {', '.join(missing)} is missing.",
            where="environment",
            hint=f"start with torchrun, or unset {' '.join(found)}",
        )
    return None


def processes(
    config: DistributedConfig, cluster: str | None, environment: Mapping[str, str]
) -> tuple[int, int]:
    """Processes per machine, and machines: those that were asked for, else those that the launcher has
    started."""
    if config.devices is not None or cluster is None:
        return config.devices or 1, config.num_nodes
    if cluster == "torchrun":
        devices = int(environment["LOCAL_WORLD_SIZE"])
        return devices, int(environment["WORLD_SIZE"]) // devices
    nodes = int(environment.get("SLURM_STEP_NUM_NODES", 1))
    return int(environment["SLURM_STEP_NUM_TASKS"]) // nodes, nodes


def check_devices(kind: str, devices: int) -> None:
    """UsageError if this machine has not that many GPUs, or cores."""
    here = torch.cuda.device_count() if kind == "cuda" else max(os.cpu_count() or 1, 2)
    if devices > here:
        raise UsageError(
            f"{devices} processes need {devices} {'GPUs' if kind == 'cuda' else 'cores'}; there are {here}.",
            where="--devices",
            hint=f"--devices {here} or fewer",
        )


@contextmanager
def launched(devices: int, nodes: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """The other processes of this machine, started with the command line of this one; they end with the
    block.

    Raises:
        UsageError: an interactive session.
    """
    if hasattr(sys, "ps1") or "ipykernel" in sys.modules:
        raise UsageError(
            "Several devices need a script or the command line, not an interactive session.",
            hint="write a script, or use one device",
        )
    node = int(os.environ.get("NODE_RANK", 0))
    common = {
        "MASTER_ADDR": os.environ.get("MASTER_ADDR", "127.0.0.1"),
        "WORLD_SIZE": str(devices * nodes),
        "MASTER_PORT": os.environ.get("MASTER_PORT") or str(free_port()),
        "NODE_RANK": str(node),
    }
    before = dict(os.environ)
    children = []
    try:
        for local in range(devices):
            os.environ.update(common, LOCAL_RANK=str(local), RANK=str(node * devices + local))
            if local > 0:
                children.append(subprocess.Popen([sys.executable, *sys.orig_argv[1:]]))
        os.environ.update(LOCAL_RANK="0", RANK=str(node * devices))
        yield children
        for child in children:
            child.wait()
    finally:
        for name in (*common, "LOCAL_RANK", "RANK"):
            os.environ.pop(name)
        os.environ.update(before)
        for child in children:
            _end(child)


def joined(kind: str, devices: int, nodes: int, cluster: str | None) -> tuple[World, dist.TCPStore]:
    """This process as one of the group, and a store for last words.

    Raises:
        UsageError: Fabric is missing, the port is in use, or the processes do not find each other.
    """
    try:
        from lightning_fabric import Fabric
        from lightning_fabric.plugins.environments import LightningEnvironment
        from lightning_fabric.strategies import DDPStrategy
    except ModuleNotFoundError as error:
        raise UsageError(
            "Several devices need Lightning Fabric.", hint="pip install 'jmp-calc[distributed]'"
        ) from error
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    backend = "gloo" if kind == "cpu" else "cpu:gloo,cuda:nccl"
    try:
        fabric = Fabric(
            accelerator=kind,
            devices=devices,
            num_nodes=nodes,
            plugins=None if cluster else [LightningEnvironment()],
            strategy=DDPStrategy(process_group_backend=backend, timeout=TIMEOUT),
        )
        fabric.launch()
        world = World(fabric.global_rank, fabric.world_size, fabric.device)
        return world, common_store(world)
    except (RuntimeError, ValueError) as error:
        where = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        if "EADDRINUSE" in str(error) or "in use" in str(error):
            raise UsageError(
                "The port of the first process is in use.",
                where=where,
                hint="choose another with MASTER_PORT=N, or leave it out on a single machine",
            ) from error
        raise UsageError(
            f"The processes did not find each other: {str(error).splitlines()[0]}.",
            where=where,
            hint="--devices and --num-nodes must be those that torchrun or srun starts",
        ) from error


def free_port() -> int:
    """A port of this machine that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _end(child: subprocess.Popen[bytes]) -> None:
    """Wait a little for a process, then stop it."""
    for stop in (child.terminate, child.kill):
        try:
            child.wait(timeout=LAST_WORDS)
            return
        except subprocess.TimeoutExpired:
            stop()
    child.wait()
