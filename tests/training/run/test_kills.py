"""A fine-tuning that is killed (SIGKILL, or dead in the middle of a write) goes on to the same weights, bit
for bit.

``benchmarks/kills.py`` does the same through the command line, fifty times at random moments.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from ase.io import read

from jmp_calc import finetune
from jmp_calc.errors import UsageError
from jmp_calc.training.config import OptimConfig, TrainConfig
from jmp_calc.training.run.checkpoint import load_checkpoint
from jmp_calc.training.validation.history import read_history
from jmp_calc.zoo.container import load_model
from tests.training.helpers.served import served
from tests.training.helpers.tiny import emt_file, tiny_model

SETTINGS = TrainConfig(
    epochs=3, batch_size=2, save_every_s=0.0, optim=OptimConfig(lr=5e-3, ema_decay=0.9, warmup_steps=2)
)


def mortal(data: Path, model: Path, out: Path, resume: bool, how: str, argument: str) -> None:
    """A fine-tuning that dies without a mock: at the renaming of a file (audit events), in the middle of a
    write (limit of the file size, whose signal is deadly unless Python ignores it), or some time after the
    first validation."""

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    name, _, count = argument.partition("*")
    left = [int(count or 1)]

    def at_rename(event: str, args: tuple[Any, ...]) -> None:
        if event == "os.rename" and Path(str(args[1])).name == name:
            left[0] -= 1
            if left[0] == 0:
                die()

    def say(line: str) -> None:
        if how == "after" and line.startswith("epoch"):
            threading.Timer(float(argument), die).start()

    if how == "rename":
        sys.addaudithook(at_rename)
    if how == "size":
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(argument), resource.RLIM_INFINITY))
    finetune(data, model=str(model), out=out, config=SETTINGS, resume=resume, say=say)


def start(data: Path, model: Path, out: Path, resume: bool, how: str, argument: object = "") -> int:
    """Exit code of a fine-tuning in a process of its own; it shows what it wrote to stderr unless it was
    killed."""
    output = out.parent / "said"
    with served(mortal, data, model, out, resume, how, str(argument), output=output) as process:
        process.join(300)
        assert process.exitcode is not None and process.exitcode <= 0, Path(f"{output}.stderr").read_text()
        return int(process.exitcode)


def temporaries(out: Path) -> list[str]:
    return [path.name for path in out.glob(".*.tmp")]


def everything_reads(out: Path) -> None:
    """Every file of the run folder is whole."""
    for path in out.iterdir():
        if path.name == "state.pt":
            load_checkpoint(path)
        elif path.suffix == ".safetensors":
            load_model(path)
        elif path.suffix == ".yaml":
            assert yaml.safe_load(path.read_text())
        elif path.suffix == ".csv":
            steps = [row.step for row in read_history(path)]
            assert steps == sorted(set(steps))
        elif path.suffix == ".extxyz":
            read(path, ":")


@pytest.mark.slow
def test_killed_four_times_it_ends_with_the_same_weights(tmp_path: Path) -> None:
    data, model = emt_file(tmp_path / "train.extxyz", 12), tiny_model(tmp_path / "tiny.safetensors", "old")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        finetune(data, model=str(model), out=tmp_path / "whole", config=SETTINGS, say=lambda line: None)
    finally:
        torch.set_num_threads(threads)
    out = tmp_path / "killed"
    half = (tmp_path / "whole" / "state.pt").stat().st_size // 2
    assert (
        half > (tmp_path / "whole" / "best.safetensors").stat().st_size
    )  # so that the state is what does not fit

    assert start(data, model, out, False, "rename", "best.safetensors") == -signal.SIGKILL
    assert not (out / "state.pt").exists()
    assert temporaries(out)
    assert start(data, model, out, True, "rename", "state.pt*4") == -signal.SIGKILL
    assert load_checkpoint(out / "state.pt").progress.step == 2
    everything_reads(out)
    assert start(data, model, out, True, "size", half) == -signal.SIGXFSZ
    assert len(temporaries(out)) == 1  # half a state; what the kill before left is gone
    everything_reads(out)
    assert start(data, model, out, True, "after", 0.05) == -signal.SIGKILL
    everything_reads(out)
    assert start(data, model, out, True, "to the end") == 0
    everything_reads(out)
    assert not temporaries(out)
    for name in ("best.safetensors", "last.safetensors"):
        one, other = (
            load_model(folder / name).potential.state_dict() for folder in (tmp_path / "whole", out)
        )
        assert all(torch.equal(one[key], other[key]) for key in one), name
    rows = [read_history(folder / "metrics.csv") for folder in (tmp_path / "whole", out)]
    assert [(row.step, row.valid_loss, row.train_loss) for row in rows[0]] == [
        (row.step, row.valid_loss, row.train_loss) for row in rows[1]
    ]


def test_a_run_killed_before_its_first_state_starts_again(tmp_path: Path) -> None:
    data, model = emt_file(tmp_path / "train.extxyz", 8), tiny_model(tmp_path / "tiny.safetensors", "old")
    config, out = TrainConfig(epochs=1, batch_size=4, optim=OptimConfig(lr=5e-3)), tmp_path / "run"
    with pytest.raises(UsageError, match="no run to resume"):
        finetune(data, model=str(model), out=out, config=config, resume=True, say=lambda line: None)
    out.mkdir(exist_ok=True)
    (out / "config.yaml").write_text("data: {}\n")
    (out / ".best.safetensors.x1y2.tmp").write_bytes(b"half")
    with pytest.raises(UsageError, match="exists already"):
        finetune(data, model=str(model), out=out, config=config, say=lambda line: None)
    assert (
        finetune(data, model=str(model), out=out, config=config, resume=True, say=lambda line: None).n_epochs
        == 1
    )
    assert not temporaries(out)


def test_a_run_killed_while_it_reads_starts_again(tmp_path: Path) -> None:
    """Nothing but its log was written; ``resume`` and the same call again both begin at the beginning."""
    data, model = emt_file(tmp_path / "train.extxyz", 8), tiny_model(tmp_path / "tiny.safetensors", "old")
    config, lines = TrainConfig(max_steps=1, batch_size=4, optim=OptimConfig(lr=5e-3)), list[str]()
    for resume in (True, False):
        out = tmp_path / f"resume-{resume}"
        out.mkdir()
        (out / "train.log").write_text("2026-01-01 00:00:00 started on somewhere, process 1\n")
        result = finetune(data, model=str(model), out=out, config=config, resume=resume, say=lines.append)
        assert result.n_steps == 1
    assert lines[0].startswith("the earlier run was ended before its first saved state")
