"""Figures of lattice dynamics beyond one set of bands; drawn as those of ``plots``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ..units import FREQUENCY_UNITS
from .plots import FREQUENCY_LABELS, INK, LIGHT, _figure, _save, _staggered, _ticks, drawn

Corners = tuple[Sequence[str] | None, Sequence[bool]]
"""Labels as phonopy orders them, and whether each piece of the path goes on in the next."""


@drawn("The band structures")
def plot_two_bands(
    distances: Sequence[np.ndarray],
    bands: Mapping[str, Sequence[np.ndarray]],
    corners: Corners,
    paths: Sequence[Path],
    *,
    unit: str = "THz",
) -> None:
    """Two sets of bands on one path, by their names, the second in the foreground: per piece distances (n,)
    and frequencies (n, bands) in THz; ``unit`` of the axis."""
    figure, axes = _figure(6.4, 4.2)
    for (name, frequencies), style in zip(
        bands.items(), ({"color": "C1", "linestyle": "--"}, {"color": INK})
    ):
        for number, (x, y) in enumerate(zip(distances, frequencies, strict=True)):
            lines = axes.plot(x, y / FREQUENCY_UNITS[unit], linewidth=1.0, **style)
            if number == 0:
                lines[0].set_label(name)
    ticks, names = _ticks(distances, *corners)
    for tick in ticks:
        axes.axvline(tick, color=LIGHT, linewidth=0.6, zorder=0)
    axes.axhline(0.0, color="black", linewidth=0.6)
    axes.set_xticks(ticks, _staggered(ticks, names))
    axes.set_xlim(distances[0][0], distances[-1][-1])
    axes.set_ylabel(FREQUENCY_LABELS[unit])
    figure.legend(frameon=False, ncols=2, loc="outside upper center")
    _save(figure, paths)


@drawn("The iterations")
def plot_iterations(energies: np.ndarray, errors: np.ndarray, transient: int, paths: Sequence[Path]) -> None:
    """Free energies (n,) in eV with their standard errors (n,) by iteration; the first ``transient`` of them
    are grey, the line is the mean of the others."""
    figure, axes = _figure(5.2, 3.6)
    numbers, mean = np.arange(1, len(energies) + 1), float(energies[transient:].mean())
    for part, color, name in (
        (slice(0, transient), LIGHT, "left out"),
        (slice(transient, None), INK, "averaged"),
    ):
        if len(numbers[part]):
            axes.errorbar(
                numbers[part], 1e3 * energies[part], 1e3 * errors[part], fmt="o", color=color, label=name
            )
    axes.axhline(1e3 * mean, color=INK, linewidth=1.0)
    axes.set(xlabel="iteration", ylabel="free energy (meV per primitive cell)")
    axes.xaxis.get_major_locator().set_params(integer=True)
    figure.legend(frameon=False, ncols=2, loc="outside upper center")
    _save(figure, paths)


def _first_digits_alone(value: float, _: int | None = None) -> str:
    """2, 3, 5 and 7 and their multiples of ten: what has room on a logarithmic axis."""
    digit = f"{value:e}"[0]
    return f"{value:g}" if digit in "2357" else ""


@drawn("The thermal conductivity")
def plot_conductivity(kelvin: np.ndarray, kappa: Mapping[str, np.ndarray], paths: Sequence[Path]) -> None:
    """Components (T,) of the thermal conductivity in W/m/K by their names against temperature (T,) in K, both
    axes logarithmic."""
    figure, axes = _figure(5.2, 3.6)
    for (name, values), style in zip(kappa.items(), ("-", "--", ":"), strict=False):
        axes.loglog(kelvin, values, style, color=INK, linewidth=1.2, label=name)
    axes.set(xlabel="temperature (K)", ylabel="thermal conductivity (W/m/K)")
    axes.grid(which="both", color=LIGHT, linewidth=0.3)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(_first_digits_alone)
    axes.tick_params(which="both", labelsize=8)
    axes.legend(frameon=False)
    _save(figure, paths)


@drawn("The cumulative conductivity")
def plot_cumulative(frequencies: np.ndarray, share: np.ndarray, kelvin: float, paths: Sequence[Path]) -> None:
    """Share (n,) of the conductivity at a temperature (K) that modes up to a frequency (n,) in THz carry."""
    figure, axes = _figure(5.2, 3.6)
    axes.plot(frequencies, 100 * share, color=INK, linewidth=1.2)
    axes.set(xlabel="frequency (THz)", ylabel=f"share of the conductivity at {kelvin:g} K (%)", ylim=(0, 101))
    axes.axhline(100.0, color=LIGHT, linewidth=0.6)
    _save(figure, paths)
