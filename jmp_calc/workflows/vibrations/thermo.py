"""Thermochemistry of vibrations with ASE: the ideal gas of rigid rotors, or harmonic modes alone."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ...errors import JMPWarning
from ...units import CM1_PER_EV
from .modes import Floats, Shape
from .settings import VibSettings

if TYPE_CHECKING:
    from ase import Atoms


@dataclass(frozen=True)
class Thermo:
    """Thermochemistry at one temperature; energies count the potential energy in."""

    model: Literal["ideal-gas", "harmonic"]
    temperature_k: float
    pressure_pa: float | None
    """None: harmonic, where no pressure enters."""
    zero_point_ev: float
    internal_energy_ev: float
    enthalpy_ev: float
    """Of harmonic modes the internal energy."""
    entropy_ev_per_k: float
    free_energy_ev: float
    """Gibbs energy of the ideal gas, Helmholtz energy of harmonic modes."""
    correction_ev: float
    """The free energy without the potential energy."""

    def to_dict(self) -> dict[str, Any]:
        """Numbers for summary.yaml."""
        return asdict(self)


def counted(frequencies_cm1: Floats, tolerance: float) -> Floats:
    """Energies (k,) in eV of the modes above the tolerance; a JMPWarning says what is left out."""
    kept = frequencies_cm1[frequencies_cm1 > tolerance]
    left = frequencies_cm1[frequencies_cm1 <= tolerance]
    if len(left):
        text = ", ".join(f"{value:.1f}" for value in left[:5]) + (" …" if len(left) > 5 else "")
        text = f"{len(left)} mode(s) are left out of the thermochemistry, imaginary or too soft: {text} cm-1"
        warnings.warn(text, JMPWarning, stacklevel=4)
    return np.asarray(kept / CM1_PER_EV)


def ideal_gas(
    energies: Floats, potential_ev: float, atoms: Atoms, shape: Shape, symmetry: int, settings: VibSettings
) -> list[Thermo]:
    """A gas of free molecules at every temperature; energies (k,) of the modes in eV."""
    from ase.thermochemistry import IdealGasThermo

    alone = atoms.copy()
    alone.set_constraint()
    alone.pbc = False
    gas = IdealGasThermo(
        energies.tolist(),
        shape,
        potentialenergy=potential_ev,
        atoms=alone,
        symmetrynumber=symmetry,
        spin=settings.spin,
        vib_selection="all",
    )
    found = []
    for kelvin in _each(settings.temperatures):
        with np.errstate(over="ignore"):  # exp(hν/kT) of a cold mode, which holds no heat
            enthalpy = gas.get_enthalpy(kelvin, verbose=False)
            entropy = gas.get_entropy(kelvin, pressure=settings.pressure_pa, verbose=False)
            internal = gas.get_internal_energy(kelvin, verbose=False)
        found.append(
            _thermo(
                "ideal-gas", kelvin, settings.pressure_pa, energies, internal, enthalpy, entropy, potential_ev
            )
        )
    return found


def harmonic(energies: Floats, potential_ev: float, settings: VibSettings) -> list[Thermo]:
    """Harmonic modes at every temperature; energies (k,) of the modes in eV."""
    from ase.thermochemistry import HarmonicThermo

    found = []
    for kelvin in _each(settings.temperatures):
        internal, entropy = potential_ev, 0.0
        if len(energies):  # ASE asks for one mode at least
            modes = HarmonicThermo(energies.tolist(), potentialenergy=potential_ev)
            with np.errstate(over="ignore"):
                internal = modes.get_internal_energy(kelvin, verbose=False)
                entropy = modes.get_entropy(kelvin, verbose=False)
        found.append(_thermo("harmonic", kelvin, None, energies, internal, internal, entropy, potential_ev))
    return found


def _each(temperatures: str | Sequence[float]) -> Sequence[float]:
    assert not isinstance(temperatures, str)  # the settings have read them
    return temperatures


def _thermo(
    model: Literal["ideal-gas", "harmonic"],
    kelvin: float,
    pressure: float | None,
    energies: Floats,
    internal: float,
    enthalpy: float,
    entropy: float,
    potential: float,
) -> Thermo:
    free = enthalpy - kelvin * entropy
    return Thermo(
        model=model,
        temperature_k=kelvin,
        pressure_pa=pressure,
        zero_point_ev=0.5 * float(energies.sum()),
        internal_energy_ev=float(internal),
        enthalpy_ev=float(enthalpy),
        entropy_ev_per_k=float(entropy),
        free_energy_ev=float(free),
        correction_ev=float(free - potential),
    )
