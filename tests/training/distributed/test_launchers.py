"""The start lines of docs/distributed.md: torchrun, and srun with its variables set by hand."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from jmp_calc.cli.main import cli
from jmp_calc.training.distributed.launch import DistributedConfig, processes
from jmp_calc.zoo.container import load_model
from tests.extras import reason
from tests.programs import environment, run
from tests.training.helpers import served
from tests.training.helpers.pairs import VARIABLES, by_srun, pair
from tests.training.helpers.tiny import emt_file, tiny_model

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "jmp_calc.cli.main")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, a small network, and the run of one process."""
    made = tmp_path_factory.mktemp("launchers")
    emt_file(made / "train.extxyz", 7)
    emt_file(made / "valid.extxyz", 3, seed=3)
    tiny_model(made / "tiny.safetensors", "old")
    done = CliRunner().invoke(cli, command(made, "one"))
    assert done.exit_code == 0, done.output
    return made


def command(folder: Path, out: str) -> list[str]:
    """The batch belongs to the run: two processes with two structures each."""
    return [
        "finetune",
        f"{folder}/train.extxyz",
        "--valid",
        f"{folder}/valid.extxyz",
        "-m",
        f"{folder}/tiny.safetensors",
        "-o",
        f"{folder}/{out}",
        "--max-steps",
        "3",
        "--batch-size",
        "4",
        "--lr",
        "5e-3",
        "--optimizer",
        "adamw",
        "--dtype",
        "float64",
        "--device",
        "cpu",
    ]


def table(out: Path) -> np.ndarray:
    """Everything in metrics.csv but the time and marks."""
    with open(out / "metrics.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows][-1] == 3
    return np.array(
        [
            [
                float(value or "nan")
                for key, value in row.items()
                if key not in ("elapsed_s", "best", "weights")
            ]
            for row in rows
        ]
    )


def same_run(folder: Path, out: str, printed: str) -> None:
    """One run folder with the same files, numbers and weights, and one speaker."""
    assert {path.name for path in (folder / out).iterdir()} == {
        path.name for path in (folder / "one").iterdir()
    }
    found, alone = table(folder / out), table(folder / "one")
    assert found.shape == alone.shape and np.allclose(found, alone, rtol=0, atol=1e-6, equal_nan=True)
    weights, known = (
        load_model(folder / name / "last.safetensors").potential.state_dict() for name in (out, "one")
    )
    assert max(float((weights[key] - known[key]).abs().max()) for key in known) < 1e-6
    log = (folder / out / "train.log").read_text()
    assert printed.count("next:") == log.count("next:") == log.count("started on") == 1


@pytest.mark.slow
def test_torchrun(folder: Path) -> None:
    pytest.importorskip("lightning_fabric", reason=reason("distributed"))
    done = run(
        [sys.executable, *TORCHRUN, *command(folder, "torchrun")],
        env=environment(**dict.fromkeys(VARIABLES)),
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    same_run(folder, "torchrun", done.stdout + done.stderr)


@pytest.mark.slow
def test_srun(folder: Path) -> None:
    pytest.importorskip("lightning_fabric", reason=reason("distributed"))
    ended = pair(served.command, *command(folder, "srun"), out=folder / "output", launcher=by_srun)
    assert ended.codes == (0, 0), ended.stderr
    assert ended.stdout[1] == ended.stderr[1] == ""
    same_run(folder, "srun", ended.stdout[0] + ended.stderr[0])


def test_a_launcher_says_how_many_processes_there_are() -> None:
    four = {"SLURM_STEP_NUM_TASKS": "8", "SLURM_STEP_NUM_NODES": "2"}
    assert processes(DistributedConfig(), "slurm", four) == (4, 2)
    assert processes(DistributedConfig(), "torchrun", {"LOCAL_WORLD_SIZE": "4", "WORLD_SIZE": "8"}) == (4, 2)
    assert processes(DistributedConfig(), None, {}) == (1, 1)
    assert processes(DistributedConfig(devices=2, num_nodes=3), "slurm", four) == (2, 3)
