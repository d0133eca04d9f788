"""What a training run costs on this machine, estimated before it starts: seconds of a step and in all,
memory.

A step is some batches of the first epoch; the time of an inference call on each is estimated as
``jmp_calc.estimate`` does, from counted edges and a second of probes, and multiplied by what a training step
costs beside it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from jmp_calc.inference.estimate import FORWARD_SHARE, Work
from jmp_calc.inference.memory import choose_recompute, estimated_bytes
from jmp_calc.io.progress import duration
from jmp_calc.machine.device import free_memory
from jmp_calc.model.cost import GraphCounts

from ..config import TrainConfig
from ..finetuning.forgetting import AT_VALIDATIONS

if TYPE_CHECKING:
    from jmp_calc.machine.speed import Machine
    from jmp_calc.model.config import ModelConfig
    from jmp_calc.model.recompute import Recompute

    from ..batches.dataset import TargetBatch
    from ..batches.loader import Batches
    from ..batches.order import Step
    from ..optim.schedule_report import RunSchedule

STEP_CALLS = 3.5
"""Time of a training step that differentiates forces or stress, over that of energy and forces (as gradient)
of the same
batch: 3.3 to 3.7 in benchmarks/training_step.py."""
STEP_CALLS_UNDIFFERENTIATED = 1.4
"""The same for a step on scalars or direct forces (measured on jmp-xs with 8 and 32 atoms per structure: 1.1
to 1.6)."""
MEMORY_UNDIFFERENTIATED = 0.38
"""Memory of such a step over that of one that differentiates (measured, same batches: 0.30 to 0.39)."""
RECOMPUTED_STEP: dict[Recompute, float] = {"nothing": 1.0, "interactions": 1.4, "blocks": 1.9}
"""Time of a training step in a memory plan over that of keeping all (benchmarks/memory.py: jmp-s on
aspirin)."""
WEIGHT_COPIES = 5
"""Weights, gradients, two moments, averages."""
SAMPLED_STEPS = 12
LOOKED_THROUGH = 2000
"""Steps of the first epoch among which the largest is looked for."""


@dataclass(frozen=True)
class Evaluated:
    """One batch that is evaluated as a whole: its size, and what a training step on it takes."""

    structures: int
    counts: GraphCounts
    seconds: float
    memory_bytes: float
    recompute: Recompute


@dataclass(frozen=True)
class RunCost:
    """Estimated cost of a run."""

    step_s: float
    """Seconds of a training step on average."""
    valid_s: float
    """Seconds of the validation frames with one set of weights; where weights are averaged, both sets are
    evaluated at every validation."""
    test_s: float
    """Seconds of the test frames, which are evaluated twice."""
    retained_s: float
    """Seconds of all retained frames, which are evaluated before and after training."""
    retained_few_s: float
    """Seconds of those of them that are evaluated at every validation."""
    started_s: float
    """Seconds that reading, graphs and probes have taken, as they will in the run."""
    n_steps: int
    """That the run takes: what its settings say, or as many as fit into the time."""
    n_validations: int
    time_decides: bool
    """Whether the time limit ends the run."""
    total_s: float
    structures: float
    """Of a step on average, as atoms and edges."""
    atoms: float
    edges: float
    memory_bytes: float
    """Of the largest step, beside the weights."""
    weight_bytes: int
    """Weights with gradients, moments and averages."""
    free_bytes: int | None
    recompute: Recompute
    """What the largest step computes again instead of keeping it."""
    device: str
    threads: int
    """Per process."""
    processes: int

    @property
    def fits(self) -> bool:
        """Whether the largest step and the weights fit into the free memory."""
        return self.free_bytes is None or self.memory_bytes + self.weight_bytes <= self.free_bytes

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {**dataclasses.asdict(self), "fits": self.fits}

    def lines(self) -> list[str]:
        """The same to read."""
        where = (
            f"{self.device}, {self.processes} processes"
            if self.processes > 1
            else f"{self.device}, {self.threads} threads"
        )
        memory = (
            f"{_gib(self.memory_bytes)} for the largest step, {_gib(self.weight_bytes)} for weights, "
            "moments and averages"
        )
        free = "free memory unknown" if self.free_bytes is None else f"{_gib(self.free_bytes)} free"
        again = "" if self.recompute == "nothing" else f" (computing {self.recompute} again)"
        verdict = (
            "fits"
            if self.fits
            else (
                "DOES NOT FIT: smaller --batch-size or --max-edges-per-batch, or "
                "--activation-checkpointing on"
            )
        )
        end = "the time limit" if self.time_decides else f"about {duration(self.total_s)}"
        return [
            f"training step: about {self.step_s:.2g} s ({self.structures:.3g} structures, {self.atoms:.0f} "
            "atoms, "
            f"{self.edges:.0f} edges on average; {where})",
            f"validation: about {self.valid_s:.2g} s"
            + (f", and {self.retained_few_s:.2g} s of retained frames" if self.retained_s else "")
            + (f"; test: {self.test_s:.2g} s, twice" if self.test_s else "")
            + (f"; all retained frames: {self.retained_s:.2g} s, twice" if self.retained_s else ""),
            f"memory: about {memory}{again}; {free}: {verdict}",
            f"in all: {end}, about {self.n_steps} steps and {self.n_validations} validations at most, "
            f"after {self.started_s:.0f} s of reading and graphs",
            "(estimated from a second of probes of this machine: right within about a third, while nothing "
            "else runs on it)",
        ]


def run_cost(
    schedule: RunSchedule,
    model: ModelConfig,
    train: Batches,
    valid: Batches,
    test: Batches | None,
    *,
    retained: Sequence[Batches] = (),
    device: torch.device,
    dtype: torch.dtype,
    machine: Machine,
    threads: int,
    sharers: int,
    started_s: float,
) -> RunCost:
    """Estimate a run.

    Args:
        schedule: what it does.
        model: network with the heads of the run.
        train, valid, test: its batches (test: None or empty for none).
        retained: all frames of each retained set.
        device: where the network is evaluated.
        dtype: of the network.
        machine: probes with ``threads`` threads, those of each process.
        threads: CPU threads of a process.
        sharers: processes that share each step.
        started_s: seconds before the first step.
    """
    config = schedule.config
    steps = list(islice(train.order.steps(0), LOOKED_THROUGH))
    largest = max(steps, key=lambda step: max(int(train.data.sizes[part, 1].sum()) for part in step))

    def evaluated(step: Step) -> list[list[Evaluated]]:
        return [
            [_evaluated(part, train, model, config, device, dtype, machine) for part in share]
            for share in train.shared(step, sharers)
        ]

    sampled = [evaluated(step) for step in steps[:SAMPLED_STEPS]]
    parts = [part for shares in sampled for share in shares for part in share]
    step_s = float(
        np.mean([max(sum(part.seconds for part in share) for share in shares) for shares in sampled])
    )
    peaks = [max(share, key=lambda part: part.memory_bytes) for share in evaluated(largest)]
    valid_s, test_s = (
        0.0 if batches is None else _evaluation_s(batches, model, config, dtype, machine, sharers)
        for batches in (valid, test)
    )
    # Under old heads, of about the cost of the new one.
    retained_s = [_evaluation_s(batches, model, config, dtype, machine, sharers) for batches in retained]
    few_s = sum(
        seconds * min(batches.n_structures, AT_VALIDATIONS) / batches.n_structures
        for seconds, batches in zip(retained_s, retained, strict=True)
    )
    n_steps, n_validations, total, time_decides = _length(
        schedule, step_s, valid_s, test_s, (sum(retained_s), few_s), started_s
    )
    return RunCost(
        step_s=step_s,
        valid_s=valid_s,
        test_s=test_s,
        retained_s=sum(retained_s),
        retained_few_s=few_s,
        started_s=started_s,
        n_steps=n_steps,
        n_validations=n_validations,
        time_decides=time_decides,
        total_s=total,
        structures=sum(part.structures for part in parts) / len(sampled),
        atoms=sum(part.counts.atoms for part in parts) / len(sampled),
        edges=sum(part.counts.main for part in parts) / len(sampled),
        # Processes on a CPU share its memory; devices have their own.
        memory_bytes=sum(part.memory_bytes for part in peaks)
        if device.type == "cpu"
        else peaks[0].memory_bytes,
        weight_bytes=WEIGHT_COPIES * dtype.itemsize * schedule.n_weights,
        free_bytes=free_memory(device),
        recompute=max(peaks, key=lambda part: part.memory_bytes).recompute,
        device=str(device),
        threads=threads,
        processes=sharers,
    )


def _evaluated(
    frames: Sequence[int],
    batches: Batches,
    model: ModelConfig,
    config: TrainConfig,
    device: torch.device,
    dtype: torch.dtype,
    machine: Machine,
) -> Evaluated:
    target = batches.data.collate(frames)
    counts = GraphCounts.of_batch(target.batch)
    recompute = choose_recompute(
        model, counts, dtype.itemsize, "training", config.activation_checkpointing, device
    )
    seconds = _call(counts, model, dtype).seconds(machine)
    memory = estimated_bytes(model, counts, dtype.itemsize, "training", recompute)
    share = _differentiated(config, target)
    calls = share * STEP_CALLS + (1 - share) * STEP_CALLS_UNDIFFERENTIATED
    memory *= 1.0 if share else MEMORY_UNDIFFERENTIATED
    return Evaluated(len(frames), counts, calls * RECOMPUTED_STEP[recompute] * seconds, memory, recompute)


def _differentiated(config: TrainConfig, target: TargetBatch) -> float:
    """Share of the steps in which the energy is differentiated: for forces, or for the stress beside direct
    forces."""
    if config.forces != "direct":
        return 1.0 if config.forces == "conservative" else 0.0
    if config.conservative_after is not None:
        return 1.0 - config.conservative_after
    return 1.0 if target.has_stress and config.loss.stress_weight > 0 else 0.0


def _call(counts: GraphCounts, model: ModelConfig, dtype: torch.dtype) -> Work:
    return Work.of(model.backbone, model.heads[0], counts, "float64" if dtype == torch.float64 else "float32")


def _evaluation_s(
    batches: Batches,
    model: ModelConfig,
    config: TrainConfig,
    dtype: torch.dtype,
    machine: Machine,
    sharers: int,
) -> float:
    """Seconds of all structures once, from a few batches spread over them."""
    if not batches.n_structures:
        return 0.0
    steps = list(islice(batches.order.steps(0), LOOKED_THROUGH))
    chosen = [steps[i] for i in sorted({int(i) for i in np.linspace(0, len(steps) - 1, SAMPLED_STEPS)})]
    seconds, structures = 0.0, 0
    for part in (part for step in chosen for part in step):
        target = batches.data.collate(part)
        call = _call(GraphCounts.of_batch(target.batch), model, dtype).seconds(machine)
        seconds += call * (1.0 if _differentiated(config, target) else FORWARD_SHARE)
        structures += len(part)
    return seconds * batches.n_structures / structures / sharers


def _length(
    schedule: RunSchedule,
    step_s: float,
    valid_s: float,
    test_s: float,
    retained_s: tuple[float, float],
    started_s: float,
) -> tuple[int, int, float, bool]:
    """Steps, validations, seconds, and whether the time limit decides; the report comes after the limit.

    ``retained_s``: of all retained frames, and of those at a validation.
    """
    (all_s, few_s), config = retained_s, schedule.config
    interval = config.validate_every or schedule.steps_per_epoch * schedule.epochs_per_validation
    both_s = few_s + (valid_s if config.optim.ema_decay is None else 2 * valid_s)
    # Before the loop: test and retained frames; one validation before the first step and one at the end.
    fixed, report = started_s + test_s + all_s + few_s + valid_s + both_s, valid_s + test_s + all_s
    per_step = step_s + both_s / interval
    steps, time_decides = schedule.total_steps, False
    if config.max_time is not None:
        fit = max(int((config.max_time - fixed) / per_step), 1)
        time_decides = steps is None or fit < steps
        steps = fit if steps is None else min(steps, fit)
    assert steps is not None
    total = (config.max_time or 0.0) + report if time_decides else fixed + steps * per_step + report
    return steps, 2 + steps // interval, total, time_decides


def _gib(size: float) -> str:
    return f"{size / 2**30:.2f} GiB" if size >= 2**30 / 20 else f"{size / 2**20:.1f} MiB"
