"""Whether a run's steps are compiled, and the process that compiles them while the run goes on."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from jmp_calc.io.progress import Say, duration

from ..batches.tasks import Task
from ..config import CompileChoice, TrainConfig
from ..distributed.world import World
from .programs import CompiledGradients, Kind, program_folder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jmp_calc.model.config import ModelConfig
    from jmp_calc.model.potential import Potential

WAIT_PARTS = 10
"""Parts of a kind that the network computes before a program is made for it: the first steps say how long a
run will take, and a kind that is rare is not worth it."""
BLOCK_S, QUADRUPLETS = 60.0, 3.0
"""Seconds that a block of the network takes to compile on an idle core, and how many times as long with
quadruplets."""
STRESS_FIRST = 4
"""How many times rarer parts with stress may be for their program to be made first."""
EARNED = 4.0
"""A run compiles where it has so many times that left: steps take two thirds of their time then, and the
compiler takes a core from them before."""


def compile_s(network: ModelConfig) -> float:
    """Seconds that it takes to compile a step of a network, roughly."""
    backbone = network.backbone
    return BLOCK_S * backbone.num_blocks * (QUADRUPLETS if backbone.quad_interaction else 1.0)


def refusal(potential: Potential, config: TrainConfig, world: World) -> str | None:
    """Why no program serves such a run; None: one does."""
    device = next(potential.parameters()).device.type
    reasons = {
        f"that is for CPUs so far, not for {device}": device != "cpu",
        "targets are not differentiated": config.forces == "none",
        f"not in --precision {config.precision}": config.precision != "32-true",
        "PCGrad differentiates every task by itself": config.optim.pcgrad,
        "the weights are shared out among the processes": world.shards,
        "dropout draws random numbers": config.edge_dropout > 0 or potential.config.backbone.dropout > 0,
        "activation checkpointing computes parts again": config.activation_checkpointing == "on",
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def compiled_gradients(
    potential: Potential, tasks: Sequence[Task], config: TrainConfig, world: World, say: Say
) -> CompiledGradients | None:
    """What uses programs in a run, if it wants any; says why not where the user asked for them."""
    if config.compile == "off":
        return None
    reason = refusal(potential, config, world)
    if reason is not None:
        if config.compile == "on":
            say(f"training steps are not compiled: {reason}")
        return None
    trained = [name for task in tasks for name in (task.head, *potential.config.head(task.head).committee)]
    return CompiledGradients(potential, list(dict.fromkeys(trained)), config)


class Background:
    """Has the programs made that a run misses, one at a time; talks to the user about them."""

    def __init__(self, gradients: CompiledGradients, choice: CompileChoice, seconds: float, say: Say) -> None:
        """Args:
        gradients: what the run misses, and where programs are looked for.
        choice: whether to compile whatever the run's length.
        seconds: that a program will take to make.
        say: receives a line where something changes.
        """
        self._gradients, self._choice, self._seconds, self._say = gradients, choice, seconds, say
        self._compiler: subprocess.Popen[bytes] | None = None
        self._errors = program_folder() / f"{os.getpid()}.log"
        """What the compiler has to say."""
        self._decided: set[Kind] = set()
        self._told_of: set[Literal["use", "failure"]] = set()

    def after_step(self, step: int, left_s: Callable[[], float]) -> None:
        """Look after it all; ``step``: steps that are done, ``left_s``: says how many seconds are left."""
        if self._gradients.failure is not None:
            self._tell("failure", f"training steps are not compiled: {self._gradients.failure}")
            self._end()
            return
        if self._gradients.loaded:
            self._tell("use", f"training steps are compiled from step {step} on")
        if self._compiler is not None:
            self._ask()
        else:
            self._consider(left_s)

    def _tell(self, what: Literal["use", "failure"], line: str) -> None:
        """Say a line the first time."""
        if what not in self._told_of:
            self._told_of.add(what)
            self._say(line)

    def _consider(self, left_s: Callable[[], float]) -> None:
        """Start the compiler for a kind that the run has missed often, if there is time."""
        missing = {k: n for k, n in self._gradients.missing.items() if k not in self._decided}
        if not missing or max(missing.values()) < WAIT_PARTS:
            return
        # A program with stress serves the other parts too.
        kind = max(missing, key=lambda kind: missing[kind] * (STRESS_FIRST if kind.stress else 1))
        self._decided.add(kind)
        left = left_s()
        if self._choice == "auto" and left < EARNED * self._seconds:
            return
        of = f" of {duration(left)} that are left" if math.isfinite(left) else ""
        try:
            self._start(kind)
        except OSError as error:
            self._tell("failure", f"training steps are not compiled: {error}")
            return
        self._say(f"training steps are being compiled beside the run, about {duration(self._seconds)}{of}")

    def _start(self, kind: Kind) -> None:
        file = self._gradients.files[kind]
        file.parent.mkdir(parents=True, exist_ok=True)
        spec = file.with_suffix(".json")
        spec.write_text(self._gradients.specs[kind].to_json())
        with open(self._errors, "wb") as errors:
            self._compiler = subprocess.Popen(
                [sys.executable, "-m", "jmp_calc.training.compiled.build", str(spec), str(file)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,  # with the compilers that it starts; and Ctrl-C is the run's
            )

    def _ask(self) -> None:
        """See whether the compiler has ended, and how."""
        assert self._compiler is not None
        code = self._compiler.poll()
        if code is None:
            return
        self._compiler = None
        if code != 0:
            lines = self._errors.read_text(errors="replace").strip().splitlines()
            reason = lines[-1] if lines else f"the compiler ended with code {code}"
            self._tell("failure", f"training steps are not compiled: {reason}")

    def close(self) -> None:
        """End the compiler, if it is still at work."""
        self._end()
        self._errors.unlink(missing_ok=True)

    def _end(self) -> None:
        if self._compiler is not None and self._compiler.poll() is None:
            os.killpg(self._compiler.pid, signal.SIGKILL)
            self._compiler.wait()
        self._compiler = None


@contextmanager
def compiling(
    gradients: CompiledGradients | None, network: ModelConfig, config: TrainConfig, world: World, say: Say
) -> Iterator[Background | None]:
    """Inside, the first process of a run has programs made; the compiler ends with the block."""
    if gradients is None or not world.is_first:
        yield None
        return
    background = Background(gradients, config.compile, compile_s(network), say)
    try:
        yield background
    finally:
        background.close()
