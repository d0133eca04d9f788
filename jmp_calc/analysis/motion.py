"""Mean square displacements, diffusion, and correlations of velocities, by Fourier transforms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..units import CM1_PER_INVERSE_FS, CM2_PER_S_OF_A2_PER_FS
from .frames import Path

FIT_FROM, FIT_TO = 0.1, 0.5
"""Share of the lags that the slope is fitted to: after the ballistic start, before the few last origins."""
DIFFUSIVE = (0.6, 1.5)
"""Beyond these exponents of t the displacements do not grow as those of diffusion do."""


@dataclass(frozen=True)
class Diffusion:
    """Slope of the mean square displacement of one element, over twice the dimensions."""

    cm2_per_s: float
    standard_error_cm2_per_s: float
    """Over blocks of the trajectory."""
    exponent: float
    """Of the time, from 10 to 50 % of the whole trajectory, where vibrations have come to their end:
    1 for diffusion, 0 for atoms that stay, 2 for free flight."""
    fit_from_ps: float
    fit_to_ps: float

    @property
    def diffusive(self) -> bool:
        """Whether the displacements grow like those of diffusion, and the slope is beyond its error."""
        low, high = DIFFUSIVE
        return low < self.exponent < high and self.cm2_per_s > 2 * self.standard_error_cm2_per_s


@dataclass(frozen=True, eq=False)
class Msd:
    """Mean square displacements over all origins of time, relative to the centre of mass where no atom is
    held; of layers and wires those along their periodic directions."""

    lags_ps: np.ndarray
    """(n_lags,)"""
    a2: dict[str, np.ndarray]
    """By element, Å², each (n_lags,)."""
    diffusion: dict[str, Diffusion]
    dimensions: int
    """3; of layers 2, of wires 1."""


@dataclass(frozen=True, eq=False)
class Vacf:
    """Autocorrelation of the velocities, weighted with the masses, and its spectrum."""

    lags_ps: np.ndarray
    """(n_lags,)"""
    correlation: np.ndarray
    """(n_lags,), 1 at the start."""
    wavenumbers_cm1: np.ndarray
    """(n,)"""
    density: np.ndarray
    """(n,) density of states per cm⁻¹, of unit area."""
    highest_cm1: float
    """What frames at this distance can resolve (Nyquist)."""


def autocorrelation(series: np.ndarray) -> np.ndarray:
    """Σ x(t)·x(t+lag) over components, averaged over origins: series (n, m), result (n,)."""
    n = len(series)
    spectrum = np.fft.rfft(series, 2 * n, axis=0)
    sums = np.fft.irfft((np.abs(spectrum) ** 2).sum(axis=1), 2 * n)[:n]
    return np.asarray(sums / (n - np.arange(n)))


def mean_square_displacement(positions: np.ndarray) -> np.ndarray:
    """Over all origins, averaged over atoms: positions (n, atoms, dimensions), result (n,) for every lag."""
    n, n_atoms = positions.shape[:2]
    series = (positions - positions.mean(axis=0)).reshape(n, -1)
    square = (series**2).sum(axis=1)
    total = np.concatenate([[0.0], np.cumsum(square)])
    lags = np.arange(n)
    both = (total[n - lags] + total[n] - total[lags]) / (n - lags)
    return np.asarray(np.maximum(both - 2 * autocorrelation(series), 0.0) / n_atoms)


def displacements(path: Path, kinds: Mapping[str, np.ndarray], blocks: int) -> Msd:
    """Of the atoms of each kind (masks (n_atoms,) by name); blocks give the error of the slopes."""
    half = len(path.positions) // 2 + 1
    lags = np.arange(half) * path.frame_fs / 1000
    curves, slopes = {}, {}
    positions = _along_periods(path)
    for name, mask in kinds.items():
        chosen = positions[:, mask]
        curves[name] = mean_square_displacement(chosen)[:half]
        slopes[name] = _diffusion(chosen, path.frame_fs, blocks)
    return Msd(lags, curves, slopes, positions.shape[-1])


def _along_periods(path: Path) -> np.ndarray:
    """Positions (n_frames, n_atoms, dimensions) in the space of the periodic directions, Å; of molecules and
    crystals as they are."""
    pbc = path.frames[0].pbc
    if pbc.all() or not pbc.any():
        return path.positions
    cell = np.mean([atoms.cell.array for atoms in path.frames], axis=0)
    directions, _ = np.linalg.qr(cell[pbc].T)
    return np.asarray(path.positions @ directions)


def _diffusion(positions: np.ndarray, frame_fs: float, blocks: int) -> Diffusion:
    parts = [part for part in np.array_split(positions, blocks) if len(part) >= 8]
    length = min(len(part) for part in parts) if len(parts) > 1 else len(positions)
    low, high = max(1, int(FIT_FROM * length)), max(int(FIT_TO * length), 4)
    lags = np.arange(low, high) * frame_fs

    def slope(part: np.ndarray) -> float:
        return float(np.polyfit(lags, mean_square_displacement(part)[low:high], 1)[0]) / (2 * part.shape[-1])

    longest = np.arange(max(1, int(FIT_FROM * len(positions))), int(FIT_TO * len(positions)))
    whole = mean_square_displacement(positions)[longest]
    values = np.array([slope(part) for part in parts]) if len(parts) > 1 else np.array([np.nan])
    error = float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("inf")
    exponent = float(np.polyfit(np.log(longest), np.log(whole), 1)[0]) if (whole > 0).all() else 0.0
    return Diffusion(
        slope(positions) * CM2_PER_S_OF_A2_PER_FS,
        error * CM2_PER_S_OF_A2_PER_FS,
        exponent,
        float(lags[0]) / 1000,
        float(lags[-1]) / 1000,
    )


def velocity_correlation(path: Path) -> Vacf | None:
    """None where the frames have no velocities, or none moves."""
    if path.velocities is None or not np.abs(path.velocities).max() > 0:
        return None
    weighted = path.velocities * np.sqrt(path.frames[0].get_masses())[:, None]
    half = len(weighted) // 2 + 1
    correlation = autocorrelation(weighted.reshape(len(weighted), -1))[:half]
    correlation /= correlation[0]
    window = np.cos(0.5 * np.pi * np.arange(half) / half) ** 2
    even = np.concatenate([correlation * window, (correlation * window)[:0:-1]])
    density = np.maximum(np.fft.rfft(even).real, 0.0)
    wavenumbers = np.fft.rfftfreq(len(even), path.frame_fs) * CM1_PER_INVERSE_FS
    density /= density.sum() * (wavenumbers[1] - wavenumbers[0])
    lags = np.arange(half) * path.frame_fs / 1000
    return Vacf(lags, correlation, wavenumbers, density, float(0.5 / path.frame_fs * CM1_PER_INVERSE_FS))
