"""The figure of fine-tuning runs: validation force error against time or steps, with the errors of other
codes as lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Yardstick:
    """What another code reached; force MAE in meV/Å."""

    name: str
    valid: float
    test: float | None = None
    """On the test frames, where these are of another kind."""

    @property
    def label(self) -> str:
        """Name, with the test error where there is one."""
        return self.name if self.test is None else f"{self.name} (test {self.test:.0f})"


def plot_curves(
    path: Path, rows: Mapping[str, Mapping[str, Any]], yardsticks: Sequence[Yardstick], title: str
) -> None:
    """Write the figure of ``rows`` (name -> numbers as in the results files); nothing if there are none.

    Rows that know their steps are drawn against them: on a machine that others use, wall time compares
    nothing.
    """
    if not rows:
        return
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5, 4.2), layout="constrained")
    axes = figure.subplots()
    by_step = all("curve_step" in row for row in rows.values())
    for name, row in rows.items():
        x = row["curve_step"] if by_step else [second / 60.0 for second in row["curve_s"]]
        label = f"{name} (test {row['test']['forces_mae_mev_per_a']:.0f})"
        axes.plot(x, row["curve_valid_forces_mae_mev_per_a"], label=label)
    for yardstick in yardsticks:
        axes.axhline(yardstick.valid, color="grey", lw=0.8, ls="--")
        axes.annotate(
            yardstick.label,
            (0.01, yardstick.valid * 1.03),
            xycoords=("axes fraction", "data"),
            fontsize=7,
            color="grey",
        )
    cores = " or ".join(str(n) for n in sorted({row["processes"] for row in rows.values()}))
    xlabel = "training step" if by_step else f"wall time on {cores} cores (min)"
    axes.set(xlabel=xlabel, ylabel="validation force MAE (meV/Å)", yscale="log", title=title)
    axes.legend(fontsize=8)
    figure.savefig(path)
