"""Figures of uncertainties: what was selected of a pool, and how often errors are as large as was said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from .plots import LIGHT, RED, _figure, _save, drawn


@drawn("The selection")
def plot_selection(std_mev: np.ndarray, picked: Sequence[int], paths: Sequence[Path]) -> None:
    """Uncertainty (P,) in meV per atom of a pool, largest first, with what was picked of it."""
    known = np.flatnonzero(np.isfinite(std_mev))
    order = known[np.argsort(-std_mev[known], kind="stable")]
    place = {int(number): rank for rank, number in enumerate(order)}
    figure, axes = _figure(6.4, 4.2)
    axes.plot(np.arange(1, len(order) + 1), std_mev[order], color=LIGHT, linewidth=1.5, label="pool")
    ranks = [place[number] + 1 for number in picked]
    axes.plot(ranks, std_mev[list(picked)], "o", color=RED, markersize=4, label="selected")
    axes.set_xscale("log")
    axes.set_xlabel("structures, the most uncertain first")
    axes.set_ylabel("standard deviation of the energy (meV/atom)")
    axes.legend(frameon=False)
    _save(figure, paths)


@drawn("The calibration")
def plot_calibration(
    ratios: Mapping[str, np.ndarray], coverage: Mapping[str, np.ndarray], paths: Sequence[Path]
) -> None:
    """Share of errors within a central interval against its nominal share, by set.

    Args:
        ratios: (n,) error over standard deviation.
        coverage: (m,) shares found in intervals of the nominal shares (i + 1) / (m + 1).
        paths: files to write.
    """
    figure, axes = _figure(8.4, 4.0, columns=2)
    for name, found in coverage.items():
        nominal = np.arange(1, len(found) + 1) / (len(found) + 1)
        axes[0].plot(nominal, found, linewidth=1.4, label=name)
        axes[1].hist(np.clip(ratios[name], -5, 5), bins=40, density=True, histtype="step", linewidth=1.4)
    axes[0].plot([0, 1], [0, 1], color=LIGHT, linewidth=1.0, zorder=0)
    axes[0].set_xlabel("share of errors that should be inside")
    axes[0].set_ylabel("share that is")
    axes[0].legend(frameon=False)
    x = np.linspace(-5, 5, 200)
    axes[1].plot(x, np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi), color=LIGHT, linewidth=1.0, zorder=0)
    axes[1].set_xlabel("error / standard deviation")
    axes[1].set_ylabel("density")
    _save(figure, paths)
