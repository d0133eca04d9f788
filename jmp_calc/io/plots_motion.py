"""Figures of searches, runs and spectra; what ``plots`` says of errors holds for them too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from .plots import INK, LIGHT, RED, _figure, _save, drawn


@drawn("The transition state")
def plot_saddle(
    steps: np.ndarray,
    fmax: float,
    scan: tuple[np.ndarray, np.ndarray] | None,
    imaginary_cm1: np.ndarray,
    paths: Sequence[Path],
) -> None:
    """Step, energy in eV and largest force in eV/Å of a search (n, 3), its force limit; ``scan``:
    displacements in Å and energies in eV along the imaginary mode, both (m,)."""
    figure, grid = _figure(9.6 if scan is not None else 5.2, 4.2, rows=2, columns=1 + (scan is not None))
    grid = np.reshape(grid, (2, -1))
    above, below = grid[:, 0]
    above.plot(steps[:, 0], steps[:, 1] - steps[-1, 1], "o-", color=INK, linewidth=1.0, markersize=3)
    above.set(ylabel="energy − last (eV)")
    below.semilogy(steps[:, 0], steps[:, 2], "o-", color=INK, linewidth=1.0, markersize=3)
    below.axhline(fmax, color=LIGHT, linewidth=0.8)
    below.set(xlabel="step", ylabel="largest force (eV/Å)")
    if scan is not None:
        spec = grid[0, 1].get_gridspec()
        for axes in grid[:, 1]:
            axes.remove()
        side = figure.add_subplot(spec[:, 1])
        side.plot(scan[0], 1000 * scan[1], "o-", color=RED, linewidth=1.0)
        side.axhline(0.0, color=LIGHT, linewidth=0.6)
        side.axvline(0.0, color=LIGHT, linewidth=0.6)
        side.set(xlabel="along the imaginary mode (Å)", ylabel="energy − saddle (meV)")
        side.set_title(f"{abs(imaginary_cm1[0]):.0f}i cm⁻¹", fontsize=10)
    _save(figure, paths)


@drawn("The adsorption")
def plot_adsorption(
    atoms: tuple[np.ndarray, np.ndarray],
    lattice: np.ndarray,
    sites: Mapping[str, np.ndarray],
    energies: Sequence[tuple[str, str, float]],
    paths: Sequence[Path],
) -> None:
    """A surface from above: places, heights, radii (n, 4) in Å of its atoms, the lowest first, with colours
    (n, 3), its cell (2, 2), and places (m, 2) by site; beside it the name of the first site, the atoms that
    point down and the energy in eV of every candidate."""
    from matplotlib.patches import Circle, Polygon

    figure, (above, beside) = _figure(9.6, 4.4, columns=2)
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) @ lattice
    low, high = corners.min(axis=0) - 1.0, corners.max(axis=0) + 1.0
    depth = np.ptp(atoms[0][:, 2]) or 1.0
    for (x, y, height, radius), color in zip(*atoms, strict=True):
        if (low - radius < (x, y)).all() and ((x, y) < high + radius).all():
            pale = 0.75 * (atoms[0][-1, 2] - height) / depth  # the lower, the paler
            face = np.array(color) * (1 - pale) + pale
            above.add_patch(Circle((x, y), 0.9 * radius, facecolor=face, edgecolor="black", linewidth=0.5))
    above.add_patch(Polygon(corners, closed=True, fill=False, linestyle="--", linewidth=0.8))
    colors = {name: f"C{number}" for number, name in enumerate(sites)}
    for name, places in sites.items():
        above.plot(*places.T, "X", color=colors[name], markeredgecolor="white", markersize=9, label=name)
    above.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), xlabel="Å", ylabel="Å", aspect="equal")
    above.legend(frameon=False, fontsize=8, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    downs = list(dict.fromkeys(down for _, down, _ in energies))
    for down, marker in zip(downs, "osD^v<>ph*" * len(downs)):
        rows = [(rank, name, energy) for rank, (name, own, energy) in enumerate(energies, 1) if own == down]
        for rank, name, energy in rows:
            beside.plot(rank, energy, marker, color=colors.get(name, INK))
        beside.plot([], [], marker, color=INK, label=f"{down} down")
    beside.axhline(0.0, color=LIGHT, linewidth=0.6)
    beside.set(xlabel="rank (colour: site of the start)", ylabel="adsorption energy (eV)")
    beside.locator_params(axis="x", integer=True)
    # above the axes: inside, its marks would be taken for candidates
    beside.legend(frameon=False, fontsize=8, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    _save(figure, paths)


ENERGIES = {"epot_eV": "potential", "etot_eV": "total", "conserved_eV": "conserved"}


@drawn("The run")
def plot_run(
    table: Mapping[str, np.ndarray], n_atoms: int, target_k: float | None, paths: Sequence[Path]
) -> None:
    """Temperature, energies, pressure and volume of a run against time, from the columns (n,) of its table;
    ``target_k`` of the thermostat where the table has no targets that change. Where it has, nothing is
    conserved."""
    panels = ["temperature_K", "etot_eV"]
    panels += [name for name in ("pressure_GPa", "volume_A3") if name in table]
    figure, grid = _figure(6.4, 1.9 * len(panels) + 0.6, rows=len(panels))
    time = table["time_fs"] / 1000
    for axes, name in zip(grid, panels, strict=True):
        if name == "etot_eV":
            for column, label in (
                ("epot_eV", "potential"),
                ("etot_eV", "total"),
                ("conserved_eV", "conserved"),
            ):
                if column in table and not (column == "conserved_eV" and "target_K" in table):
                    energy = 1000 * (table[column] - table[column][0]) / n_atoms
                    axes.plot(time, energy, linewidth=0.8, label=label)
            axes.set_ylabel("energy − first\n(meV/atom)")
            axes.legend(frameon=False, fontsize=7, ncols=3)
            continue
        axes.plot(time, table[name], color=INK, linewidth=0.8)
        quantity, _, unit = name.partition("_")
        axes.set_ylabel(f"{quantity}\n({unit.replace('A3', 'Å³')})")
        goal = table.get({"temperature_K": "target_K", "pressure_GPa": "target_GPa"}.get(name, ""))
        if goal is not None:
            axes.plot(time, goal, color=RED, linewidth=0.8)
        elif name == "temperature_K" and target_k is not None:
            axes.axhline(target_k, color=RED, linewidth=0.8)
    grid[-1].set_xlabel("time (ps)")
    _save(figure, paths)


@drawn("The infrared spectrum")
def plot_infrared(frequencies_cm1: np.ndarray, intensities: np.ndarray, paths: Sequence[Path]) -> None:
    """Intensities (m,) in km/mol against frequencies (m,) in cm⁻¹ as lines, a band of 10 cm⁻¹ around each;
    imaginary ones are left out."""
    figure, axes = _figure(6.4, 3.6)
    real = frequencies_cm1 > 0
    grid = np.arange(0.0, max(float(frequencies_cm1.max()), 0.0) + 200.0, 1.0)
    bands = np.zeros_like(grid)
    for frequency, intensity in zip(frequencies_cm1[real], intensities[real], strict=True):
        bands += intensity * np.exp(-0.5 * ((grid - frequency) / 10.0) ** 2)
    axes.fill_between(grid, bands, color=INK, alpha=0.2, linewidth=0)
    axes.plot(grid, bands, color=INK, linewidth=1.0)
    axes.vlines(frequencies_cm1[real], 0.0, intensities[real], color=RED, linewidth=1.0)
    axes.set(xlabel="wavenumber (cm⁻¹)", ylabel="intensity (km/mol)", xlim=(grid[-1], 0.0), ylim=(0.0, None))
    _save(figure, paths)
