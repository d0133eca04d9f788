"""The thermo table of a run, files that survive restarts, and the verdict on energy conservation."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..analysis.table import even_rows
from ..io.atomic import sync
from ..io.summary import write_text_atomic
from .common import write_frames

if TYPE_CHECKING:
    from ase import Atoms

COLUMNS = ("step", "time_fs", "epot_eV", "ekin_eV", "etot_eV", "temperature_K")
PRESSURE_COLUMNS = (*COLUMNS, "pressure_GPa")
"""Of crystals without barostat, where the calculator gives a stress."""
NPT_COLUMNS = (*PRESSURE_COLUMNS, "volume_A3", "conserved_eV")
LENGTHS = ("a_A", "b_A", "c_A")
AXIAL_PRESSURES = ("pressure_xx_GPa", "pressure_yy_GPa", "pressure_zz_GPa")
"""Of cells whose shape may change."""
TARGET_COLUMNS = ("target_K", "target_GPa")
"""Of runs with a schedule; the pressure only where there is a barostat."""
STD_COLUMN = "energy_std_eV"
"""Of calculators that know how far their energy may be off."""
_KNOWN = frozenset((*NPT_COLUMNS, *LENGTHS, *AXIAL_PRESSURES, *TARGET_COLUMNS, STD_COLUMN))
SKIPPED_SHARE = 0.1
"""Share of an NVE run that is left out at its start, where it leaves the start structure."""
GOOD_MEV = 0.2
BAD_MEV = 2.0
"""meV/atom/ps: below the first the energy is conserved, above the second it is not."""


def table_columns(
    *, pressure: bool, volume: bool, axes: bool, conserved: bool, target: bool, uncertain: bool
) -> tuple[str, ...]:
    """The columns of a run: with a pressure, with a volume, with a shape, with a conserved quantity of a
    thermostat, with targets that change, with an uncertainty of the energy."""
    return (
        *(PRESSURE_COLUMNS if pressure else COLUMNS),
        *(NPT_COLUMNS[-2:-1] if volume else ()),
        *((*LENGTHS, *AXIAL_PRESSURES) if axes else ()),
        *(NPT_COLUMNS[-1:] if conserved else ()),
        *((TARGET_COLUMNS if volume else TARGET_COLUMNS[:1]) if target else ()),
        *((STD_COLUMN,) if uncertain else ()),
    )


class StatsTable:
    """Rows of numbers, kept in memory and, with ``path``, appended to a text file as they come; no row, no
    file. A table that is gone on with keeps its columns."""

    def __init__(self, columns: Sequence[str], path: Path | None, *, resume_step: int | None = None) -> None:
        self.columns, self.path = tuple(columns), path
        self.rows: list[tuple[float, ...]] = []
        if path is not None and resume_step is not None and path.exists():
            text = path.read_text(encoding="utf-8", errors="replace")
            self.columns = _header(text) or self.columns
            self.rows = _rows_until(text, resume_step, len(self.columns))
            write_text_atomic(path, self.text())

    @property
    def last_step(self) -> int:
        """Step of the last row; -1 without one."""
        return int(self.rows[-1][0]) if self.rows else -1

    def text(self) -> str:
        """Header with units and all rows."""
        return "# " + "  ".join(self.columns) + "\n" + "".join(_line(row) for row in self.rows)

    def append(self, values: Mapping[str, float]) -> None:
        """Add one row, by the names of its columns; the file is complete up to it when this returns."""
        self.rows.append(tuple(float(values[name]) for name in self.columns))
        if self.path is None:
            return
        if not self.path.exists():
            write_text_atomic(self.path, self.text())
        else:
            with open(self.path, "a", encoding="utf-8") as stream:
                stream.write(_line(self.rows[-1]))

    def sync(self) -> None:
        """Force all rows to disk."""
        if self.path is not None:
            sync(self.path)

    def array(self) -> np.ndarray:
        """All rows, shape (n_rows, n_columns)."""
        return np.array(self.rows, dtype=float).reshape(-1, len(self.columns))


def _line(row: Sequence[float]) -> str:
    return f"{int(row[0]):10d} {row[1]:14.4f} " + " ".join(f"{value:18.10f}" for value in row[2:]) + "\n"


def _header(text: str) -> tuple[str, ...] | None:
    """The columns that a table has, or None where its first line is damaged."""
    names = tuple(text.partition("\n")[0].removeprefix("# ").split())
    sound = names[: len(COLUMNS)] == COLUMNS and len(set(names)) == len(names) and _KNOWN.issuperset(names)
    return names if sound else None


def _rows_until(text: str, step: int, width: int) -> list[tuple[float, ...]]:
    """Sound rows of an earlier run up to ``step``; what a killed job or a loss of power left is dropped."""
    rows: list[tuple[float, ...]] = []
    for line in text.splitlines(keepends=True):
        words = line.split()
        if line.startswith("#") or not line.endswith("\n") or len(words) != width:
            continue
        try:
            row = (float(int(words[0])), *map(float, words[1:]))
        except (ValueError, OverflowError):
            continue
        if (rows[-1][0] if rows else -1) < row[0] <= step:
            rows.append(row)
    return rows


class TrajectoryFile:
    """extxyz frames appended one by one; a restart first drops frames after its step and half-written
    ones."""

    def __init__(self, path: Path, *, resume_step: int | None = None) -> None:
        self.path = path
        self.count, self.last_step = 0, -1
        if resume_step is None:
            path.unlink(missing_ok=True)
        elif path.exists():
            self._cut(resume_step)

    def _cut(self, step: int) -> None:
        """Drop frames after a step, and half-written ones."""
        with open(self.path, "rb") as stream:
            length, self.count, self.last_step = frames_until(stream, step)
        os.truncate(self.path, length)

    def append(self, frame: Atoms) -> None:
        """Write one frame, whose info has its step."""
        write_frames(self.path, [frame], append=True)
        self.count, self.last_step = self.count + 1, int(frame.info["step"])

    def sync(self) -> None:
        """Force all frames to disk."""
        sync(self.path)


class Lines(Protocol):
    """What gives the lines of a file one by one."""

    def readline(self) -> bytes:
        """The next line, b"" at the end."""

    def tell(self) -> int:
        """Bytes before here."""


def frames_until(stream: Lines, step: int) -> tuple[int, int, int]:
    """Of the leading part of a trajectory that holds complete frames up to ``step``: its length in bytes, the
    number of frames and the step of the last (-1 without one)."""
    length, count, last = 0, 0, -1
    while True:
        head = stream.readline()
        if not (head.strip().isdigit() and len(head) < 20):
            return length, count, last
        found = re.search(rb"\bstep=(\d{1,18})\b", stream.readline())
        if found is None or not last < int(found[1]) <= step or not _whole(stream, int(head)):
            return length, count, last
        length, count, last = stream.tell(), count + 1, int(found[1])


def _whole(stream: Lines, n_lines: int) -> bool:
    """Whether so many whole lines of text follow."""
    for _ in range(n_lines):
        line = stream.readline()
        if not line.endswith(b"\n") or b"\0" in line:
            return False
    return True


@dataclass(frozen=True)
class DriftVerdict:
    """Slope of the conserved quantity per atom (NVE: the total energy), after the first tenth of a run."""

    drift_mev_per_atom_per_ps: float
    standard_error: float
    drift_ratio: float
    """Drift over the whole span divided by the r.m.s. fluctuation of the kinetic energy."""
    from_ps: float
    to_ps: float
    verdict: str
    """conserved (below 0.2 meV/atom/ps), drifting, not conserved (above 2), or too short to tell."""


def drift_verdict(
    table: np.ndarray, n_atoms: int, column: int = COLUMNS.index("etot_eV")
) -> DriftVerdict | None:
    """Judge a column of energies that should be conserved; None with fewer than three rows."""
    if len(table) < 3:
        return None
    time_ps = table[:, 1] / 1000
    start = time_ps[0] + SKIPPED_SHARE * (time_ps[-1] - time_ps[0])
    used = table[time_ps >= start - 1e-12]
    if len(used) < 3:
        return None
    t, energy = used[:, 1] / 1000, 1000 * used[:, column] / n_atoms
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
    """Mean and standard deviation of temperature, pressure, volume, lengths and uncertainty after the first
    tenth of the time, and the times of that part, ps."""
    if not len(table):
        return {}
    even = table[even_rows(table[:, 0])]
    used = even[int(SKIPPED_SHARE * len(even)) :]
    wanted = ("temperature_K", "pressure_GPa", "volume_A3", *LENGTHS, *AXIAL_PRESSURES, STD_COLUMN)
    found: dict[str, Any] = {
        "means_from_ps": float(used[0, 1]) / 1000,
        "means_to_ps": float(used[-1, 1]) / 1000,
    }
    for index, name in enumerate(columns):
        if name in wanted and np.isfinite(used[:, index]).all():
            found[f"{name.lower()}_mean"] = float(used[:, index].mean())
            found[f"{name.lower()}_std"] = float(used[:, index].std())
    return found
