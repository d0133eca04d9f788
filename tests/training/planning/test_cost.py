"""The estimate of a run: sums of its parts in closed form, and a measured step that it has to come near."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from jmp_calc.graph.batch import collate
from jmp_calc.inference.estimate import Work
from jmp_calc.inference.memory import estimated_bytes
from jmp_calc.machine.speed import Machine
from jmp_calc.model.cost import GraphCounts
from jmp_calc.training.batches.dataset import FrameGraphs
from jmp_calc.training.batches.loader import Batches
from jmp_calc.training.batches.order import Fixed, Shuffled
from jmp_calc.training.batches.tasks import Task
from jmp_calc.training.config import OptimConfig, TrainConfig
from jmp_calc.training.finetuning.options import DataOptions, ModelOptions
from jmp_calc.training.finetuning.prepare import Prepared, prepare
from jmp_calc.training.optim.schedule_report import RunSchedule, rate_groups
from jmp_calc.training.planning.cost import STEP_CALLS, WEIGHT_COPIES, RunCost, run_cost
from jmp_calc.training.planning.plan import Machines, plan_finetune
from tests.training.helpers.tiny import POLICY, emt_file, emt_frames, tiny_model, tiny_potential

MACHINE = Machine(flops=1e10, bytes_per_s=1e9, read_bytes_per_s=1e9, layer_s=1e-5)
CONFIG = TrainConfig(optim=OptimConfig(lr=1e-3), epochs=10, batch_size=2)
FRAMES = emt_frames(10)
CPU = torch.device("cpu")


def batches(count: int, size: int) -> Batches:
    graphs = FrameGraphs(FRAMES[:count], POLICY, Task("old"))
    return Batches(graphs, Shuffled(graphs.sizes, max_edges=10**6, max_structures=size))


def cost(
    config: TrainConfig = CONFIG,
    *,
    total: int | None = 50,
    sharers: int = 1,
    started_s: float = 0.0,
    retained: int = 0,
) -> RunCost:
    network, train = tiny_potential(), batches(10, 2)
    graphs = FrameGraphs(FRAMES[:3], POLICY, Task("old"))
    valid = Batches(graphs, Fixed(graphs.sizes, max_edges=10**6))
    many = FrameGraphs(FRAMES[:1] * retained, POLICY, Task("old"))
    weights = sum(p.numel() for p in network.parameters())
    schedule = RunSchedule(config, rate_groups(network, config), weights, 10, train.n_steps(0), total, 1)
    return run_cost(
        schedule,
        network.config,
        train,
        valid,
        None,
        retained=[Batches(many, Fixed(many.sizes, max_edges=10**6))] if retained else [],
        device=CPU,
        dtype=torch.float32,
        machine=MACHINE,
        threads=1,
        sharers=sharers,
        started_s=started_s,
    )


def counts(frames: list[int], data: FrameGraphs) -> GraphCounts:
    return GraphCounts.of_batch(collate([data.graph(i) for i in frames]))


def test_a_step_is_some_calls_and_a_run_is_its_steps_and_validations() -> None:
    found, train, config = cost(started_s=7.0), batches(10, 2), tiny_potential().config
    steps = list(train.order.steps(0))
    calls = [
        Work.of(config.backbone, config.heads[0], counts(step[0], train.data), "float32").seconds(MACHINE)
        for step in steps
    ]
    assert found.step_s == pytest.approx(3.5 * np.mean(calls)) and STEP_CALLS == 3.5
    three = Work.of(config.backbone, config.heads[0], counts([0, 1, 2], train.data), "float32").seconds(
        MACHINE
    )
    assert found.valid_s == pytest.approx(three, rel=0.05)  # in batches by density
    assert found.structures == 2 and found.atoms == 8
    # 50 steps in 10 epochs, each validated with both sets of weights, as at the end; with one set before the
    # first step and for the report.
    assert found.n_steps == 50 and found.n_validations == 12 and not found.time_decides
    assert found.total_s == pytest.approx(7.0 + 50 * found.step_s + 24 * found.valid_s)


def test_retained_frames_are_evaluated_at_both_ends_and_some_at_every_validation() -> None:
    found, without = cost(retained=400), cost()
    assert without.retained_s == without.retained_few_s == 0.0
    assert found.retained_few_s == pytest.approx(found.retained_s / 2) and found.retained_s > 0.0
    # 12 validations of 200 frames, and all 400 before and after.
    assert found.total_s - without.total_s == pytest.approx(2 * found.retained_s + 12 * found.retained_few_s)
    assert "of retained frames" in "\n".join(found.lines())


def test_memory_is_that_of_the_largest_step_and_five_times_the_weights() -> None:
    found, train, network = cost(), batches(10, 2), tiny_potential()
    most = max(
        estimated_bytes(network.config, counts(step[0], train.data), 4, "training")
        for step in train.order.steps(0)
    )
    assert found.memory_bytes == pytest.approx(most, rel=0.05)
    assert found.weight_bytes == WEIGHT_COPIES * 4 * sum(p.numel() for p in network.parameters())
    assert found.recompute == "nothing" and found.fits
    tight = dataclasses.replace(found, free_bytes=int(found.memory_bytes))
    assert not tight.fits and "DOES NOT FIT" in "\n".join(tight.lines())


def test_as_many_steps_as_fit_into_the_time() -> None:
    free = cost(dataclasses.replace(CONFIG, epochs=None, max_time=1e9), total=None)
    per_epoch = 5 * free.step_s + 2 * free.valid_s
    seconds = 3 * free.valid_s + 20 * per_epoch
    timed = cost(dataclasses.replace(CONFIG, epochs=None, max_time=seconds), total=None)
    assert timed.time_decides and timed.n_steps == pytest.approx(100, abs=1)
    assert timed.total_s == pytest.approx(seconds + timed.valid_s)
    assert "the time limit" in "\n".join(timed.lines())


def test_scalars_need_less_than_half_and_two_processes_half_of_the_time() -> None:
    scalar = dataclasses.replace(CONFIG.for_target(), epochs=10)
    assert cost(scalar).step_s == pytest.approx(0.4 * cost().step_s)
    assert cost(scalar).memory_bytes < 0.5 * cost().memory_bytes
    assert cost(sharers=2).step_s == pytest.approx(0.5 * cost().step_s, rel=0.3)


def test_direct_forces_are_cheap_unless_a_stress_is_trained_on() -> None:
    """The stress is a derivative of the energy, so that nothing is saved; conservative forces at the end cost
    their share."""
    direct = dataclasses.replace(CONFIG, forces="direct")
    without = dataclasses.replace(direct, loss=dataclasses.replace(CONFIG.loss, stress_weight=0.0))
    assert cost(direct).step_s == pytest.approx(cost().step_s)
    assert cost(without).step_s == pytest.approx(0.4 * cost().step_s)
    late = dataclasses.replace(direct, conservative_after=0.75)
    assert cost(late).step_s == pytest.approx((0.25 + 0.75 * 0.4) * cost().step_s)


@pytest.fixture
def prepared(tmp_path: Path) -> Prepared:
    data = DataOptions(emt_file(tmp_path / "train.extxyz", 12))
    return prepare(
        data, ModelOptions(str(tiny_model(tmp_path / "tiny.safetensors"))), CONFIG, lambda line: None
    )


def test_a_plan_evaluates_nothing_and_has_the_weights_and_the_rate_of_the_run(prepared: Prepared) -> None:
    """The learning rate depends on the number of weights without the old heads, of which the file has
    more."""
    prepared = dataclasses.replace(prepared, config=TrainConfig(epochs=4))
    plan = plan_finetune(prepared, Machines("cpu"))
    network = prepared.loaded.potential
    weights = sum(p.numel() for p in network.parameters())
    assert plan.schedule.n_weights == weights  # one old head, replaced by the new one of the same shape
    assert plan.schedule.config.optim.lr == pytest.approx(2e-3)  # the largest rate, for a network this small
    assert plan.schedule.steps_per_epoch == 3 and plan.schedule.total_steps == 12
    keeping = dataclasses.replace(prepared.start, keep_heads=True)
    kept = plan_finetune(dataclasses.replace(prepared, start=keeping), Machines("cpu"))
    head = sum(p.numel() for name, p in network.named_parameters() if name.startswith("heads."))
    assert kept.schedule.n_weights == weights + head
    assert sum(group.weights for group in kept.schedule.groups) == weights  # the old head is not trained
    assert all(not p.is_meta for p in network.parameters())


def test_a_plan_counts_retained_frames(tmp_path: Path) -> None:
    model = ModelOptions(str(tiny_model(tmp_path / "tiny.safetensors")))
    train, held = emt_file(tmp_path / "train.extxyz", 12), emt_file(tmp_path / "held.extxyz", 6, seed=5)
    plans = [
        plan_finetune(
            prepare(DataOptions(train, retain=retain), model, TrainConfig(epochs=4), lambda line: None),
            Machines("cpu"),
        )
        for retain in ((), (f"{held}:old",))
    ]
    assert plans[0].cost.retained_s == 0.0
    assert (
        plans[1].cost.retained_few_s == pytest.approx(plans[1].cost.retained_s)
        and plans[1].cost.retained_s > 0.0
    )


def test_the_estimate_comes_near_a_measured_step() -> None:
    """Within a factor of four in CPU time: in a network so small, overhead is most of it."""
    from jmp_calc.machine.speed import probe_machine
    from jmp_calc.training.optim.gradients import SummedGradients, step_shares
    from jmp_calc.training.optim.optimizer import make_optimizer

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        network, train = tiny_potential(), batches(10, 2)
        optimizer = make_optimizer(network, CONFIG.optim)
        work, times = SummedGradients(CONFIG), []
        for shares in train.steps(0):
            began = time.process_time()
            optimizer.zero_grad()
            work(network, step_shares(shares, CONFIG, "conservative")[0])
            optimizer.step()
            times.append(time.process_time() - began)
        graphs = FrameGraphs(FRAMES[:3], POLICY, Task("old"))
        schedule = RunSchedule(CONFIG, rate_groups(network, CONFIG), 1, 10, 5, 50, 1)
        found = run_cost(
            schedule,
            network.config,
            train,
            Batches(graphs, Fixed(graphs.sizes, max_edges=10**6)),
            None,
            device=CPU,
            dtype=torch.float32,
            machine=probe_machine(CPU, torch.float32),
            threads=1,
            sharers=1,
            started_s=0.0,
        )
    finally:
        torch.set_num_threads(before)
    assert 0.25 < found.step_s / np.median(times[1:]) < 4.0
