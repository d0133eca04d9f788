"""What curves of energy show: minima, walls and dips of a bond, the equation of state of a crystal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import find_peaks

from jmp_calc.units import GPA_PER_EV_A3

Floats = NDArray[np.float64]
FIT_POINTS = 7
"""Points next to the lowest one that an equation of state is fitted to."""


def minima(energies: Floats, depth: float) -> list[int]:
    """Places of the minima of a curve (N,) that are deeper than ``depth`` on both sides; its ends are none."""
    found, _ = find_peaks(-np.asarray(energies, dtype=float), prominence=depth)
    return [int(place) for place in found]


def fall_beyond(energies: Floats, start: int) -> float:
    """How far the energy falls again on the way out from ``start``, eV: of a wall its outer side, of a dip its
    inner one; 0 where it only rises."""
    outer = np.asarray(energies, dtype=float)[start:]
    return float((np.maximum.accumulate(outer) - outer).max())


def rise_inside(energies: Floats, end: int) -> float:
    """How far the energy rises on the way out to ``end``, where a bond that is pressed together should only
    fall, eV."""
    inner = np.asarray(energies, dtype=float)[: end + 1]
    return float((inner - np.minimum.accumulate(inner)).max())


@dataclass(frozen=True)
class EquationOfState:
    """The minimum of a curve E(V)."""

    volume: float
    """Å³, per whatever the energies are of."""
    energy: float
    """eV"""
    bulk_modulus_gpa: float


def birch_murnaghan(volumes: Floats, energies: Floats) -> EquationOfState | None:
    """Third-order Birch-Murnaghan, a cubic in V^(-2/3), through the points (N,) next to the lowest one; None
    where the lowest lies at an end, or the fit has no minimum between its points."""
    order = np.argsort(volumes)
    volumes, energies = np.asarray(volumes, dtype=float)[order], np.asarray(energies, dtype=float)[order]
    lowest = int(energies.argmin())
    if lowest in (0, len(energies) - 1):
        return None
    first = min(max(lowest - FIT_POINTS // 2, 0), max(len(energies) - FIT_POINTS, 0))
    near = slice(first, first + FIT_POINTS)
    unit = volumes[lowest]
    strains = (volumes[near] / unit) ** (-2 / 3)
    curve = np.polynomial.Polynomial.fit(strains, energies[near], 3).convert()
    roots = curve.deriv().roots()
    real = roots[np.abs(roots.imag) < 1e-9].real
    inside = real[(real >= strains.min()) & (real <= strains.max()) & (curve.deriv(2)(real) > 0)]
    if len(inside) != 1:
        return None
    strain = float(inside[0])
    share = strain**-1.5  # V / unit
    curvature = float(curve.deriv(2)(strain)) * (2 / 3 * share ** (-5 / 3)) ** 2 / unit**2
    volume = share * unit
    return EquationOfState(volume, float(curve(strain)), volume * curvature * GPA_PER_EV_A3)
