"""Molecules sampled and labelled with GFN2-xTB by two processes; killed and resumed: the same labels.

    python benchmarks/labelling.py --molecules 10000 --kills 2

draws molecules of 10 to 30 atoms (extra ``sample``), labels them (extra ``tblite``) once without a stop, then
once more with SIGKILL at even shares of the frames, each time going on with ``--resume``, and compares the
two files frame by frame. Writes benchmarks/results/labelling.yaml, with the time of both steps and the load
of the machine beside it.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rows import RESULTS, write_row

from jmp_calc.io.structures import iter_frames
from jmp_calc.io.summary import read_summary

WHAT = "molecules of 10 to 30 atoms: sampled, labelled with GFN2-xTB, killed and resumed"
LIMIT_S = 900.0
"""What sampling and labelling of 10,000 molecules may take."""
SAME_EV = 1e-8


@dataclass(frozen=True)
class Comparison:
    """Two labelled files, frame by frame."""

    frames: int
    same_order: bool
    energy_ev: float
    """Largest difference."""
    forces_ev_per_a: float
    """Largest difference."""


def jmp(*words: object) -> list[str]:
    """A command line of jmp-calc."""
    return [sys.executable, "-m", "jmp_calc", *map(str, words)]


def timed(command: list[str]) -> tuple[float, float]:
    """Wall and processor seconds of a command that must end well, with all that it starts."""
    start, used = time.perf_counter(), sum(os.times()[2:4])
    subprocess.run(command, check=True)
    return time.perf_counter() - start, sum(os.times()[2:4]) - used


def killed(command: list[str], parts: Path, after: int) -> bool:
    """Start a command and kill it when its part files hold so many frames; whether it was still at work."""
    run = subprocess.Popen(command, start_new_session=True)
    while run.poll() is None:
        if kept(parts) >= after:
            os.killpg(run.pid, signal.SIGKILL)
            run.wait()
            return True
        time.sleep(0.1)
    return False


def kept(parts: Path) -> int:
    """Frames in the part files of a run."""
    frames = 0
    for path in parts.glob("part-*.npz"):
        with np.load(path) as part:
            frames += len(part["sizes"])
    return frames


def compared(first: Path, second: Path) -> Comparison:
    """What differs between two labelled files."""
    frames, same, energy, forces = 0, True, 0.0, 0.0
    for one, other in zip(iter_frames(first), iter_frames(second), strict=True):
        frames += 1
        same &= one.info.get("sample_id") == other.info.get("sample_id") and len(one) == len(other)
        energy = max(energy, abs(one.calc.results["energy"] - other.calc.results["energy"]))
        forces = max(forces, float(np.abs(one.calc.results["forces"] - other.calc.results["forces"]).max()))
    return Comparison(frames, same, energy, forces)


def measured(folder: Path, molecules: int, kills: int, processes: int) -> dict[str, object]:
    """Sample, label, label again with kills, compare."""
    load = os.getloadavg()[0]
    shared = ("--processes", processes, "-q")
    sample = jmp("sample", "molecules", "-n", molecules, "--atoms", "10-30", "-o", folder / "pool", *shared)
    sample_s, sample_used = timed(sample)
    words = ("label", folder / "pool" / "samples.extxyz", "--calculator", "tblite", *shared)
    label_s, label_used = timed(jmp(*words, "-o", folder / "whole"))
    results = (read_summary(folder / "whole" / "summary.yaml") or {})["results"]
    again = jmp(*words, "-o", folder / "killed", "--resume")
    stopped = []
    for kill in range(kills):
        share = (results["n_frames"] * (kill + 1)) // (kills + 1)
        stopped.append(killed(again, folder / "killed" / "parts", share))
    subprocess.run(again, check=True)
    last = (read_summary(folder / "killed" / "summary.yaml") or {})["results"]
    found = compared(folder / "whole" / "labelled.extxyz", folder / "killed" / "labelled.extxyz")
    whole = results["n_frames"] + results["n_isolated_added"]
    return {
        "molecules": molecules,
        "processes": processes,
        "cores": os.cpu_count(),
        "load_before": round(load, 2),
        "sample_s": round(sample_s, 1),
        "label_s": round(label_s, 1),
        "seconds_for_10000": round((sample_s + label_s) * 10_000 / molecules, 1),
        "limit_s": LIMIT_S,
        "processor_seconds_for_10000": round((sample_used + label_used) * 10_000 / molecules, 1),
        "frames": results["n_frames"],
        "left_out": results["left_out"],
        "isolated_atoms": results["n_isolated_added"],
        "kills_while_at_work": sum(stopped),
        "computed_after_the_last_kill": last["n_computed"],
        "same_frames_in_the_same_order": found.same_order and found.frames == whole,
        "largest_difference_energy_ev": found.energy_ev,
        "largest_difference_forces_ev_per_a": found.forces_ev_per_a,
        "energies_equal": found.energy_ev <= SAME_EV,
    }


def main() -> None:
    """Measure and write the row."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--molecules", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        row = measured(Path(folder), given.molecules, given.kills, given.processes)
    name = f"{given.molecules} molecules"
    write_row(RESULTS / "labelling.yaml", name, row, what=WHAT, threads=1, order=[name])
    print(row)


if __name__ == "__main__":
    main()
