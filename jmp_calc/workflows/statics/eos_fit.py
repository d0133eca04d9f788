"""The curve through energies at several volumes, by ASE's equations of state."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...units import GPA_PER_EV_A3
from .eos_settings import EosForm

STEP = 1e-4
"""Of the volume, for the slope of the curve: its error is far below that of any fit."""


@dataclass(frozen=True)
class EosFit:
    """A fitted equation of state, of the cell that was given."""

    form: EosForm
    volume_a3: float
    """Where the curve has its minimum."""
    energy_ev: float
    """There."""
    bulk_modulus_gpa: float
    bulk_modulus_derivative: float
    """By the pressure, at the minimum."""
    residual_ev: float
    """Root mean square of what the curve misses."""

    def energies_at(self, volumes: np.ndarray) -> np.ndarray:
        """Energies (n,) in eV of the curve at volumes (n,) in Å³."""
        modulus = self.bulk_modulus_gpa / GPA_PER_EV_A3
        curve = _function(self.form)
        found = curve(volumes, 0.0, modulus, self.bulk_modulus_derivative, self.volume_a3)
        return np.asarray(found + self.energy_ev)

    def pressures_at(self, volumes: np.ndarray) -> np.ndarray:
        """Pressures (n,) in GPa, minus the slope of the curve, at volumes (n,) in Å³."""
        step = STEP * self.volume_a3
        rise = self.energies_at(volumes + step) - self.energies_at(volumes - step)
        return np.asarray(-rise / (2 * step) * GPA_PER_EV_A3)


def fitted(volumes: np.ndarray, energies: np.ndarray, form: EosForm) -> EosFit | None:
    """The curve of a form through energies (n,) in eV at volumes (n,) in Å³; None where they have no
    minimum that it could describe."""
    from ase.eos import EquationOfState

    lowest = float(energies.min())
    equation = EquationOfState(volumes, energies - lowest, eos=form)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")  # of a curve that cannot be fitted; None says it
            equation.fit(warn=False)
    except (RuntimeError, ValueError):
        return None
    energy, modulus, derivative, volume = (float(value) for value in equation.eos_parameters)
    if not (np.isfinite([energy, modulus, derivative, volume]).all() and modulus > 0 and volume > 0):
        return None
    missed = energies - lowest - _function(form)(volumes, energy, modulus, derivative, volume)
    residual = float(np.sqrt(np.mean(missed**2)))
    return EosFit(form, volume, energy + lowest, modulus * GPA_PER_EV_A3, derivative, residual)


def _function(form: EosForm) -> Any:
    """ASE's function of volume, energy, bulk modulus, its derivative and the volume of the minimum."""
    import ase.eos

    return getattr(ase.eos, form)
