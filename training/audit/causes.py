"""Which units and signs would explain what the audit measured, and what to do about them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jmp_calc.units import ENERGY_UNITS, unit_factor

_ENERGIES = ("eV", "hartree", "rydberg", "kcal/mol", "kJ/mol", "meV")
_STRESSES = ("eV/angstrom^3", "GPa", "kbar", "hartree/bohr^3", "rydberg/bohr^3", "MPa", "bar")
_NEAR = float(np.log(1.2))
"""Logarithm of a ratio within which two slopes are one."""
_SCALE_SPREAD = float(np.log(3.0))
"""The same for the scale of forces that bonds give."""
_STRESS_SPREAD = float(np.log(4.0))
_TOO_SMALL, _TOO_LARGE = 0.16, 6.0
"""Forces over those of bonds: 0.4 to 2.5 in 50 public data sets."""


@dataclass(frozen=True)
class Cause:
    """Units and signs that labels seem to have."""

    text: str
    """How it looks, after "it looks as if"."""
    action: str
    """What the user does about it, without a full stop."""


@dataclass(frozen=True)
class _Labels:
    energy: str
    per_bohr: bool
    energy_of_forces: str
    sign: float = 1.0

    @property
    def forces(self) -> str:
        return f"{self.energy_of_forces}/{'bohr' if self.per_bohr else 'angstrom'}"

    @property
    def forces_factor(self) -> float:
        return unit_factor(self.forces, "forces")

    @property
    def slope(self) -> float:
        """Energy differences over the work of the forces, both as given."""
        return self.sign * self.forces_factor / ENERGY_UNITS[self.energy.lower()]


def _known_labels() -> list[_Labels]:
    """Units of programs, the likelier ones first."""
    forces = [_Labels("eV", per_bohr, unit) for unit in _ENERGIES for per_bohr in (False, True)]
    energies = [_Labels(unit, False, "eV") for unit in _ENERGIES[1:]]
    atomic = [_Labels(unit, True, unit) for unit in ("hartree", "rydberg")]
    right = [*forces, *energies, *atomic]
    return right + [_Labels(x.energy, x.per_bohr, x.energy_of_forces, -1.0) for x in right]


def cause_of_work(slope: float, scale: float | None = None) -> Cause | None:
    """Units and signs for which energy differences are ``slope`` times the work of the forces; None if they
    are right, or no known ones fit.

    ``scale``: size of the forces over that of forces in eV/Å, where bonds tell.
    """
    if slope == 0 or (abs(np.log(abs(slope))) < _NEAR and slope > 0):
        return None
    fits = [x for x in _known_labels() if x.slope * slope > 0 and abs(np.log(slope / x.slope)) < _NEAR]
    if scale:
        told = [x for x in fits if abs(np.log(scale * x.forces_factor)) < _SCALE_SPREAD]
        fits = told or fits
    if not fits:
        return None
    best = min(fits, key=lambda x: abs(np.log(slope / x.slope)))
    return _worded(best)


def _worded(labels: _Labels) -> Cause:
    options = []
    if labels.energy != "eV":
        options.append(f"--energy-unit {labels.energy}")
    if labels.forces != "eV/angstrom" or labels.energy != "eV":
        options.append(f"--forces-unit {labels.forces}")
    gradients = labels.sign < 0
    if not options:
        return WRONG_SIGN
    shown = labels.forces.replace("angstrom", "Å")
    text = f"the energies are in {labels.energy} and the forces {'gradients ' if gradients else ''}in {shown}"
    action = f"declare it with {' '.join(options)}"
    return Cause(text, f"multiply the forces by -1 and {action}" if gradients else action)


WRONG_SIGN = Cause(
    "the forces have the wrong sign (gradients instead of forces)", "multiply the forces by -1"
)


def cause_of_scale(scale: float) -> Cause | None:
    """The unit of both energies and forces for which forces are ``scale`` times as large as they should be;
    None if they are plausible, or all zero."""
    if scale == 0 or (not scale < _TOO_SMALL and not scale > _TOO_LARGE):
        return None
    unit = min(_ENERGIES[1:], key=lambda name: abs(np.log(scale * ENERGY_UNITS[name.lower()])))
    near = [name for name in _ENERGIES[1:] if abs(np.log(scale * ENERGY_UNITS[name.lower()])) < _SCALE_SPREAD]
    names = " or ".join(dict.fromkeys([unit, *near]))
    return Cause(
        f"energies and forces are both in {names}",
        f"declare it with --energy-unit {unit}"
        + (f" --forces-unit {unit}/angstrom, or /bohr" if unit in ("hartree", "rydberg") else ""),
    )


def cause_of_stress(slope: float, rough: bool = False) -> Cause | None:
    """Unit and sign of a stress for which ``slope`` is what is expected over what is given; None if it is
    right, or no known one fits.

    ``rough``: the slope is known to a factor of 4 only, which tells signs and most units.
    """
    spread = _STRESS_SPREAD if rough else float(np.log(1.5))
    if slope == 0 or (slope > 0 and abs(np.log(slope)) < spread):
        return None
    factors = {name: np.sign(slope) * unit_factor(name, "stress") for name in _STRESSES}
    name = min(factors, key=lambda unit: abs(np.log(slope / factors[unit])))
    if abs(np.log(slope / factors[name])) > spread:
        return None
    wrong = slope < 0
    if name == _STRESSES[0]:
        return Cause(
            "the stress has the wrong sign (ASE: positive = tension)",
            "declare it with --stress-sign pressure",
        )
    sign = " with the sign of VASP (positive = pressure)" if wrong else ""
    option = " --stress-sign pressure" if wrong else ""
    return Cause(f"the stress is in {name}{sign}", f"declare it with --stress-unit {name}{option}")
