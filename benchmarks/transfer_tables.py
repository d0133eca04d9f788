"""Reductions of the error by pre-training, and steps until it has what scratch ends with: tables and figure of
benchmarks/transfer.py.

Written into docs/transfer.md by benchmarks/tables.py. What is not finished is shown as missing.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from rows import RESULTS, read_rows
from transfer_tasks import FEW, SCRATCH_RATES, SEEDS, SPREAD, TASKS, Domain

Lines = list[list[str]]
Rows = Mapping[str, Mapping[str, Any]]
FRAMES = ("all", str(FEW))
MISSING = "–"
FILE = "transfer.yaml"
CURVES = "curve_valid_forces_mae_mev_per_a", "curve_valid_mae"


def error(row: Mapping[str, Any], part: str) -> float:
    """MAE of forces in meV/Å, of a scalar in its unit."""
    errors = row[part]
    return float(errors["forces_mae_mev_per_a"] if "forces_mae_mev_per_a" in errors else errors["scalar_mae"])


def curve(row: Mapping[str, Any]) -> list[tuple[int, float]]:
    """Validation error by step."""
    key = next(key for key in CURVES if key in row)
    return list(zip(row["curve_step"], row[key]))


def pre_trained(rows: Rows, task: str, frames: str, seed: int) -> Mapping[str, Any] | None:
    """The row from the pre-trained start; None: not finished."""
    return rows.get(f"{task}/{frames}/pre-trained/seed-{seed}")


def best_scratch(rows: Rows, task: str, frames: str, seed: int) -> Mapping[str, Any] | None:
    """The row from scratch with the smallest validation error among the rates; None: not all are finished.

    Only seed 0 has all rates: the others have the one that was best there.
    """
    found = [rows.get(f"{task}/{frames}/scratch-lr-{lr:g}/seed-{seed}") for lr in SCRATCH_RATES]
    done = [row for row in found if row is not None]
    if len(done) < (len(SCRATCH_RATES) if seed == 0 else 1):
        return None
    return min(done, key=lambda row: error(row, "valid"))


def reduction(pre: Mapping[str, Any], scratch: Mapping[str, Any]) -> float:
    """1 - MAE(pre-trained) / MAE(scratch) on the test frames."""
    return 1.0 - error(pre, "test") / error(scratch, "test")


def share_of_steps(pre: Mapping[str, Any], scratch: Mapping[str, Any]) -> float:
    """Steps after which the pre-trained start has the best validation error from scratch, over all steps from
    scratch; inf if it never has."""
    goal = min(value for _, value in curve(scratch))
    steps = [step for step, value in curve(pre) if value <= goal]
    return min(steps) / scratch["steps"] if steps else float("inf")


def table(rows: Rows, domain: Domain) -> Lines:
    """All tasks of a domain with all frames and with few, and their means."""
    lines = [["task", "training frames", "unit", "steps", "pre-trained", "scratch (best rate)", "reduction"]]
    lines[0] += ["steps to scratch's best / its steps"]
    names = [name for name, task in TASKS.items() if task.domain == domain]
    for frames in FRAMES:
        pairs = [(pre_trained(rows, name, frames, 0), best_scratch(rows, name, frames, 0)) for name in names]
        lines += [line(name, frames, *pair) for name, pair in zip(names, pairs)]
        done = [(pre, scratch) for pre, scratch in pairs if pre is not None and scratch is not None]
        lines.append(means(frames, len(names), done))
    return lines


def line(
    name: str, frames: str, pre: Mapping[str, Any] | None, scratch: Mapping[str, Any] | None
) -> list[str]:
    """One task."""
    either = pre or scratch
    cells = [name, frames if either is None else f"{either['train_frames']}", TASKS[name].unit]
    cells += [f"{TASKS[name].steps}" if pre is None else f"{pre['steps']}"]
    cells += [MISSING if pre is None else f"{error(pre, 'test'):.4g}"]
    cells += [MISSING if scratch is None else f"{error(scratch, 'test'):.4g} ({scratch['lr']:g})"]
    if pre is None or scratch is None:
        return [*cells, MISSING, MISSING]
    return [*cells, percent(reduction(pre, scratch)), fraction(share_of_steps(pre, scratch))]


def means(
    frames: str, n_tasks: int, done: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]
) -> list[str]:
    """Mean reduction and median share of steps of the tasks that are finished."""
    what = f"mean reduction, median share ({len(done)} of {n_tasks} tasks)"
    cells = [f"**{what}**", frames, "", "", "", ""]
    if not done:
        return [*cells, MISSING, MISSING]
    mean = statistics.fmean(reduction(*pair) for pair in done)
    median = statistics.median(share_of_steps(*pair) for pair in done)
    return [*cells, f"**{percent(mean)}**", f"**{fraction(median)}**"]


def spread() -> Lines:
    """Reductions under three seeds, of the recorded rows."""
    return spread_of(read_rows(RESULTS / FILE))


def spread_of(rows: Rows) -> Lines:
    """Reductions under three seeds."""
    lines = [["task", "training frames", *(f"seed {seed}" for seed in SEEDS), "mean ± standard deviation"]]
    for name in SPREAD:
        for frames in FRAMES:
            pairs = [
                (pre_trained(rows, name, frames, seed), best_scratch(rows, name, frames, seed))
                for seed in SEEDS
            ]
            values = [None if None in pair else reduction(*pair) for pair in pairs]  # type: ignore[arg-type]
            found = [value for value in values if value is not None]
            whole = MISSING
            if len(found) == len(SEEDS):
                whole = f"{percent(statistics.fmean(found))} ± {percent(statistics.stdev(found))}"
            cells = [MISSING if value is None else percent(value) for value in values]
            lines.append([name, frames, *cells, whole])
    return lines


def percent(value: float) -> str:
    """A share in percent."""
    return f"{100.0 * value:.0f} %"


def fraction(share: float) -> str:
    """A share of the steps as 1/n."""
    if share == 0.0:
        return "before the first step"
    return "never" if share == float("inf") else f"1/{1.0 / share:.3g}"


def plot(path: Path, rows: Rows) -> None:
    """Validation error against steps, one panel per task; nothing if there are no rows."""
    from matplotlib.figure import Figure

    names = [name for name in TASKS if any(key.startswith(f"{name}/") for key in rows)]
    if not names:
        return
    n_columns = min(4, len(names))
    n_lines = -(-len(names) // n_columns)
    figure = Figure(figsize=(3.2 * n_columns, 2.5 * n_lines), layout="constrained")
    grid = figure.subplots(n_lines, n_columns, squeeze=False).flatten()
    for axes, name in zip(grid, names):
        for frames, style in zip(FRAMES, ("-", "--")):
            curves = {
                "pre-trained": pre_trained(rows, name, frames, 0),
                "scratch": best_scratch(rows, name, frames, 0),
            }
            for (label, row), color in zip(curves.items(), ("C0", "C1")):
                if row is not None:
                    axes.plot(*zip(*curve(row)), style, color=color, lw=1.0, label=f"{label}, {frames}")
        axes.set(title=f"{name} ({TASKS[name].unit})", yscale="log")
        axes.set_xscale("symlog", linthresh=50)
        if axes.lines:
            axes.legend(fontsize=6)
    for axes in grid[len(names) :]:
        axes.remove()
    figure.supxlabel("optimizer step", fontsize=9)
    figure.supylabel("validation MAE", fontsize=9)
    figure.savefig(path)


def of_domain(domain: Domain) -> Lines:
    """The table of the recorded rows."""
    return table(read_rows(RESULTS / FILE), domain)


def show(rows: Rows) -> None:
    """Print all tables."""
    for lines in (*(table(rows, domain) for domain in get_args(Domain)), spread_of(rows)):
        print()
        print_table(lines)


def print_table(lines: Lines) -> None:
    """Print lines in columns."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for cells in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(cells, widths)).rstrip())
