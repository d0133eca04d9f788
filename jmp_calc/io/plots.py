"""Figures of results and errors. One that cannot be drawn is a warning: the numbers are in their files.

matplotlib is imported when a figure is drawn, and its own defaults are used for it, so that a backend, a
style or TeX that the user's machine promises and does not have ends no run.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ParamSpec

import numpy as np

from ..errors import JMPWarning
from ..units import FREQUENCY_UNITS
from .atomic import replacing

P = ParamSpec("P")
BACKEND = "MPLBACKEND"
FREQUENCY_LABELS = {"THz": "frequency (THz)", "cm-1": "wavenumber (cm⁻¹)", "meV": "energy (meV)"}
INK, LIGHT, RED = "#1f4e79", "#b0b7bf", "#b3261e"


def available() -> bool:
    """Whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def drawn(what: str) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """For functions that draw ``what``: any error of theirs becomes a JMPWarning."""

    def decorate(function: Callable[P, None]) -> Callable[P, None]:
        @functools.wraps(function)
        def wrapper(*args: P.args, **kwargs: P.kwargs) -> None:
            try:
                with _defaults():
                    function(*args, **kwargs)
            except Exception as error:  # matplotlib, its fonts, TeX, a full disk: none of them ends a run
                first = (str(error).strip().splitlines() or [""])[0]
                reason = f"{type(error).__name__}: {first}"
                text = f"{what} could not be drawn ({reason}); the numbers are in their files."
                warnings.warn(JMPWarning(text), stacklevel=2)

        return wrapper

    return decorate


@contextmanager
def _defaults() -> Iterator[None]:
    """matplotlib's own settings, and those of the user again afterwards."""
    if "matplotlib" not in sys.modules:
        _import_matplotlib()
    import matplotlib

    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Creating legend with loc")  # of a machine that is busy
        matplotlib.rcdefaults()
        yield


def _import_matplotlib() -> None:
    """Import it also where MPLBACKEND names what is not there; a notebook leaves it to its subprocesses."""
    backend = os.environ.pop(BACKEND, None)  # it fails in the middle of its import, and cannot begin again
    try:
        import matplotlib
    finally:
        if backend is not None:
            os.environ[BACKEND] = backend
    if backend:
        with suppress(ValueError, ImportError):
            matplotlib.rcParams["backend"] = backend  # as its import would have done


def _figure(width: float, height: float, *, rows: int = 1, columns: int = 1, **kind: Any) -> tuple[Any, Any]:
    """A figure and its axes (of each row and column), outside pyplot, so that no backend or window of the
    user is involved."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, subplot_kw=kind)


def _save(figure: Any, paths: Sequence[Path]) -> None:
    for path in paths:
        with replacing(path) as temporary:
            figure.savefig(temporary, format=path.suffix.lstrip("."), dpi=150)


@drawn("The band structure")
def plot_bands(
    distances: Sequence[np.ndarray],
    frequencies: Sequence[np.ndarray],
    labels: Sequence[str] | None,
    joined: Sequence[bool],
    paths: Sequence[Path],
    *,
    unit: str = "THz",
) -> None:
    """Phonon bands: per piece distances (n,) and frequencies (n, bands) in THz; labels as phonopy orders
    them; ``unit`` of the axis."""
    figure, axes = _figure(6.4, 4.2)
    for x, y in zip(distances, frequencies, strict=True):
        axes.plot(x, y / FREQUENCY_UNITS[unit], color=INK, linewidth=1.0)
    ticks, names = _ticks(distances, labels, joined)
    for tick in ticks:
        axes.axvline(tick, color=LIGHT, linewidth=0.6, zorder=0)
    axes.axhline(0.0, color="black", linewidth=0.6)
    axes.set_xticks(ticks, _staggered(ticks, names))
    axes.set_xlim(distances[0][0], distances[-1][-1])
    axes.set_ylabel(FREQUENCY_LABELS[unit])
    _save(figure, paths)


def _ticks(
    distances: Sequence[np.ndarray], labels: Sequence[str] | None, joined: Sequence[bool]
) -> tuple[list[float], list[str]]:
    names = list(labels or [])
    ticks: list[float] = []
    shown: list[str] = []
    fresh = True
    for x, connected in zip(distances, joined, strict=True):
        if fresh:
            name = names.pop(0) if names else ""
            if ticks:  # a jump in the path: both names at one place
                shown[-1] = f"{shown[-1]}|{name}"
            else:
                ticks.append(float(x[0]))
                shown.append(name)
        ticks.append(float(x[-1]))
        shown.append(names.pop(0) if names else "")
        fresh = not connected
    return ticks, shown


def _staggered(ticks: Sequence[float], names: Sequence[str]) -> list[str]:
    """Labels that would run into a neighbour go down a line."""
    width = (ticks[-1] - ticks[0]) or 1.0
    right_ends: list[float] = []  # per line, where its last label ends
    staggered = []
    for tick, name in zip(ticks, names, strict=True):
        half = 0.02 * width * (2 if "|" in name else 1)
        line = next((k for k, end in enumerate(right_ends) if tick - half >= end), len(right_ends))
        right_ends[line : line + 1] = [tick + half]
        staggered.append("\n" * line + name)
    return staggered


@drawn("The density of states")
def plot_dos(
    frequencies: np.ndarray,
    dos: np.ndarray,
    paths: Sequence[Path],
    *,
    parts: Mapping[str, np.ndarray] | None = None,
    unit: str = "THz",
) -> None:
    """Phonon density of states: frequencies (n,) in THz, states per THz and primitive cell (n,), those of
    ``parts`` by name; ``unit`` of the axis."""
    thz = FREQUENCY_UNITS[unit]
    figure, axes = _figure(5.2, 3.6)
    axes.fill_between(frequencies / thz, dos * thz, color=INK, alpha=0.2, linewidth=0)
    axes.plot(frequencies / thz, dos * thz, color=INK, linewidth=1.0, label="all atoms")
    for name, part in (parts or {}).items():
        axes.plot(frequencies / thz, part * thz, linewidth=1.0, label=name)
    axes.axvline(0.0, color=LIGHT, linewidth=0.6)
    axes.set(xlabel=FREQUENCY_LABELS[unit], ylabel=f"states (1/{unit.replace('-1', '⁻¹')})", ylim=(0, None))
    if parts:
        axes.legend(frameon=False)
    _save(figure, paths)


@drawn("The thermal displacements")
def plot_b_factors(
    kelvin: np.ndarray, b_factors: np.ndarray, symbols: Sequence[str], paths: Sequence[Path]
) -> None:
    """B-factors (T, atoms) in Å² against temperature (T,) in K; a colour for each kind of atom."""
    figure, axes = _figure(5.2, 3.6)
    kinds = list(dict.fromkeys(symbols))
    shown = set()
    for symbol, values in zip(symbols, b_factors.T, strict=True):
        label = None if symbol in shown else symbol
        axes.plot(kelvin, values, color=f"C{kinds.index(symbol)}", linewidth=1.0, label=label)
        shown.add(symbol)
    axes.set(xlabel="temperature (K)", ylabel="B (Å²)", ylim=(0, None))
    axes.legend(frameon=False)
    _save(figure, paths)


@drawn("The thermal properties")
def plot_thermal(thermal: Mapping[str, np.ndarray], per: str, paths: Sequence[Path]) -> None:
    """Free energy (kJ/mol), entropy and heat capacity (J/K/mol) against temperature (K), each of shape (n,);
    ``per`` says of what."""
    figure, axes = _figure(5.2, 3.6)
    kelvin = thermal["temperatures"]
    axes.plot(kelvin, thermal["heat_capacity"], color=INK, label="heat capacity (J/K/mol)")
    axes.plot(kelvin, thermal["entropy"], color=INK, linestyle="--", label="entropy (J/K/mol)")
    axes.plot(kelvin, thermal["free_energy"], color=INK, linestyle=":", label="free energy (kJ/mol)")
    axes.axhline(0.0, color=LIGHT, linewidth=0.6)
    axes.set(xlabel="temperature (K)", ylabel=f"per mole of {per}")
    axes.legend(frameon=False)
    _save(figure, paths)


@drawn("The spectrum")
def plot_spectrum(frequencies_cm1: np.ndarray, paths: Sequence[Path]) -> None:
    """Vibrational frequencies (m,) in cm⁻¹ as lines, and how many modes there are per cm⁻¹, each widened by
    10 cm⁻¹; imaginary ones are red and negative."""
    figure, axes = _figure(6.4, 3.6)
    low, high = min(0.0, float(frequencies_cm1.min())) - 60.0, float(frequencies_cm1.max()) + 60.0
    grid = np.arange(low, high, 1.0)
    density = np.zeros_like(grid)
    for frequency in frequencies_cm1:
        density += np.exp(-0.5 * ((grid - frequency) / 10.0) ** 2) / (10.0 * np.sqrt(2 * np.pi))
    axes.fill_between(grid, density, color=INK, alpha=0.2, linewidth=0)
    axes.plot(grid, density, color=INK, linewidth=1.0)
    stick = 0.06 * float(density.max())
    for color, lines in (
        (INK, frequencies_cm1[frequencies_cm1 >= 0]),
        (RED, frequencies_cm1[frequencies_cm1 < 0]),
    ):
        axes.vlines(lines, -1.5 * stick, -0.5 * stick, color=color, linewidth=1.0)
    axes.axvline(0.0, color=LIGHT, linewidth=0.6, zorder=0)
    axes.set(xlabel="wavenumber (cm⁻¹)", ylabel="modes per cm⁻¹", xlim=(low, high), ylim=(-2 * stick, None))
    _save(figure, paths)


@drawn("The equation of state")
def plot_eos(
    volumes: np.ndarray,
    energies: np.ndarray,
    pressures: np.ndarray | None,
    curve: tuple[np.ndarray, np.ndarray, np.ndarray] | None,
    paths: Sequence[Path],
) -> None:
    """Energies (n,) in meV/atom and pressures (n,) in GPa against volumes (n,) in Å³/atom; ``curve``: the
    same three along the fitted curve, each (m,)."""
    figure, (above, below) = _figure(5.2, 5.6, rows=2)
    above.plot(volumes, energies, "o", color=INK, label="computed")
    if curve is not None:
        above.plot(curve[0], curve[1], color=INK, linewidth=1.0, label="fitted")
        below.plot(curve[0], curve[2], color=INK, linewidth=1.0, label="slope of the fit")
    if pressures is not None:
        below.plot(volumes, pressures, "o", color=INK, label="from the stress")
    below.axhline(0.0, color=LIGHT, linewidth=0.6)
    above.set(ylabel="energy − minimum (meV/atom)")
    below.set(xlabel="volume (Å³/atom)", ylabel="pressure (GPa)")
    for axes in (above, below):
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False)
    _save(figure, paths)


@drawn("Stress against strain")
def plot_stress_strain(
    strains: np.ndarray,
    stresses: np.ndarray,
    slopes: np.ndarray,
    names: Sequence[str],
    paths: Sequence[Path],
) -> None:
    """A panel for each of 6 strains: stresses (6, n, 6) in GPa against strains (n,), and lines of slopes
    (6, 6) through the middle; the component of the strain itself in the foreground."""
    figure, grid = _figure(9.0, 5.4, rows=2, columns=3)
    ends = np.array([strains.min(), strains.max()])
    for i, axes in enumerate(grid.flat):
        for j in [*(j for j in range(6) if j != i), i]:
            color, width = (INK, 1.2) if i == j else (LIGHT, 0.8)
            middle = stresses[i, :, j].mean() - slopes[j, i] * strains.mean()
            axes.plot(100 * ends, middle + slopes[j, i] * ends, color=color, linewidth=width)
            axes.plot(100 * strains, stresses[i, :, j], "o", color=color, markersize=4)
        axes.set_title(f"strain {names[i]}: C{i + 1}{i + 1} = {slopes[i, i]:.4g} GPa", fontsize=9)
    for axes in grid[1]:
        axes.set_xlabel("strain (%)")
    for axes in grid[:, 0]:
        axes.set_ylabel("stress (GPa), others grey")
    _save(figure, paths)


@drawn("Young's modulus")
def plot_young(turn: np.ndarray, young: Mapping[str, np.ndarray], paths: Sequence[Path]) -> None:
    """Young's modulus (n,) in GPa in Cartesian planes by their names, against the angle (n,) in radians from
    the first axis of the plane."""
    from matplotlib.ticker import MaxNLocator

    figure, row = _figure(3.0 * len(young), 3.4, columns=len(young), projection="polar")
    largest = max(float(values.max()) for values in young.values())
    for axes, (plane, values) in zip(np.atleast_1d(row), young.items(), strict=True):
        axes.plot(turn, values, color=INK, linewidth=1.2)
        axes.set_title(f"Young's modulus (GPa), {plane} plane", fontsize=9)
        axes.set_xticks(0.5 * np.pi * np.arange(4), [*plane, *(f"−{name}" for name in plane)])
        axes.set(ylim=(0, 1.05 * largest), rlabel_position=45.0)
        axes.set_yticks([tick for tick in MaxNLocator(4).tick_values(0.0, largest) if 0.0 < tick <= largest])
        axes.tick_params(axis="y", labelsize=7)
    _save(figure, paths)


@drawn("The quasi-harmonic approximation")
def plot_qha(kelvin: np.ndarray, curves: Mapping[str, np.ndarray], paths: Sequence[Path]) -> None:
    """Four curves (T,) by their names with units, against temperature (T,) in K."""
    figure, grid = _figure(7.2, 5.2, rows=2, columns=2)
    for axes, (name, values) in zip(grid.flat, curves.items(), strict=True):
        axes.plot(kelvin, values, color=INK, linewidth=1.2)
        axes.set_ylabel(name)
    for axes in grid[1]:
        axes.set_xlabel("temperature (K)")
    _save(figure, paths)


@drawn("The free energies")
def plot_helmholtz(
    volumes: np.ndarray,
    energies: np.ndarray,
    kelvin: np.ndarray,
    minima: tuple[np.ndarray, np.ndarray],
    paths: Sequence[Path],
) -> None:
    """Free energies (T, volumes) in eV against volumes in Å³ at some of the temperatures (T,) in K, and the
    volumes and energies (T,) of their minima."""
    figure, axes = _figure(5.2, 4.4)
    lowest_label, apart = np.inf, 0.03 * float(np.ptp(energies))
    for row in np.unique(np.linspace(0, len(kelvin) - 1, 8).astype(int)):
        axes.plot(volumes, energies[row], "o-", color=INK, linewidth=0.8, markersize=3)
        if (end := float(energies[row, -1])) <= lowest_label - apart:  # cold curves lie on one another
            place = dict(textcoords="offset points", va="center", fontsize=7)
            axes.annotate(f"{kelvin[row]:g} K", (volumes[-1], end), (5, 0), **place)
            lowest_label = end
    axes.plot(*minima, color="C3", linewidth=1.2, label="minimum")
    axes.set(xlabel="volume (Å³)", ylabel="free energy (eV)")
    axes.legend(frameon=False)
    _save(figure, paths)


@drawn("The Grüneisen parameters")
def plot_gruneisen(frequencies: np.ndarray, gamma: np.ndarray, mean: float, paths: Sequence[Path]) -> None:
    """Grüneisen parameters against frequencies in THz, both (n_qpoints, n_bands)."""
    figure, axes = _figure(5.2, 3.6)
    axes.plot(frequencies.ravel(), gamma.ravel(), ".", color=INK, markersize=3)
    axes.axhline(mean, color="C3", linewidth=1.0, label=f"mean {mean:.3g}")
    axes.axhline(0.0, color=LIGHT, linewidth=0.6)
    axes.set(xlabel="frequency (THz)", ylabel="Grüneisen parameter")
    axes.legend(frameon=False)
    _save(figure, paths)


@drawn("The barrier")
def plot_barrier(
    path: np.ndarray, energies: np.ndarray, curve: tuple[np.ndarray, np.ndarray], paths: Sequence[Path]
) -> None:
    """Energies (images,) in eV above the first image against the length of the path (images,) in Å;
    ``curve``: the same two (m,) of a curve through energies and slopes."""
    figure, axes = _figure(5.2, 3.6)
    axes.plot(*curve, color=INK, linewidth=1.0)
    axes.plot(path, energies, "o", color=INK)
    top = int(np.argmax(energies))
    axes.axhline(0.0, color=LIGHT, linewidth=0.6, zorder=0)
    axes.annotate(
        f"{energies[top]:.3f} eV", (path[top], energies[top]), (0, 6), textcoords="offset points", ha="center"
    )
    axes.margins(y=0.15)
    axes.set(xlabel="length of the path (Å)", ylabel="energy (eV)")
    _save(figure, paths)


@drawn("The analysis")
def plot_analysis(
    rdf: tuple[np.ndarray, Mapping[str, np.ndarray]] | None,
    msd: tuple[np.ndarray, Mapping[str, np.ndarray]],
    spectrum: tuple[np.ndarray, np.ndarray] | None,
    paths: Sequence[Path],
) -> None:
    """g(r) against r in Å by pair, mean square displacements in Å² against ps by element, density of states
    against wavenumbers in cm⁻¹; what is None has no panel."""
    panels = [name for name, part in (("rdf", rdf), ("msd", msd), ("spectrum", spectrum)) if part is not None]
    figure, drawn_on = _figure(5.2, 2.8 * len(panels), rows=len(panels))
    axes = dict(zip(panels, np.atleast_1d(drawn_on), strict=True))
    if rdf is not None:
        for pair, g in rdf[1].items():
            if pair != "all" or len(rdf[1]) > 2:
                axes["rdf"].plot(rdf[0], g, linewidth=1.0, label=pair)
        axes["rdf"].axhline(1.0, color=LIGHT, linewidth=0.6)
        axes["rdf"].set(xlabel="distance (Å)", ylabel="g(r)")
        axes["rdf"].legend(frameon=False)
    for element, curve in msd[1].items():
        axes["msd"].plot(msd[0], curve, linewidth=1.0, label=element)
    axes["msd"].set(xlabel="time (ps)", ylabel="mean square displacement (Å²)")
    axes["msd"].legend(frameon=False)
    if spectrum is not None:
        axes["spectrum"].plot(*spectrum, color=INK, linewidth=1.0)
        axes["spectrum"].set(xlabel="wavenumber (cm⁻¹)", ylabel="density of states (cm)")
        filled = np.flatnonzero(np.cumsum(spectrum[1]) < 0.999 * spectrum[1].sum())
        axes["spectrum"].set_xlim(0.0, 1.1 * float(spectrum[0][filled[-1]]) if len(filled) else None)
    _save(figure, paths)
