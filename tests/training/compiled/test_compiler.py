"""Steps that are really compiled: minutes of a compiler, so that most of it is slow."""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from jmp_calc.training.batches.dataset import FrameGraphs
from jmp_calc.training.batches.tasks import Task
from jmp_calc.training.compiled.build import build
from jmp_calc.training.compiled.programs import CompiledGradients, Kind, largest_difference
from jmp_calc.training.compiled.spec import step_spec
from jmp_calc.training.config import LossConfig, OptimConfig, TrainConfig
from jmp_calc.training.data.labels import read_labelled
from jmp_calc.training.loop import fit
from jmp_calc.training.optim.gradients import SummedGradients, step_shares
from jmp_calc.training.optim.optimizer import make_optimizer
from jmp_calc.zoo.names import resolve
from tests.programs import gone, run
from tests.training.helpers.programs import CONFIG, HEADS, job, simple_potential

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of this module, so that programs of one test serve another."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(folder))
        yield folder


def built(compiled: CompiledGradients, kind: Kind) -> None:
    file = compiled.files[kind]
    file.parent.mkdir(parents=True, exist_ok=True)
    if not file.is_file():
        build(compiled.specs[kind], file)


@pytest.mark.parametrize("processes", [1, 2])
def test_losses_of_200_steps_are_those_of_the_network(tmp_path: Path, processes: int) -> None:
    # At a rate that learns: at ten times that the losses jump about, and rounding grows from step to step.
    optim = dataclasses.replace(CONFIG.optim, lr=2e-4)
    config = dataclasses.replace(
        CONFIG, epochs=None, max_steps=200, validate_every=1, processes=processes, optim=optim
    )
    potential = simple_potential()
    built(CompiledGradients(potential, HEADS, config), Kind("conservative", stress=True))
    found: list[list[float]] = []
    for choice in ("on", "off"):
        lines: list[str] = []
        work = job(tmp_path / f"{choice}{processes}", lines.append)
        chosen = dataclasses.replace(config, compile=choice)
        found.append([row.train_loss for row in fit(work, chosen).history.rows[1:]])
        assert any("compiled from step 1" in line for line in lines) == (choice == "on")
        assert not any("not compiled" in line for line in lines)
    assert len(found[0]) == 200
    np.testing.assert_allclose(found[0], found[1], rtol=1e-8)


def test_jmp_xs_in_float32_has_the_gradients_of_the_network_at_20_points_of_a_run() -> None:
    config = TrainConfig(loss=LossConfig(), compile="on")
    with resources.as_file(resources.files("jmp_calc.samples") / "bpa3_sample.xyz.gz") as sample:
        frames = [frame for frame in read_labelled(str(sample)).frames if frame.n_atoms > 1]
    potential = resolve("jmp-xs").potential.train().requires_grad_(True)
    shifted = [dataclasses.replace(frame, energy=0.0) for frame in frames]
    data = FrameGraphs(shifted, potential.config.policy, Task("wb97x"))
    compiled = CompiledGradients(potential, ["wb97x"], config)
    built(compiled, Kind("conservative", stress=False))
    optimizer = make_optimizer(potential, OptimConfig(lr=1e-3))
    names = dict(potential.named_parameters())
    rng = np.random.default_rng(0)
    for _ in range(20):
        chosen = rng.choice(len(frames), size=4, replace=False).tolist()
        (share,) = step_shares([[data.collate(chosen)]], config, "conservative")
        results = []
        for programs in (None, compiled, compiled):  # the second time without a check
            optimizer.zero_grad()
            terms = SummedGradients(config, programs)(potential, share)
            gradients = {n: p.grad.clone() for n, p in names.items() if p.grad is not None}
            results.append((terms, gradients))
        (expected, right), _, (terms, found) = results
        assert largest_difference(terms, found, expected, right) < 1e-5
        for name, gradient in right.items():
            assert float((found[name] - gradient).norm()) <= 1e-5 * float(gradient.norm()) + 1e-12, name
        for _ in range(3):
            optimizer.step()
    assert compiled.failure is None


@pytest.mark.parametrize(
    ("changes", "quadruplets"),
    [
        pytest.param({"lora_rank": 2}, False, id="low-rank updates"),
        pytest.param({"freeze": "embedding"}, False, id="frozen weights"),
        pytest.param({}, True, id="quadruplets"),
    ],
)
def test_other_networks_compile_beside_a_run_that_goes_on(
    tmp_path: Path, changes: dict[str, object], quadruplets: bool
) -> None:
    """The whole way: eager steps, a compiler in the background, compiled steps."""
    config = dataclasses.replace(
        CONFIG, **changes, epochs=None, max_time=1500.0, max_steps=10**6, compile="on", batch_size=2
    )
    lines: list[str] = []

    def say(line: str) -> None:
        lines.append(line)
        if "compiled from step" in line or "not compiled" in line:
            raise StopRun

    potential = simple_potential(quad_interaction=quadruplets)
    with pytest.raises(StopRun):
        fit(job(tmp_path / "run", say, potential), config)
    assert any("being compiled" in line for line in lines)
    assert "compiled from step" in lines[-1]


class StopRun(Exception):
    """Ends a run once it has said what it was waited for."""


def test_without_a_compiler_the_run_says_one_sentence_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", str(tmp_path / "no-compiler"))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    lines: list[str] = []

    def say(line: str) -> None:
        lines.append(line)
        if "not compiled" in line:
            raise StopRun

    config = dataclasses.replace(CONFIG, epochs=None, max_time=600.0, max_steps=10**6, compile="on")
    with pytest.raises(StopRun):
        fit(job(tmp_path / "run", say), config)
    assert "not compiled" in lines[-1]
    assert "\n" not in lines[-1]


def test_a_compiler_ends_with_the_run_that_started_it(tmp_path: Path) -> None:
    spec = step_spec(simple_potential(), HEADS, CONFIG, "conservative", stress=False)
    file = tmp_path / "spec.json"
    file.write_text(spec.to_json())
    starter = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-m', 'jmp_calc.training.compiled.build', *sys.argv[1:]], "
        "start_new_session=True)\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(15)\n"
    )
    done = run([sys.executable, "-c", starter, file, tmp_path / "program.pt2"])
    pid = int(done.stdout)
    if not gone(pid, within_s=30.0):  # its session is not that of the starter
        os.kill(pid, signal.SIGKILL)
        pytest.fail("the compiler went on")
    assert not (tmp_path / "program.pt2").exists()
