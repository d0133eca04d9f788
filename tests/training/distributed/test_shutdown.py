"""A run of two processes that cannot go on: one message by the first, an exit code, and nobody is left
waiting."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from jmp_calc.errors import BadInputError, UsageError
from jmp_calc.training.distributed.launch import DistributedConfig, started
from jmp_calc.training.loop import fit
from tests.training.helpers.pairs import pair
from tests.training.helpers.two_processes import CONFIG, broken_frames, job

pytest.importorskip("lightning_fabric")
TWO = DistributedConfig(devices=2)


def first_dies(out: Path) -> None:
    with started(TWO, "cpu") as world:

        def die(step: int) -> None:
            if step == 1 and world.is_first:
                os.kill(os.getpid(), signal.SIGKILL)

        fit(job(out, world, before=die), CONFIG)


def test_the_first_process_is_killed(tmp_path: Path) -> None:
    """Then the other one says it."""
    ended = pair(first_dies, tmp_path / "run", out=tmp_path)
    assert ended.codes == (-signal.SIGKILL, 1)
    error, hint = ended.stderr[1].splitlines()
    assert error == "error: Another process of this training has ended." and "--resume" in hint


def second_fails(out: Path) -> None:
    with started(TWO, "cpu") as world:

        def fail(step: int) -> None:
            if step == 1 and not world.is_first:
                raise BadInputError("The disk of this machine is gone.", where="frame 7", hint="look there")

        fit(job(out, world, before=fail), CONFIG)


def test_an_error_of_another_process_is_told_by_the_first(tmp_path: Path) -> None:
    ended = pair(second_fails, tmp_path / "run", out=tmp_path)
    assert ended.codes == (BadInputError.exit_code, BadInputError.exit_code)
    assert ended.stderr[0].splitlines() == [
        "error: Process 2 of 2: The disk of this machine is gone.",
        "where: frame 7",
        "hint: look there",
    ]
    assert ended.stderr[1] == ""


def second_fails_while_the_first_is_busy(out: Path) -> None:
    with started(TWO, "cpu") as world:
        if world.is_first:
            (out / "busy").touch()
            time.sleep(50.0)
        while not (out / "busy").exists():
            time.sleep(0.01)
        raise BadInputError("The disk of this machine is gone.")


def test_a_launcher_that_ends_the_others_does_not_hide_the_reason(tmp_path: Path) -> None:
    """torchrun and srun send SIGTERM to all as soon as one process has ended."""

    def terminate(processes: list[Any]) -> None:
        processes[1].join(40.0)
        os.kill(processes[0].pid, signal.SIGTERM)

    ended = pair(second_fails_while_the_first_is_busy, tmp_path, out=tmp_path, meanwhile=terminate)
    assert ended.codes == (BadInputError.exit_code, BadInputError.exit_code)
    assert ended.stderr == ("error: Process 2 of 2: The disk of this machine is gone.\n", "")


def first_refuses() -> None:
    with started(TWO, "cpu") as world:
        if world.is_first:
            raise UsageError("The output exists already.")
        world.wait()


def test_what_the_first_process_refuses_is_told_once(tmp_path: Path) -> None:
    """The other one waits for it in a collective, and has nothing to say."""
    ended = pair(first_refuses, out=tmp_path)
    assert ended.codes[0] == UsageError.exit_code and ended.codes[1] != 0
    assert ended.stderr == ("error: The output exists already.\n", "")


def one_sees_nan(out: Path) -> None:
    with started(TWO, "cpu") as world:
        fit(job(out, world, frames=broken_frames()), CONFIG)


def test_a_number_that_is_not_finite_ends_both(tmp_path: Path) -> None:
    """It is in the share of one process; the state before that step is saved."""
    ended = pair(one_sees_nan, tmp_path / "run", out=tmp_path)
    assert ended.codes == (3, 3)
    assert (
        "not finite" in ended.stderr[0]
        and "frame 3" in ended.stderr[0]
        and "Traceback" not in ended.stderr[0]
    )
    assert ended.stderr[1] == ""
    assert (tmp_path / "run" / "state.pt").is_file() and (tmp_path / "run" / "nan-batch.extxyz").is_file()
