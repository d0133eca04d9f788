"""Compiled training steps: the gradients of the network, for all parts of a run, or the network itself.

Traced graphs stand for programs here, because a compiler takes minutes; test_compiler.py has real ones.
"""

from __future__ import annotations

import dataclasses
import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from jmp_calc.inference.program import HEADER
from jmp_calc.model.potential import Potential
from jmp_calc.training.batches.dataset import FrameGraphs
from jmp_calc.training.compiled.background import compiled_gradients, refusal
from jmp_calc.training.compiled.programs import CompiledGradients, Kind, StepHeader, StepProgram
from jmp_calc.training.compiled.spec import StepSpec, step_spec
from jmp_calc.training.compiled.trace import TracedStep, traced_step
from jmp_calc.training.config import TrainConfig
from jmp_calc.training.distributed.world import World
from jmp_calc.training.finetuning.committee import with_members
from jmp_calc.training.loop import fit
from jmp_calc.training.optim.gradients import SummedGradients, step_shares
from jmp_calc.training.run.job import Job
from tests.training.helpers.programs import CONFIG, FRAMES, HEADS, graphs, job, simple_potential

KIND = Kind("conservative", stress=True)


def gradients(
    potential: Potential, data: FrameGraphs, frames: list[list[int]], compiled: CompiledGradients | None
) -> tuple[Tensor, dict[str, Tensor | None]]:
    """Terms and gradients of a step whose parts have these frames."""
    (share,) = step_shares([[data.collate(part) for part in frames]], CONFIG, "conservative")
    for weight in potential.parameters():
        weight.grad = None
    terms = SummedGradients(CONFIG, compiled)(potential, share)
    return terms, {name: weight.grad for name, weight in potential.named_parameters()}


def assert_same(potential: Potential, frames: list[list[int]], compiled: CompiledGradients) -> None:
    """Gradients with and without programs are those of float64, and no weight has one in only one of them."""
    data = graphs(FRAMES)
    terms, found = gradients(potential, data, frames, compiled)
    expected, right = gradients(potential, data, frames, None)
    torch.testing.assert_close(terms, expected, rtol=1e-12, atol=1e-14)
    for name, gradient in right.items():
        if gradient is None:
            assert found[name] is None, name
        else:
            torch.testing.assert_close(found[name], gradient, rtol=1e-9, atol=1e-12)


@pytest.fixture(scope="module")
def traced() -> TracedStep:
    return traced_step(step_spec(simple_potential(), HEADS, CONFIG, "conservative", stress=True))


@pytest.fixture
def program(traced: TracedStep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StepProgram:
    """Every file of a program is the traced graph."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    made = StepProgram(lambda tensors: traced.graph(*tensors), traced.gradients)
    monkeypatch.setattr(StepProgram, "load", classmethod(lambda cls, path: made))
    return made


def with_files(potential: Potential) -> CompiledGradients:
    """What uses programs, where that with stress lies in its file."""
    compiled = CompiledGradients(potential, HEADS, CONFIG)
    compiled.files[KIND].parent.mkdir(parents=True, exist_ok=True)
    compiled.files[KIND].touch()
    return compiled


@pytest.mark.parametrize(
    "frames",
    [
        pytest.param([[0, 1, 2, 3]], id="two heads, with and without stress"),
        pytest.param([[0, 2]], id="one head: the other has no gradient"),
        pytest.param([[3]], id="one structure"),
        pytest.param([[4, 5, 6], [7, 8]], id="two parts"),
        pytest.param([[9]], id="one element, no label but energy"),
    ],
)
def test_gradients_are_those_of_the_network(program: StepProgram, frames: list[list[int]]) -> None:
    potential = simple_potential()
    compiled = with_files(potential)
    for _ in range(2):  # the first time compared with the network, then alone
        assert_same(potential, frames, compiled)
    assert compiled.failure is None and not compiled.missing


def test_programs_see_weights_that_have_moved(program: StepProgram) -> None:
    potential = simple_potential()
    compiled = with_files(potential)
    assert_same(potential, [[0, 1, 2, 3]], compiled)
    with torch.no_grad():
        for weight in potential.parameters():
            weight.mul_(1.01)
            weight.data = weight.data.clone()  # as the averages of a validation take their place
    assert_same(potential, [[0, 1, 2, 3]], compiled)
    assert compiled.failure is None


def test_each_class_of_sizes_is_compared_with_the_network_once(program: StepProgram) -> None:
    potential, data = simple_potential(), graphs(FRAMES)
    compiled = with_files(potential)
    calls: list[int] = []
    hook = potential.register_forward_hook(lambda *_: calls.append(1))
    for frames in ([[0, 1, 2, 3]], [[0, 1, 2, 3]], [[3, 2, 1, 0]], [[4]], [[4]]):
        gradients(potential, data, frames, compiled)
    hook.remove()
    # The traced graph does not call the network.
    assert len(calls) == 2


def test_a_wrong_program_costs_one_line_and_no_digit(program: StepProgram) -> None:
    potential, data = simple_potential(), graphs(FRAMES)
    compiled = with_files(potential)

    def wrong(tensors: list[Tensor]) -> list[Tensor]:
        terms, first, *rest = program.run(tensors)
        return [terms, first + 0.01, *rest]

    compiled.loaded[KIND] = StepProgram(wrong, program.gradients)
    _, found = gradients(potential, data, [[0, 1, 2], [3, 4]], compiled)
    _, right = gradients(potential, data, [[0, 1, 2], [3, 4]], None)
    assert all(
        value is right[name] is None or torch.equal(value, right[name]) for name, value in found.items()
    )
    assert compiled.failure is not None and "differ" in compiled.failure


def test_a_damaged_file_is_removed_and_the_network_computes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    potential = simple_potential()
    compiled = with_files(potential)
    assert_same(potential, [[0, 1, 2, 3]], compiled)
    assert compiled.failure is not None and "damaged" in compiled.failure
    assert not compiled.files[KIND].exists()


def losses(folder: Path, config: TrainConfig) -> tuple[list[float], Job, list[str]]:
    """Training losses of a run, its job, and what it said."""
    lines: list[str] = []
    work = job(folder, lines.append)
    rows = fit(work, dataclasses.replace(config, epochs=5, validate_every=1)).history.rows
    return [row.train_loss for row in rows[1:]], work, lines


def test_a_run_learns_the_same_with_programs(program: StepProgram, tmp_path: Path) -> None:
    """Ten steps of two heads, averaged weights, accumulated batches and stress on some structures."""
    with_files(simple_potential())
    found, mine, lines = losses(tmp_path / "compiled", CONFIG)
    expected, theirs, silent = losses(tmp_path / "eager", dataclasses.replace(CONFIG, compile="off"))
    assert len(found) == 10
    np.testing.assert_allclose(found, expected, rtol=1e-8)
    for name, weight in theirs.potential.state_dict().items():
        torch.testing.assert_close(mine.potential.state_dict()[name], weight, rtol=1e-7, atol=1e-10)
    assert sum("compiled from step 1 on" in line for line in lines) == 1
    assert not any("compiled" in line for line in silent)


def test_the_file_of_a_program_says_which_gradients_it_gives(tmp_path: Path) -> None:
    header = StepHeader(("a.weight", "heads.head0.energy.0.weight"))
    with zipfile.ZipFile(tmp_path / "program.pt2", "w") as file:
        file.writestr(f"program/extra/{HEADER}", json.dumps(dataclasses.asdict(header)))
    assert StepHeader.read(tmp_path / "program.pt2") == header


def test_pickles_carry_the_choice_and_not_the_code(program: StepProgram) -> None:
    potential = simple_potential()
    compiled = with_files(potential)
    assert_same(potential, [[0, 1]], compiled)
    other = pickle.loads(pickle.dumps(compiled))
    assert other.files == compiled.files and not other.loaded
    assert_same(potential, [[0, 1]], other)


def test_programs_are_shared_by_all_data_of_one_kind_of_network() -> None:
    def key(potential: Potential, config: TrainConfig = CONFIG, *, stress: bool = True) -> str:
        spec = step_spec(
            potential,
            [head.name for head in potential.config.heads[:2]],
            config,
            "conservative",
            stress=stress,
        )
        assert StepSpec.from_json(spec.to_json()) == spec
        return spec.key

    usual = key(simple_potential())
    config = simple_potential().config
    described = [
        dataclasses.replace(
            head,
            name=f"x{number}",
            references={29: -7.0},
            energy_scale=3.0,
            elements=(1,),
            domain=("molecules",),
        )
        for number, head in enumerate(config.heads)
    ]
    other = simple_potential().with_config(config)
    assert (
        key(Potential(dataclasses.replace(config, heads=tuple(described), default_head="x0")).double())
        == usual
    )
    next(other.parameters()).requires_grad_(False)
    loss = dataclasses.replace(CONFIG, loss=dataclasses.replace(CONFIG.loss, energy_weight=7.0))
    keys = [
        key(other),
        key(simple_potential(), loss),
        key(simple_potential().float()),
        key(simple_potential(), stress=False),
    ]
    assert len({usual, *keys}) == 5


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"edge_dropout": 0.1}, "dropout"),
        ({"precision": "bf16-mixed"}, "bf16-mixed"),
        ({"activation_checkpointing": "on"}, "checkpointing"),
        ({"optim": dataclasses.replace(CONFIG.optim, pcgrad=True)}, "PCGrad"),
    ],
)
def test_what_no_program_serves_stays_with_the_network(changes: dict[str, object], reason: str) -> None:
    potential, tasks = simple_potential(), graphs(FRAMES).tasks
    config = dataclasses.replace(CONFIG, **changes)
    assert reason in str(refusal(potential, config, World()))
    for choice, said in (("on", 1), ("auto", 0), ("off", 0)):
        lines: list[str] = []
        chosen = dataclasses.replace(config, compile=choice)
        assert compiled_gradients(potential, tasks, chosen, World(), lines.append) is None
        assert len(lines) == said


def test_programs_are_of_all_heads_that_a_run_trains() -> None:
    """Parts of a batch are under the further heads of a committee too."""
    potential = with_members(simple_potential(), "old", 3, seed=0, fresh=False)
    on = dataclasses.replace(CONFIG, compile="on")
    found = compiled_gradients(potential, graphs(FRAMES).tasks, on, World(), print)
    assert found is not None
    assert set(found.heads) == {"old", "old-2", "old-3", "other"}
