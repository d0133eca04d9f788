"""A fine-tuning killed again and again must end with the weights of one that was left alone, bit for bit.

    python benchmarks/kills.py --kills 50

fine-tunes jmp-xs through the command line on one process, kills it with SIGKILL at random moments (every
third time in the middle of writing a file), looks through the run folder after every kill, goes on with
``--resume``, and compares the best and the last weights with those of the uninterrupted run. A run that ends
before all kills are done is compared and started anew. Writes benchmarks/results/kills.yaml; the moments
follow from ``--seed``, but what the process was doing then depends on the speed of the machine.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import ase.io
import numpy as np
import torch
import yaml
from ase.build import bulk
from ase.calculators.emt import EMT
from rows import RESULTS, write_row

from jmp_calc.training.run.checkpoint import load_checkpoint
from jmp_calc.training.run.folder import STATE_FILE
from jmp_calc.training.run.log import LOG_FILE
from jmp_calc.training.validation.history import Row, read_history
from jmp_calc.zoo.container import load_model

MODELS = ("best.safetensors", "last.safetensors")
WRITTEN = (STATE_FILE, STATE_FILE, "best.safetensors", "")
"""Files in whose writing every third kill falls; the empty name: any file."""
PATIENCE_S = 10.0
"""How long such a writing is waited for."""
# The stack is written by a signal handler in C, so it is that of the moment before the kill.
CHILD = """
import faulthandler, signal, sys
faulthandler.register(signal.SIGUSR1, open(sys.argv.pop(1), "w"), all_threads=False)
from jmp_calc.cli.main import main
main()
"""
PHASES = (
    ("state.pt being written", ("in save_checkpoint",)), ("model being written", ("in save_model",)),
    ("other file being written", ("in replacing", "in write_summary", "in _write")), ("validation",
    ("in validate",)),
    ("steps", ("in fit",)), ("start or report", ("in run", "in prepare")),
)  # fmt: skip
"""What the process was doing, by the functions on its stack; the first that fits."""


@dataclass
class Kills:
    """What was seen."""

    by_phase: Counter[str] = field(default_factory=Counter)
    unreadable: list[str] = field(default_factory=list)
    left_over: list[str] = field(default_factory=list)
    """Temporary files that were still there after the next start had ended or was killed in its turn."""
    temporary: int = 0
    """Temporary files right after a kill, which the next start has to take away."""
    unequal: list[str] = field(default_factory=list)
    runs: int = 0


@dataclass(frozen=True)
class Moment:
    """When to kill."""

    after: float
    """Seconds."""
    since: str
    """Words of the line in the log from which they count; empty: from the start of the process."""
    writing: str | None
    """Beginning of the name of a file whose next writing is waited for."""

    @classmethod
    def drawn(cls, rng: np.random.Generator, longest: float) -> Moment:
        """One in five counts from the start of the process; one in three falls into the writing of a file."""
        since = str(rng.choice(["", "training: ", "training: ", "training: ", "training: "]))
        writing = str(rng.choice(WRITTEN)) if rng.uniform() < 1 / 3 else None
        return cls(rng.uniform(0.0, longest), since, writing)


def write_data(path: Path, count: int) -> Path:
    """Shaken copper cells of four atoms with EMT labels, so that a step takes little time."""
    rng, images = np.random.default_rng(0), []
    for i in range(count):
        atoms = bulk("Cu", "fcc", a=3.55 + 0.01 * (i % 10), cubic=True)
        atoms.positions += rng.normal(scale=0.1, size=(4, 3))
        atoms.calc = EMT()
        atoms.get_potential_energy(), atoms.get_forces()
        images.append(atoms)
    ase.io.write(path, images, format="extxyz")
    return path


class Run:
    """One fine-tuning in a folder, started as often as needed."""

    def __init__(self, data: Path, out: Path, model: str, epochs: int) -> None:
        self.out, self.stack = out, out.parent / "stack.txt"
        self.words = [
            sys.executable, "-c", CHILD, str(self.stack), "finetune", str(data), "-m", model, "-o", str(out),
                                             "--epochs",
            str(epochs), "--batch-size", "4", "--lr", "1e-3", "--valid-fraction", "0.3", "--processes", "1",
            "--save-every", "0.5s", "--quiet",
        ]  # fmt: skip

    def start(self) -> subprocess.Popen[bytes]:
        """With ``--resume`` if anything of an earlier start is there."""
        more = ["--resume"] if (self.out / "summary.yaml").exists() else []
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.Popen([*self.words, *more], env=environment, stderr=subprocess.PIPE)

    def finish(self) -> None:
        """Run to the end; ends the program if that fails."""
        process = self.start()
        _, messages = process.communicate()
        if process.returncode:
            raise SystemExit(f"the run failed:\n{messages.decode()}")

    def temporaries(self) -> list[str]:
        """Names of temporary files in the folder."""
        return sorted(path.name for path in self.out.glob(".*.tmp")) if self.out.is_dir() else []

    def kill(self, moment: Moment) -> str | None:
        """Start, wait for the moment, SIGKILL; what the process was doing, or None: it ended before."""
        log, old = self.out / LOG_FILE, set(self.temporaries())
        lines = log.read_text().count(moment.since) if log.exists() else 0
        process, began = self.start(), time.monotonic()
        while process.poll() is None and moment.since:
            if log.exists() and log.read_text().count(moment.since) > lines:
                break
            began = time.monotonic()
            time.sleep(0.01)

        def waiting() -> bool:
            new, passed = set(self.temporaries()) - old, time.monotonic() - began
            written = moment.writing is None or any(name.startswith(f".{moment.writing}") for name in new)
            # A busy machine may not let this process see the file in time.
            return passed < moment.after or (not written and passed < moment.after + PATIENCE_S)

        while waiting() and process.poll() is None:
            time.sleep(0.0002)
        if process.poll() is None:
            process.send_signal(signal.SIGUSR1)
            time.sleep(0.001)
            process.kill()
        _, messages = process.communicate()
        if process.returncode == 0:
            return None
        if process.returncode == -signal.SIGUSR1:
            return "interpreter starting"  # the handler was not yet there; as dead as by SIGKILL
        if process.returncode != -signal.SIGKILL:
            raise SystemExit(f"the run failed by itself:\n{messages.decode()}")
        stack = self.stack.read_text() if self.stack.exists() else ""
        return next((name for name, marks in PHASES if any(mark in stack for mark in marks)), "imports")

    def unreadable(self) -> list[str]:
        """Files of the folder that cannot be read, with the reason."""
        bad = []
        for path in sorted(self.out.iterdir()) if self.out.is_dir() else ():
            try:
                if path.name == STATE_FILE:
                    load_checkpoint(path)
                elif path.suffix == ".safetensors":
                    load_model(path)
                elif path.suffix == ".yaml":
                    assert isinstance(yaml.safe_load(path.read_text()), dict)
                elif path.suffix == ".csv":
                    rows = read_history(path)
                    assert [row.step for row in rows] == sorted({row.step for row in rows})
                    assert path.read_text().startswith(next(iter(Row.__dataclass_fields__)))
                elif path.suffix == ".extxyz":
                    ase.io.read(path, ":")
            except Exception as error:
                bad.append(f"{path.name}: {type(error).__name__}: {error}")
        return bad


def differences(a: Path, b: Path) -> list[str]:
    """Names of tensors that are not bit-equal in the best or last models of two runs."""
    found = []
    for name in MODELS:
        one, other = (load_model(folder / name).potential.state_dict() for folder in (a, b))
        found += [f"{name}: {key}" for key in one if not torch.equal(one[key], other[key])]
    return found


def torture(
    data: Path, folder: Path, model: str, epochs: int, kills: int, seed: int, longest: float
) -> Kills:
    """Kill and resume until ``kills`` is reached and the run has ended; compare with the uninterrupted
    run."""
    whole, seen, rng = Run(data, folder / "whole", model, epochs), Kills(), np.random.default_rng(seed)
    whole.finish()
    while sum(seen.by_phase.values()) < kills:
        seen.runs += 1
        run, ended = Run(data, folder / f"killed-{seen.runs}", model, epochs), False
        while not ended and sum(seen.by_phase.values()) < kills:
            before = run.temporaries()
            phase = run.kill(Moment.drawn(rng, longest))
            ended = phase is None
            if phase not in (
                None,
                "imports",
                "interpreter starting",
            ):  # those have not yet come to the folder
                seen.left_over += [name for name in run.temporaries() if name in before]
            if phase is not None:
                seen.by_phase[phase] += 1
            seen.unreadable += run.unreadable()
            seen.temporary += len(set(run.temporaries()) - set(before))
            print(f"{sum(seen.by_phase.values())} kills, run {seen.runs}: {phase or 'ended'}", flush=True)
        if not ended:
            run.finish()
        seen.left_over += run.temporaries()
        seen.unequal += differences(whole.out, run.out)
    return seen


def main() -> int:
    """Exit code 1 if anything was unreadable, left over or unequal."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--model", default="jmp-xs")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--longest", type=float, default=10.0, help="seconds of work until the kill, at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, default=RESULTS / "kills.yaml")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kills-") as folder:
        data = write_data(Path(folder) / "train.extxyz", options.frames)
        began = time.monotonic()
        seen = torture(
            data, Path(folder), options.model, options.epochs, options.kills, options.seed, options.longest
        )
    write_row(
        options.output,
        options.model,
        {
            "kills": sum(seen.by_phase.values()),
            "runs": seen.runs,
            "seed": options.seed,
            "epochs": options.epochs,
            "training_frames": options.frames,
            "killed_in": dict(seen.by_phase.most_common()),
            "temporary_files_of_kills": seen.temporary,
            "temporary_files_left": seen.left_over,
            "unreadable_files": seen.unreadable,
            "unequal_tensors": seen.unequal,
            "minutes": (time.monotonic() - began) / 60,
        },
        what="fine-tuning killed with SIGKILL and resumed, against the uninterrupted run (best and last "
        "weights)",
        threads=1,
        order=(),
    )
    print(options.output.read_text())
    return 1 if seen.unequal or seen.unreadable or seen.left_over else 0


if __name__ == "__main__":
    sys.exit(main())
