"""``jmp-calc finetune`` and ``evaluate``: options, refusals, interruption; each with its exit code."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import write
from click.testing import Result

from jmp_calc.training.run.checkpoint import load_checkpoint
from jmp_calc.zoo.container import load_model
from tests.training.helpers.served import command, served

Run = Callable[..., Result]
FAST = ("--epochs", 1, "--batch-size", 4, "--lr", "1e-3")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Ten shaken copper cells with EMT labels."""
    rng, images = np.random.default_rng(0), []
    for i in range(10):
        atoms = bulk("Cu", a=3.6 + 0.02 * i) * (1, 1, 2)
        atoms.positions += rng.normal(scale=0.1, size=(2, 3))
        atoms.calc = EMT()
        atoms.get_potential_energy(), atoms.get_forces()
        images.append(atoms)
    path = tmp_path / "train.extxyz"
    write(path, images, format="extxyz")
    return path


def test_one_line_is_enough(run: Run, tmp_path: Path, data: Path, model: str) -> None:
    out = tmp_path / "run"
    done = run("finetune", data, "-m", model, "-o", out, *FAST)
    assert done.exit_code == 0, done.output
    assert f'atoms.calc = JMPCalculator("{out / "best.safetensors"}")' in done.output
    summary = yaml.safe_load((out / "summary.yaml").read_text())
    assert summary["status"] == "ok"
    assert summary["results"]["valid"]["forces_mae_mev_per_a"] > 0
    assert {"best.safetensors", "report.yaml"} <= {Path(item["path"]).name for item in summary["outputs"]}
    checked = run("evaluate", data, "-m", out / "best.safetensors", "-o", tmp_path / "errors")
    assert checked.exit_code == 0, checked.output
    assert sum(" 10  " in line for line in checked.stderr.splitlines()) == 1, (
        checked.stderr
    )  # one group: told once
    errors = yaml.safe_load((tmp_path / "errors" / "errors.yaml").read_text())
    assert errors["errors"]["n_structures"] == 10


def test_a_mace_command_line_can_be_pasted(run: Run, tmp_path: Path, data: Path, model: str) -> None:
    done = run(
        "finetune",
        "--train_file",
        data,
        f"--foundation_model={model}",
        "--valid_fraction",
        0.2,
        "--energy_key",
        "energy",
        "--forces_key",
        "forces",
        "--max_num_epochs",
        1,
        "--batch_size",
        4,
        "--E0s",
        "lstsq",
        "--lr",
        1e-3,
        "--ema_decay",
        0.9,
        "--seed",
        3,
        "-o",
        tmp_path / "run",
    )
    assert done.exit_code == 0, done.output
    settings = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert settings["training"]["epochs"] == 1
    assert settings["training"]["seed"] == 3
    assert settings["data"]["valid_fraction"] == 0.2


def test_dry_run_shows_the_plan_and_writes_nothing(run: Run, tmp_path: Path, data: Path, model: str) -> None:
    done = run("finetune", data, "-m", model, "-o", tmp_path / "run", "--max-time", "10m", "--dry-run")
    assert done.exit_code == 0, done.output
    for words in ("training frames: 9", "validation frames: 1", "references: least_squares", "at most 600 s"):
        assert words in done.output
    assert not (tmp_path / "run").exists()


def test_what_needs_old_weights_is_refused_from_scratch(
    run: Run, tmp_path: Path, data: Path, model: str
) -> None:
    for options in (("--freeze", "backbone"), ("--lora-rank", 2), ("--head", "any")):
        done = run("finetune", data, "-m", f"scratch:{model}", "-o", tmp_path / "run", *options)
        assert done.exit_code == 2 and f"--from-scratch and {options[0]} contradict" in done.output, (
            done.output
        )


@pytest.mark.parametrize(
    "options",
    [
        ("--from-scratch", "--freeze", "backbone"),
        ("--from-scratch", "--keep-heads"),
        ("--resume", "--overwrite"),
        ("--valid", "v.xyz", "--valid-fraction", "0.2"),
        ("--no-ema", "--ema-decay", "0.9"),
        ("--override",),
        ("--stress-key", "s", "--virials-key", "v"),
        ("--prefix", "p"),
    ],
)
def test_conflicting_options_are_refused(
    run: Run, tmp_path: Path, data: Path, model: str, options: tuple[str, ...]
) -> None:
    done = run("finetune", data, "-m", model, "-o", tmp_path / "run", *options)
    assert done.exit_code == 2, done.output
    assert "hint:" in done.output


@pytest.mark.parametrize(
    "options",
    [
        ("--epochs", "0"),
        ("--max-time", "-3"),
        ("--max-time", "soon"),
        ("--lr", "-1"),
        ("--freeze", "everything"),
        ("--valid-fraction", "1.5"),
        ("--batch-size", "0"),
        ("--energy-weight", "-1"),
        ("--energy-unit", "furlong"),
        ("--valid-every", "0"),
        ("--valid-every", "1"),
    ],
)
def test_values_that_cannot_be_meant_are_refused(
    run: Run, tmp_path: Path, data: Path, model: str, options: tuple[str, ...]
) -> None:
    done = run("finetune", data, "-m", model, "-o", tmp_path / "run", *options)
    assert done.exit_code == 2, done.output
    assert not (tmp_path / "run" / "best.safetensors").exists()


def test_more_processes_than_cores_are_refused_before_any_starts(
    run: Run, tmp_path: Path, data: Path, model: str
) -> None:
    done = run("finetune", data, "-m", model, "-o", tmp_path / "run", *FAST, "--processes", 9999)
    assert done.exit_code == 2, done.output
    assert "9999 processes cannot share" in done.stderr
    assert not multiprocessing.active_children()


def test_existing_output_is_refused_until_overwritten(
    run: Run, tmp_path: Path, data: Path, model: str
) -> None:
    words = ("finetune", data, "-m", model, "-o", tmp_path / "run", *FAST)
    assert run(*words).exit_code == 0
    again = run(*words)
    assert again.exit_code == 2
    assert "--overwrite" in again.output
    assert "--resume" in again.output
    assert run(*words, "--overwrite").exit_code == 0


def test_resume_of_nothing_and_of_another_setting(run: Run, tmp_path: Path, data: Path, model: str) -> None:
    words = ("finetune", data, "-m", model, "-o", tmp_path / "run", *FAST)
    nothing = run(*words, "--resume")
    assert nothing.exit_code == 2
    assert "no run to resume" in nothing.output
    assert run(*words, "--overwrite").exit_code == 0
    changed = run(*words, "--resume", "--weight-decay", 0.5)
    assert changed.exit_code == 2
    assert "weight_decay: 0.01 -> 0.5" in changed.output
    assert "--override" in changed.output


def test_audit_stops_constant_forces_with_the_code_to_allow(run: Run, tmp_path: Path, model: str) -> None:
    from ase.calculators.singlepoint import SinglePointCalculator

    images = []
    for i in range(6):
        atoms = bulk("Cu", a=3.5 + 0.05 * i) * (1, 1, 2)
        atoms.rattle(0.1, seed=i)
        atoms.calc = SinglePointCalculator(atoms, energy=-3.0 + 0.1 * i, forces=np.zeros((2, 3)))
        images.append(atoms)
    write(tmp_path / "zero.extxyz", images, format="extxyz")
    done = run("finetune", tmp_path / "zero.extxyz", "-m", model, "-o", tmp_path / "run", *FAST)
    assert done.exit_code == 4, done.output
    assert "--allow" in done.output


def test_missing_file_and_unknown_model(run: Run, tmp_path: Path, data: Path, model: str) -> None:
    assert run("finetune", tmp_path / "no.extxyz", "-m", model, "-o", tmp_path / "a").exit_code == 4
    assert run("finetune", data, "-m", "jmp-xxl", "-o", tmp_path / "b").exit_code == 5
    assert run("finetune", "-m", model).exit_code == 2


def test_config_file_gives_options_and_refuses_unknown_keys(
    run: Run, tmp_path: Path, data: Path, model: str
) -> None:
    config = tmp_path / "run.yaml"
    config.write_text(f"model: {model}\nepochs: 1\nbatch_size: 4\nlr: 0.001\nE0s: lstsq\n")
    done = run("finetune", data, "--config", config, "-o", tmp_path / "run")
    assert done.exit_code == 0, done.output
    config.write_text("epoch: 1\n")
    wrong = run("finetune", data, "--config", config, "-o", tmp_path / "other")
    assert wrong.exit_code == 2
    assert "did you mean 'epochs'" in wrong.output


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load_model(path).potential.state_dict()


def test_the_configuration_of_a_run_is_enough_to_run_again(
    run: Run, tmp_path: Path, data: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "e0s.yaml").write_text("{Cu: 3.5, Al: 3.2}")
    monkeypatch.chdir(tmp_path)
    first, again, changed = tmp_path / "run", tmp_path / "again", tmp_path / "changed"
    done = run(
        "finetune",
        data,
        "-m",
        model,
        "-o",
        first,
        *FAST,
        "--seed",
        5,
        "--valid-every",
        4,
        "--no-ema",
        "--energy-weight",
        0.5,
        "--E0s",
        "e0s.yaml",
    )
    assert done.exit_code == 0, done.output
    monkeypatch.chdir(tmp_path / "sub")
    done = run("finetune", "--config", first / "config.yaml", "-o", again)
    assert done.exit_code == 0, done.output
    for name in ("best.safetensors", "last.safetensors"):
        old, new = weights(first / name), weights(again / name)
        assert all(torch.equal(old[key], new[key]) for key in old)
    assert (again / "config.yaml").read_text() == (first / "config.yaml").read_text()
    done = run(
        "finetune",
        data,
        "--config",
        first / "config.yaml",
        "-o",
        changed,
        "--epochs",
        2,
        "--head-name",
        "mine",
    )
    assert done.exit_code == 0, done.output
    assert yaml.safe_load((changed / "config.yaml").read_text())["training"]["epochs"] == 2
    assert load_model(changed / "best.safetensors").potential.config.default_head == "mine"


def test_settings_without_an_option_come_from_the_training_section(
    run: Run, tmp_path: Path, data: Path, model: str
) -> None:
    config = tmp_path / "run.yaml"
    config.write_text(
        f"model: {model}\ntraining: {{epochs: 1, batch_size: 4, optim: {{lr: 0.001, betas: [0.8, 0.9]}}}}\n"
    )
    done = run("finetune", data, "--config", config, "-o", tmp_path / "run")
    assert done.exit_code == 0, done.output
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["training"]["optim"]["betas"] == [
        0.8,
        0.9,
    ]
    for text, fact in (
        ("training: {optim: {beta: [0.8, 0.9]}}", "did you mean 'betas'"),
        ("train_it: {lr: 1}", "section"),
    ):
        config.write_text(text)
        wrong = run("finetune", data, "--config", config, "-o", tmp_path / "other")
        assert wrong.exit_code == 2, wrong.output
        assert fact in wrong.output


def test_the_log_has_what_was_printed_and_goes_on(run: Run, tmp_path: Path, data: Path, model: str) -> None:
    words = ("finetune", data, "-m", model, "-o", tmp_path / "run", *FAST)
    done = run(*words)
    log = (tmp_path / "run" / "train.log").read_text().splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", line) for line in log)
    kept = [line[20:] for line in log]
    assert all(line in kept for line in done.stderr.splitlines())
    assert kept[-1] == "ended"
    run(*words, "--resume", "--weight-decay", 0.5)  # refused
    again = (tmp_path / "run" / "train.log").read_text().splitlines()
    assert again[: len(log)] == log
    assert any("weight_decay: 0.01 -> 0.5" in line for line in again[len(log) :])


@pytest.mark.slow
def test_a_job_that_is_stopped_twice_resumes_to_the_same_weights(
    tmp_path: Path, data: Path, model: str
) -> None:
    words = ["finetune", data, "-m", model, "--epochs", 10, "--batch-size", 2, "--lr", 1e-3, "-o"]
    said = tmp_path / "said.stderr"

    def steps() -> int:
        state = tmp_path / "run" / "state.pt"
        return load_checkpoint(state).progress.step if state.exists() else -1

    for signum, code, more in ((signal.SIGTERM, 143, ()), (signal.SIGINT, 130, ("--resume",))):
        before = steps()
        with served(command, *words, tmp_path / "run", *more, output=said.with_suffix("")) as process:
            while steps() <= before:
                assert process.exitcode is None
                time.sleep(0.05)
            os.kill(process.pid, signum)
            process.join(120)
            assert process.exitcode == code, said.read_text()
        assert max(before, 0) < steps() < 10 * 5
    for out in ([tmp_path / "run", "--resume"], [tmp_path / "whole"]):
        with served(command, *words, *out, output=said.with_suffix("")) as process:
            process.join(120)
            assert process.exitcode == 0, said.read_text()
    for name in ("best.safetensors", "last.safetensors"):
        a = load_model(tmp_path / "run" / name).potential.state_dict()
        b = load_model(tmp_path / "whole" / name).potential.state_dict()
        assert all((a[key] == b[key]).all() for key in b), name
