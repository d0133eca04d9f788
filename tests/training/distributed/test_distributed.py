"""Two processes train what one does, stop together, and say why they stopped (gloo, on the CPU)."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import re
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jmp_calc.errors import UsageError
from jmp_calc.training.batches.dataset import FrameGraphs
from jmp_calc.training.batches.loader import Batches
from jmp_calc.training.batches.order import Fixed, Shuffled
from jmp_calc.training.batches.tasks import Task
from jmp_calc.training.distributed.launch import DistributedConfig, check_devices, started, surroundings
from jmp_calc.training.distributed.world import World
from jmp_calc.training.loop import fit
from jmp_calc.training.pretraining.build_pack import build
from jmp_calc.training.pretraining.mixture import load_mixture
from jmp_calc.training.pretraining.pack import save_packed
from jmp_calc.zoo.container import load_model
from tests.programs import environment, run
from tests.training.helpers.mixture_data import write_mixture
from tests.training.helpers.pairs import VARIABLES
from tests.training.helpers.resumed import resumed_fit
from tests.training.helpers.tiny import emt_file, tiny_model, tiny_potential
from tests.training.helpers.two_processes import (
    CONFIG,
    EARLIER,
    FRAMES,
    TIGHT,
    finetuned,
    job,
    pretrained,
    rows,
)

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Outcome:
    """What two processes left behind."""

    out: Path
    found: dict[str, Any]
    code: int
    stderr: str


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    pytest.importorskip("lightning_fabric")
    out = tmp_path_factory.mktemp("two")
    (out / "mixture").mkdir()
    recipe = write_mixture(out / "mixture")
    recipe.write_text(re.sub(r"cap = \d+", "cap = 3", recipe.read_text()))
    save_packed(
        out / "mixture" / "pack.npz", build(load_mixture(recipe), out / "mixture", say=lambda text: None), {}
    )
    recipe.rename(out / "mixture" / "recipe.toml")
    earlier = out / "earlier"
    earlier.mkdir()
    tiny_model(earlier / "tiny.safetensors", "old", "other")
    for seed, (name, count) in enumerate({"train": 7, "valid": 3, "earlier": 4, "held": 18}.items()):
        emt_file(earlier / f"{name}.extxyz", count, seed=seed)
    done = run(
        [sys.executable, "-m", "tests.training.helpers.two_processes", out],
        env=environment(**dict.fromkeys(VARIABLES)),
        within_s=600,
    )
    assert (out / "found.json").is_file(), done.stderr
    return Outcome(out, json.loads((out / "found.json").read_text()), done.returncode, done.stderr)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("one")


def close(a: list[list[float]], b: list[list[float]]) -> None:
    assert len(a) == len(b)
    assert np.abs(np.asarray(a) - np.asarray(b)).max() < 1e-6


@pytest.mark.slow
def test_two_processes_give_the_losses_of_one_with_the_whole_batch(two: Outcome, one: Path) -> None:
    """Also where the last batch of an epoch has a single structure."""
    alone = rows(fit(job(one / "whole", World()), CONFIG))
    close(alone, two.found["whole"])
    assert len(alone) == 2 and alone[-1][0] == 6


def test_accumulated_and_clipped_steps_too(two: Outcome, one: Path) -> None:
    alone = rows(fit(job(one / "tight", World(), TIGHT), TIGHT))
    close(alone, two.found["tight"])
    assert alone[-1][0] == 4  # two steps of nine frames in three batches, per epoch


def test_sharded_weights_give_the_same_with_conservative_forces(two: Outcome) -> None:
    assert np.abs(np.asarray(two.found["sharded"]) - np.asarray(two.found["tight"])).max() < 1e-9


def test_a_state_of_sharded_weights_goes_on_in_one_process(two: Outcome, one: Path) -> None:
    """The file is that of any other run."""
    longer = dataclasses.replace(TIGHT, epochs=3)
    alone = rows(fit(job(one / "tight3", World(), TIGHT), TIGHT))
    alone = rows(resumed_fit(job(one / "tight3", World(), longer), longer, override=True))
    close(alone, two.found["resumed sharded"])


def test_sigterm_to_one_process_saves_and_stops_both(two: Outcome) -> None:
    (code, note), other = two.found["stopped"]
    assert [code, note] == other
    assert code == 143 and note == "state saved after step 2; go on with --resume"


def test_two_processes_resume_to_the_same_numbers(two: Outcome) -> None:
    assert two.found["resumed"] == two.found["whole"]


def test_nan_in_one_process_stops_both_and_names_the_frame(two: Outcome) -> None:
    first, second = two.found["nan"]
    assert first == second
    assert "not finite" in first and "frame 3" in first


def test_the_clock_of_the_first_process_counts(two: Outcome) -> None:
    assert two.found["timed"] == [0, 2]


def test_heads_that_a_process_has_no_data_of(two: Outcome, one: Path) -> None:
    """Four sets, three heads; also with sharded weights, whose gradients all processes must have."""
    alone = pretrained(two.out / "mixture", one / "pretrained", World())
    for name in ("ddp-0", "ddp-1", "fsdp-0", "fsdp-1"):
        weights = torch.load(two.out / f"{name}.pt", weights_only=True)
        assert weights.keys() == alone.keys()
        assert max(float((weights[key] - alone[key]).abs().max()) for key in alone) < 1e-7, name


@pytest.mark.parametrize("name", list(EARLIER))
def test_earlier_data_and_low_rank_updates(two: Outcome, one: Path, name: str) -> None:
    """Replayed frames are in the steps of both, watched ones are shared out: numbers and weights are those of
    one."""
    alone = finetuned(two.out / "earlier", one / name, World(), EARLIER[name])
    *losses, errors = two.found[name]
    close(alone[:-1], losses)
    assert len(errors) == 6 and errors == pytest.approx(alone[-1], rel=1e-6)
    for file in ("last.safetensors", "best.safetensors"):
        weights, known = (
            load_model(folder / name / file).potential.state_dict() for folder in (two.out, one)
        )
        assert weights.keys() == known.keys()
        assert max(float((weights[key] - known[key]).abs().max()) for key in known) < 1e-6
    watched, expected = (
        [
            float(row["forces_mae_mev_per_a"])
            for row in csv.DictReader((folder / name / "tasks.csv").read_text().splitlines())
        ]
        for folder in (two.out, one)
    )
    assert watched == pytest.approx(expected, rel=1e-6)
    assert len(watched) == len(alone) - 1


def test_a_process_that_is_killed_ends_the_run_with_one_sentence(two: Outcome) -> None:
    assert two.code == 1
    errors = [line for line in two.stderr.splitlines() if line.startswith(("error:", "hint:"))]
    assert errors[0] == "error: Process 2 of 2 was ended by SIGKILL."
    assert "--resume" in errors[1] and len(errors) == 2
    assert "Traceback" not in two.stderr


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_shares_of_all_ranks_are_the_plan(count: int) -> None:
    """In training every frame is in the share of one rank; a rank without any gets one without labels."""
    data = FrameGraphs(FRAMES, tiny_potential().config.policy, Task("old"))
    order = Shuffled(data.sizes, max_edges=10**6, max_structures=2, accumulate=2)
    ranks = [Batches(data, order, rank=rank, world_size=count) for rank in range(count)]
    for plan, *shares in zip(order.steps(0), *(batches.steps(0) for batches in ranks), strict=True):
        parts = [part for share in shares for structures in share for part in structures]
        labelled = [frame for part in parts if part.energy_mask.all() for frame in part.frames]
        assert sorted(labelled) == sorted(frame for part in plan for frame in part)
        assert all(
            part.energy_mask.all() or not (part.energy_mask.any() or part.forces_mask.any()) for part in parts
        )
        assert all(len(share) == 1 and share[0] for share in shares)


@pytest.mark.parametrize("count", [2, 7])
def test_validation_frames_are_evaluated_once(count: int) -> None:
    data = FrameGraphs(FRAMES, tiny_potential().config.policy, Task("old"))
    order = Fixed(data.sizes, max_edges=10**6, max_structures=3)
    frames = [
        frame
        for rank in range(count)
        for part in Batches(data, order, rank=rank, world_size=count).all()
        for frame in part.frames
    ]
    assert sorted(frames) == list(range(len(FRAMES)))


def test_one_device_needs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither Fabric nor a process group nor any variable."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    with started(DistributedConfig()) as world:
        assert world == World()
    assert not torch.distributed.is_initialized()


def test_a_half_set_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in {
        "RANK": "1",
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "1",
    }.items():
        monkeypatch.setenv(name, value)
    with (
        pytest.raises(UsageError, match="LOCAL_RANK is missing"),
        started(DistributedConfig(devices=2), "cpu"),
    ):
        pass


def test_who_started_the_processes() -> None:
    assert surroundings({}) is None
    assert surroundings({"WORLD_SIZE": "1", "RANK": "0"}) is None
    assert surroundings({"TORCHELASTIC_RUN_ID": "none", "RANK": "0"}) == "torchrun"
    assert surroundings({"SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "4"}) == "slurm"
    assert surroundings({"SLURM_NTASKS": "1", "SLURM_STEP_NUM_TASKS": "1"}) is None
    assert surroundings({"SLURM_NTASKS": "4"}) is None  # a batch script without srun
    assert surroundings({"SLURM_STEP_NUM_TASKS": "4", "SLURM_JOB_NAME": "interactive"}) is None


def test_more_processes_than_cores_are_refused() -> None:
    cores = max(os.cpu_count() or 1, 2)
    check_devices("cpu", cores)
    with pytest.raises(UsageError, match="cores"):
        check_devices("cpu", cores + 1)


def test_a_port_in_use_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lightning_fabric")
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        for name in VARIABLES:
            monkeypatch.delenv(name, raising=False)
        variables = {
            "RANK": 0,
            "LOCAL_RANK": 0,
            "WORLD_SIZE": 2,
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
        }
        for name, value in variables.items():
            monkeypatch.setenv(name, str(value))
        threads = torch.get_num_threads()
        with pytest.raises(UsageError, match="port") as refused, started(DistributedConfig(devices=2), "cpu"):
            pass
        torch.set_num_threads(threads)
    assert str(port) in str(refused.value)


def test_settings_that_need_one_process(tmp_path: Path) -> None:
    world = World(0, 2, torch.device("cpu"))
    for config, message in [
        (dataclasses.replace(CONFIG, processes=2), "--processes and --devices"),
        (dataclasses.replace(CONFIG, optim=dataclasses.replace(CONFIG.optim, pcgrad=True)), "PCGrad"),
        (dataclasses.replace(CONFIG, precision="bf16-mixed"), "float32"),
    ]:
        with pytest.raises(UsageError, match=message):
            fit(job(tmp_path, world), config)
