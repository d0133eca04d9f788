"""The thermo table of a run, files that survive restarts, and the verdict on energy conservation."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..io.summary import write_text_atomic

if TYPE_CHECKING:
    from ase import Atoms

COLUMNS = ("step", "time_fs", "epot_eV", "ekin_eV", "etot_eV", "temperature_K")
NPT_COLUMNS = (*COLUMNS, "pressure_GPa", "volume_A3", "conserved_eV")
SKIPPED_SHARE = 0.1
"""Share of an NVE run that is left out at its start, where it leaves the start structure."""
GOOD_MEV = 0.2
BAD_MEV = 2.0
"""meV/atom/ps: below the first the energy is conserved, above the second it is not."""


class StatsTable:
    """Rows of numbers, kept in memory and, with ``path``, appended to a text file as they come; no row, no
    file."""

    def __init__(self, columns: Sequence[str], path: Path | None, *, resume_step: int | None = None) -> None:
        self.columns, self.path = tuple(columns), path
        self.rows: list[tuple[float, ...]] = []
        if path is not None and resume_step is not None and path.exists():
            self.rows = _rows_until(path, resume_step, len(self.columns))
            write_text_atomic(path, self.text())

    def text(self) -> str:
        """Header with units and all rows."""
        return "# " + "  ".join(self.columns) + "\n" + "".join(_line(row) for row in self.rows)

    def append(self, row: Sequence[float]) -> None:
        """Add one row; the file is complete up to it when this returns."""
        self.rows.append(tuple(float(value) for value in row))
        if self.path is None:
            return
        if not self.path.exists():
            write_text_atomic(self.path, self.text())
        else:
            with open(self.path, "a", encoding="utf-8") as stream:
                stream.write(_line(self.rows[-1]))

    def array(self) -> np.ndarray:
        """All rows, shape (n_rows, n_columns)."""
        return np.array(self.rows, dtype=float).reshape(-1, len(self.columns))


def _line(row: Sequence[float]) -> str:
    return f"{int(row[0]):10d} {row[1]:14.4f} " + " ".join(f"{value:18.10f}" for value in row[2:]) + "\n"


def _rows_until(path: Path, step: int, width: int) -> list[tuple[float, ...]]:
    """Complete rows of an earlier run up to ``step``; what a killed job left half-written is dropped."""
    rows = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True):
        words = line.split()
        if line.startswith("#") or not line.endswith("\n") or len(words) != width:
            continue
        if int(words[0]) <= step:
            rows.append(tuple(float(word) for word in words))
    return rows


class TrajectoryFile:
    """extxyz frames appended one by one; a restart first drops frames after its step and half-written
    ones."""

    def __init__(self, path: Path, *, resume_step: int | None = None) -> None:
        self.path = path
        if resume_step is None:
            path.unlink(missing_ok=True)
        elif path.exists():
            os.truncate(path, _bytes_until(path, resume_step))

    def append(self, frame: Atoms) -> None:
        """Write one frame, whose info has its step."""
        from .common import write_frames

        write_frames(self.path, [frame], append=True)


def _bytes_until(path: Path, step: int) -> int:
    """Length of the leading part of a trajectory that holds complete frames up to ``step``."""
    good = 0
    with open(path, "rb") as stream:
        while True:
            head = stream.readline()
            if not head.strip().isdigit():
                return good
            comment = stream.readline()
            found = re.search(rb"\bstep=(\d+)", comment)
            lines = [stream.readline() for _ in range(int(head))]
            if found is None or int(found[1]) > step or not all(line.endswith(b"\n") for line in lines):
                return good
            good = stream.tell()


@dataclass(frozen=True)
class DriftVerdict:
    """Slope of the total energy per atom of an NVE run, after its first tenth."""

    drift_mev_per_atom_per_ps: float
    standard_error: float
    drift_ratio: float
    """Drift over the whole span divided by the r.m.s. fluctuation of the kinetic energy."""
    from_ps: float
    to_ps: float
    verdict: str
    """conserved (below 0.2 meV/atom/ps), drifting, not conserved (above 2), or too short to tell."""


def drift_verdict(table: np.ndarray, n_atoms: int) -> DriftVerdict | None:
    """Judge the columns step, time_fs, epot, ekin, etot, …; None with fewer than three rows."""
    if len(table) < 3:
        return None
    time_ps = table[:, 1] / 1000
    start = time_ps[0] + SKIPPED_SHARE * (time_ps[-1] - time_ps[0])
    used = table[time_ps >= start - 1e-12]
    if len(used) < 3:
        return None
    t, energy = used[:, 1] / 1000, 1000 * used[:, 4] / n_atoms
    centred = t - t.mean()
    slope = float(centred @ (energy - energy.mean()) / (centred @ centred))
    rest = energy - energy.mean() - slope * centred
    error = float(np.sqrt(rest @ rest / (len(t) - 2) / (centred @ centred)))
    spread = float(np.std(1000 * used[:, 3] / n_atoms))
    ratio = abs(slope) * float(t[-1] - t[0]) / spread if spread > 0 else 0.0
    return DriftVerdict(
        slope, error, ratio, float(t[0]), float(t[-1]), _word(slope, error, float(t[-1] - t[0]))
    )


def _word(slope: float, error: float, span_ps: float) -> str:
    if span_ps < 0.4 or (2 * error > GOOD_MEV and abs(slope) < GOOD_MEV + 2 * error):
        return "too short to tell"
    if abs(slope) < GOOD_MEV:
        return "conserved"
    return "drifting" if abs(slope) < BAD_MEV else "not conserved"


def averages(table: np.ndarray, columns: Sequence[str]) -> dict[str, Any]:
    """Mean and standard deviation of temperature, pressure and volume after the first tenth of the rows."""
    used = table[int(SKIPPED_SHARE * len(table)) :]
    wanted = {"temperature_K": "temperature_k", "pressure_GPa": "pressure_gpa", "volume_A3": "volume_a3"}
    found: dict[str, Any] = {}
    for index, name in enumerate(columns):
        if name in wanted and len(used):
            found[f"{wanted[name]}_mean"] = float(used[:, index].mean())
            found[f"{wanted[name]}_std"] = float(used[:, index].std())
    return found
