"""Campaigns that are killed and resumed against one that was left alone, and batched relaxation against compiled.

    python benchmarks/screen.py campaign --structures 1000 --kills 2 --data DATA     every engine takes a while
    python benchmarks/screen.py throughput --structures 200 --data DATA              on an idle machine
    python benchmarks/screen.py relax --molecules 64 --data DATA

``campaign`` relaxes molecules (QM9) and crystals (MPtrj, Materials Project) with jmp-xs: by one process, by two
processes and by a Dask cluster of two workers (extra dask), the last two killed with SIGKILL at equal parts of the
work. It counts rows and records, and compares the numbers. ``throughput`` takes the time of one process and of
two. ``relax`` takes molecules of 10 to 30 atoms one
by one and side by side, both with the compiled network. Each writes rows of
benchmarks/results/screen.yaml.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from jmp_calc.machine.blas import VARIABLE

os.environ.setdefault(VARIABLE, "1")  # as the command line does, before numpy is there
import ase.io
import numpy as np
import torch
from ase import Atoms
from folders import add_data_option
from rows import RESULTS, write_row

from jmp_calc import JMPCalculator, relax, relax_many
from jmp_calc.errors import JMPError
from jmp_calc.io.structures import iter_frames

WHAT = "screen: killed campaigns against one left alone; relaxation side by side against one by one, both compiled"
LARGER = "spice_mini_train.xyz.gz"
"""Molecules of QM9 have a dozen atoms."""
MOLECULES, CRYSTALS = "qm9_sub_train.xyz.gz", ("mptrj_sample.xyz.gz", "mp_elastic.xyz.gz")


def covered(path: Path, head: str, count: int, sizes: tuple[int, int]) -> list[Atoms]:
    """Structures of a file that a head of jmp-xs takes, of so many atoms, spread by a rattle of 0.02 Å."""
    calculator, found = JMPCalculator("jmp-xs", head=head, device="cpu"), []
    for atoms in iter_frames(path):
        bare = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
        if not sizes[0] <= len(bare) <= sizes[1]:
            continue
        try:
            calculator.evaluator.prepare(bare, ("energy", "forces"))
        except (JMPError, NotImplementedError):
            continue
        bare.rattle(0.02, seed=len(found))
        found.append(bare)
        if len(found) == count:
            return found
    return found


class Run:
    """One campaign by the command line."""

    def __init__(self, frames: Path, out: Path, words: list[str], steps: int) -> None:
        self.out, self.journal = out, out / "screen.jsonl"
        self.words = [
            sys.executable, "-m", "jmp_calc.cli.main", "screen", str(frames), "-o", str(out), "--quiet", "--no-plot",
            "--set", "fmax=0.05", "--set", f"steps={steps}", *words,
        ]  # fmt: skip

    def start(self) -> subprocess.Popen[bytes]:
        """With --resume if anything is there."""
        more = ["--resume"] if self.journal.exists() else []
        return subprocess.Popen([*self.words, *more], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)

    def records(self) -> list[str]:
        """Keys of the records so far."""
        if not self.journal.exists():
            return []
        whole = [line for line in self.journal.read_bytes().split(b"\n")[1:-1] if line]
        return [json.loads(line)["key"] for line in whole]

    def finish(self) -> float:
        """Run to the end; seconds."""
        began, process = time.monotonic(), self.start()
        _, messages = process.communicate()
        if process.returncode not in (0, 3):
            raise SystemExit(f"the campaign failed:\n{messages.decode()}")
        return time.monotonic() - began

    def kill(self, after: int) -> bool:
        """SIGKILL as soon as there are so many records; False where it ended before."""
        process = self.start()
        while process.poll() is None and len(self.records()) < after:
            time.sleep(0.05)
        alive = process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.communicate()
        return alive

    def rows(self) -> list[dict[str, str]]:
        """The table."""
        with open(self.out / "screen.csv", encoding="utf-8") as stream:
            return list(csv.DictReader(stream))


def differences(rows: list[dict[str, str]], others: list[dict[str, str]]) -> dict[str, Any]:
    """How far two tables are apart."""
    both = [(a, b) for a, b in zip(rows, others, strict=True) if a["energy_ev"] and b["energy_ev"]]
    gaps = [abs(float(a["energy_ev"]) - float(b["energy_ev"])) for a, b in both]
    return {
        "largest_difference_ev": max(gaps, default=0.0),
        "rows_with_other_status": sum(a["status"] != b["status"] for a, b in zip(rows, others, strict=True)),
    }


def structures(options: argparse.Namespace) -> list[Atoms]:
    """As many molecules as crystals."""
    given = covered(options.data / MOLECULES, "wb97x-ani2x", options.structures // 2, (3, 30))
    for name in CRYSTALS:
        given += covered(options.data / name, "pbe", options.structures - len(given), (1, 30))
    return given


def campaign(options: argparse.Namespace) -> None:
    """Killed campaigns, one engine after the other, against one that was left alone."""
    given = structures(options)
    engines: dict[str, list[str]] = {"two processes": ["--processes", "2"]}
    if options.dask:
        engines["dask, two workers"] = ["--processes", "2", "--dask", "local"]
    with tempfile.TemporaryDirectory(prefix="screen-") as name:
        folder = Path(name)
        frames = folder / "frames.traj"
        ase.io.write(frames, given)
        one = Run(frames, folder / "one", ["--batch", str(options.batch)], options.steps)
        one.finish()
        wanted = one.rows()
        units = len(one.records())
        for engine, words in engines.items():
            run = Run(
                frames,
                folder / engine.replace(" ", "-"),
                [*words, "--batch", str(options.batch)],
                options.steps,
            )
            kills = sum(run.kill((turn + 1) * units // (options.kills + 1)) for turn in range(options.kills))
            run.finish()
            keys, rows = run.records(), run.rows()
            numbers = {
                "structures": len(given),
                "steps_at_most": options.steps,
                "kills": kills,
                "rows": len(rows),
                "records": len(keys),
                "records_twice": len(keys) - len(set(keys)),
                **differences(rows, wanted),
            }
            write_row(options.output, f"campaign, {engine}", numbers, what=WHAT, threads=1, order=())


def throughput(options: argparse.Namespace) -> None:
    """One process and two, one after the other; of use on an idle machine only."""
    given = structures(options)
    with tempfile.TemporaryDirectory(prefix="screen-") as name:
        frames, seconds = Path(name) / "frames.traj", {}
        ase.io.write(frames, given)
        for processes in (1, 2):
            words = ["--processes", str(processes), "--batch", str(options.batch)]
            seconds[processes] = Run(frames, Path(name) / str(processes), words, options.steps).finish()
    numbers = {
        "structures": len(given),
        "steps_at_most": options.steps,
        "one_process_s": seconds[1],
        "two_processes_s": seconds[2],
        "ratio": seconds[1] / seconds[2],
        "load": os.getloadavg()[0],
    }
    write_row(options.output, "throughput", numbers, what=WHAT, threads=1, order=())


def side_by_side(options: argparse.Namespace) -> None:
    """Molecules of 10 to 30 atoms: one by one and side by side, both compiled."""
    torch.set_num_threads(options.threads)
    given = covered(options.data / LARGER, "wb97x-ani2x", options.molecules, (10, 30))
    compiled = JMPCalculator("jmp-xs", head="wb97x-ani2x", device="cpu", compile=True)
    relax(given[0], calc=compiled, steps=2, guard=False)  # minutes of compiling are not of the relaxation
    relax_many(given, calc=compiled, steps=2, guard=False)
    began = time.perf_counter()
    singles = [relax(atoms, calc=compiled, fmax=0.05, steps=options.steps, guard=False) for atoms in given]
    middle = time.perf_counter()
    many = relax_many(given, calc=compiled, fmax=0.05, steps=options.steps, guard=False)
    ended = time.perf_counter()
    gaps = [
        abs(a.energy_ev - float(b.outcome.values["energy_ev"]))
        for a, b in zip(singles, many.rows, strict=True)
    ]
    numbers = {
        "molecules": len(given),
        "atoms": [min(map(len, given)), max(map(len, given))],
        "mean_atoms": float(np.mean([len(atoms) for atoms in given])),
        "steps_at_most": options.steps,
        "steps": [
            sum(one.n_steps for one in singles),
            sum(int(row.outcome.values["n_steps"] or 0) for row in many.rows),
        ],
        "compiled_one_by_one_s": middle - began,
        "side_by_side_s": ended - middle,
        "ratio": (middle - began) / (ended - middle),
        "median_difference_ev": float(np.median(gaps)),
        "load": os.getloadavg()[0],
    }
    write_row(
        options.output,
        f"relax, {options.threads} thread(s)",
        numbers,
        what=WHAT,
        threads=options.threads,
        order=(),
    )


def main() -> None:
    """One of the three parts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=["campaign", "throughput", "relax"])
    add_data_option(parser)
    parser.add_argument("--structures", type=int, default=1000)
    parser.add_argument("--molecules", type=int, default=64)
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dask", action="store_true", help="a Dask cluster of two workers too (extra dask)")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS / "screen.yaml")
    options = parser.parse_args()
    {"campaign": campaign, "throughput": throughput, "relax": side_by_side}[options.part](options)
    print(options.output.read_text())


if __name__ == "__main__":
    main()
