"""What a run will do and cost, before anything is trained: the schedule of its real batches, and an estimate
of time and memory.

The network has names and shapes only; the batches are those of the first epoch of the run.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from jmp_calc.machine.device import choose_device, choose_dtype
from jmp_calc.machine.speed import Machine, probe_machine
from jmp_calc.model.potential import Potential
from jmp_calc.model.shapes import shapes_only

from ..batches.tasks import Task
from ..config import TrainConfig
from ..distributed.cpu_pool import check_processes
from ..distributed.world import World
from ..finetuning.batches import evaluation_batches, training_batches
from ..finetuning.earlier import EarlierSet, EarlierTask, possible_heads
from ..finetuning.forgetting import AT_VALIDATIONS, retained
from ..finetuning.network import check_old_head, kept_heads, network_for, new_head, with_layers
from ..finetuning.options import OLD_HEADS, ModelOptions
from ..finetuning.prepare import Prepared
from ..finetuning.start import Start, resolved
from ..optim.lora import train_low_rank
from ..optim.optimizer import freeze
from ..optim.schedule_report import RunSchedule, rate_groups
from ..pretraining.batches import training_batches as pretraining_batches
from ..pretraining.batches import validation_batches
from ..pretraining.network import network_config
from ..pretraining.recipe import PretrainRecipe
from ..pretraining.sets import with_few_valid
from ..pretraining.source_set import SourceSet
from ..run.job import check_combination, total_steps, validation_interval
from .cost import RunCost, run_cost

if TYPE_CHECKING:
    from jmp_calc.model.config import HeadConfig, ModelConfig

    from ..batches.loader import Batches


@dataclass(frozen=True)
class Plan:
    """A run before it starts."""

    schedule: RunSchedule
    cost: RunCost
    messages: tuple[str, ...] = ()
    """About the network."""


@dataclass(frozen=True)
class Machines:
    """Where a run computes."""

    device: str = "auto"
    dtype: str = "float32"
    devices: int = 1
    """Processes that share every step, each with a device."""


def plan_finetune(prepared: Prepared, where: Machines) -> Plan:
    """The plan of a fine-tuning with these data and settings; no network is evaluated.

    Raises the errors of the run for settings that do not go together.
    """
    messages: list[str] = []
    start, direct = prepared.start, prepared.config.forces == "direct"
    model = network_for(prepared.loaded, start, prepared.target, direct_forces=direct, messages=messages)
    head = new_head(
        start,
        prepared.train,
        prepared.references,
        prepared.target,
        direct_forces=direct,
        cutoff=model.policy.cutoff,
    )
    if not start.from_scratch:
        check_old_head(start, model, head, direct=direct)
    network, head = _with_new_head(model, head, prepared, start)
    prepared = resolved(prepared, network)
    replayed = tuple(_bound(item, network.config) for item in prepared.replayed)
    begun = Start(network, head, "", "", (), None, {}, (), replayed=replayed)
    cpu, alone = torch.device("cpu"), World()
    train = training_batches(prepared, network, begun, cpu, alone)
    valid, test = (
        evaluation_batches(frames, network, begun, prepared.config, cpu, alone)
        for frames in (prepared.valid, prepared.test)
    )
    watched = [_bound(item, network.config) for item in prepared.retained]
    found = retained(watched, network.config, prepared.config, cpu, alone, few=False)
    batches = train, valid, test, [item.batches for item in found]
    plan = _planned(network, prepared.config, batches, begun.fixed_heads, where, prepared.began)
    return dataclasses.replace(plan, messages=tuple(messages))


def plan_pretrain(
    recipe: PretrainRecipe, sets: Sequence[SourceSet], valid_frames: int | None, where: Machines, began: float
) -> Plan:
    """The plan of ``training.pretrain.run`` with these sets; ``began``: time.monotonic() before they were
    read."""
    model = network_config(recipe.model, recipe.mixture, sets, direct_forces=recipe.train.forces == "direct")
    network = _shaped(model)
    config = dataclasses.replace(recipe.train, batch_size=recipe.train.batch_size or 32)
    few = sets if valid_frames is None else [with_few_valid(source, valid_frames) for source in sets]
    cpu = torch.device("cpu")
    train = pretraining_batches(sets, recipe, network, cpu, 0)
    valid = validation_batches(few, recipe, network, cpu)
    return _planned(network, config, (train, valid, None, []), (), where, began)


def _planned(
    network: Potential,
    config: TrainConfig,
    batches: tuple[Batches, Batches, Batches | None, Sequence[Batches]],
    fixed_heads: tuple[str, ...],
    where: Machines,
    began: float,
) -> Plan:
    train, valid, test, watched = batches
    n_watched = sum(min(item.n_structures, AT_VALIDATIONS) for item in watched)
    device, dtype = choose_device(where.device), choose_dtype(where.dtype)
    check_combination(config, World(size=where.devices), dtype)
    check_processes(config.processes, {device.type})
    n_weights = sum(p.numel() for p in network.parameters())
    freeze(network, config.freeze, fixed_heads)
    if config.lora_rank is not None:
        train_low_rank(network, config.lora_rank, config.lora_alpha)
    schedule = RunSchedule(
        config,
        rate_groups(network, config),
        n_weights,
        train.n_structures,
        train.n_steps(0),
        total_steps(train, config),
        validation_interval(config, train.n_structures, valid.n_structures, n_watched),
    )
    threads = 1 if config.processes > 1 else torch.get_num_threads()
    cost = run_cost(
        schedule,
        network.config,
        train,
        valid,
        test,
        retained=watched,
        device=device,
        dtype=dtype,
        machine=_probed(device, dtype, threads),
        threads=threads,
        sharers=max(config.processes, where.devices),
        started_s=time.monotonic() - began,
    )
    return Plan(schedule, cost)


def _probed(device: torch.device, dtype: torch.dtype, threads: int) -> Machine:
    """The speed of this machine with the threads that the run will have."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return probe_machine(device, dtype)
    finally:
        torch.set_num_threads(before)


def _with_new_head(
    model: ModelConfig, head: HeadConfig, prepared: Prepared, start: ModelOptions
) -> tuple[Potential, HeadConfig]:
    """The network with the heads that it will have in the run: the new one, and old ones that are kept or
    needed."""
    named = not start.from_scratch and start.head not in OLD_HEADS
    head = with_layers(head, model, start, start.head if named else None)
    needed = {_old_head(item, model) for item in (*prepared.retained, *prepared.replayed)}
    kept = [] if start.from_scratch else kept_heads(start, model, needed)
    return _shaped(model.with_new_head(head, kept)), head


def _old_head(item: EarlierSet, model: ModelConfig) -> str:
    """The head that was named, else any that may be: which one fits best is found by evaluating them."""
    return possible_heads(item, model)[0]


def _bound(item: EarlierSet, model: ModelConfig) -> EarlierTask:
    return EarlierTask(item.frames, Task(_old_head(item, model), item.name), direct=False)


def _shaped(model: ModelConfig) -> Potential:
    with shapes_only():
        return Potential(model)
