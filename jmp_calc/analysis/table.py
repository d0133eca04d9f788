"""The table of a run (stats.dat): columns by name, and averages of those that have a mean."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from ..errors import BadInputError
from .blocks import Average, block_average

AVERAGED = ("epot_eV", "temperature_K", "pressure_GPa", "volume_A3", "a_A", "b_A", "c_A")
AVERAGED_PREFIX = "pressure_"
USUAL = 3
"""A distance between rows that occurs as often is one that was asked for."""
SAME_FS = 1e-3
"""Times that differ by less are the same: both files round them."""


def read_table(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Columns of a thermo table by the names in its header, each (n_rows,).

    Raises:
        BadInputError: no such table, rows of another width, numbers that are none, NaN.
    """
    source = Path(path)
    try:
        lines = source.read_text(encoding="utf-8").splitlines()
        names = lines[0].removeprefix("#").split()
        rows = np.array([[float(word) for word in line.split()] for line in lines[1:] if line.strip()])
        sound = lines[0].startswith("#") and rows.shape == (len(rows), len(names))
    except (OSError, UnicodeDecodeError, IndexError, ValueError) as err:
        raise BadInputError("This is no table of a run.", where=str(source)) from err
    if not sound or "step" not in names or not np.isfinite(rows).all():
        raise BadInputError("This is no sound table of a run.", where=str(source))
    return {name: rows[:, index] for index, name in enumerate(names)}


def even_rows(steps: np.ndarray) -> np.ndarray:
    """Numbers of the rows of a table (``steps``: (n_rows,), rising) at its largest usual distance.

    A restart may write rows at another distance than the part before it: all together would count the part
    with more rows per time too much. Single gaps, where rows were lost, thin nothing.
    """
    gaps, count = np.unique(np.diff(steps), return_counts=True)
    usual = gaps[count >= USUAL]
    if len(usual) < 2:
        return np.arange(len(steps))
    wanted = np.arange(steps[0], steps[-1] + 1e-9, usual[-1])
    right = np.searchsorted(steps, wanted).clip(1, len(steps) - 1)
    left = right - 1
    return np.unique(np.where(wanted - steps[left] < steps[right] - wanted, left, right))


def table_averages(
    table: dict[str, np.ndarray], discard: float, span_fs: tuple[float, float] | None
) -> dict[str, Average]:
    """Averages by the names of columns; {} of fewer than ten rows.

    ``span_fs``: first and last time of the frames that were analysed, whose rows are taken; None, or a table
    without times: all but the first share ``discard`` of the steps. Of a run whose parts have rows at other
    distances those at the largest distance count.
    """
    steps = table["step"]
    used = steps >= steps[0] + discard * (steps[-1] - steps[0]) if len(steps) else np.zeros(0, bool)
    if span_fs is not None and "time_fs" in table:
        first, last = span_fs
        used = (table["time_fs"] >= first - SAME_FS) & (table["time_fs"] <= last + SAME_FS)
    rows = np.flatnonzero(used)
    rows = rows[even_rows(table["step"][rows])]
    if len(rows) < 10:
        return {}
    return {
        name: block_average(values[rows])
        for name, values in table.items()
        if name in AVERAGED or name.startswith(AVERAGED_PREFIX)
    }
