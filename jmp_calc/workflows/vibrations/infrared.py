"""Infrared intensities: how the dipole changes along each mode, from dipoles of displaced structures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ...errors import BadInputError, UsageError
from ...units import KM_PER_MOL_OF_E2_PER_AMU
from .modes import Floats, NormalModes

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

Dipoles: TypeAlias = "Calculator | Callable[[Sequence[Atoms]], NDArray[np.float64]]"
"""A calculator that gives dipoles, or a function from n structures to (n, 3); e Å."""


def dipole_source(atoms: Atoms, given: Dipoles | None) -> Callable[[Sequence[Atoms]], Floats] | None:
    """What gives the dipoles (n, 3) in e Å of n structures; None: nothing was given, and the calculator of
    the structure has none.

    Raises:
        UsageError: a calculator without dipoles was given.
    """
    calculator = atoms.calc if given is None else given
    if "dipole" in getattr(calculator, "implemented_properties", ()):
        return lambda structures: np.array([_dipole(one, calculator) for one in structures])
    if given is None:
        return None
    if not callable(given):
        raise UsageError(
            f"{type(given).__name__} gives no dipoles.",
            hint="give a calculator with the property 'dipole', or a function from structures to dipoles",
        )
    function = given
    return lambda structures: np.asarray(function(structures), dtype=float)


def _dipole(atoms: Atoms, calculator: Calculator) -> Floats:
    return np.asarray(calculator.get_property("dipole", atoms.copy()), dtype=float)


def dipole_derivatives(
    atoms: Atoms, chosen: NDArray[np.int64], step: float, source: Callable[[Sequence[Atoms]], Floats]
) -> Floats:
    """Derivatives of the dipole (n, 3, 3) in e by the coordinates of n atoms (second axis), by central
    differences.

    Raises:
        BadInputError: dipoles that are not finite, or not three numbers for each structure.
    """
    moved = [
        _moved(atoms, int(atom), axis, sign * step)
        for atom in chosen
        for axis in range(3)
        for sign in (1, -1)
    ]
    dipoles = dipoles_of(moved, source)
    return np.asarray((dipoles[::2] - dipoles[1::2]) / (2 * step)).reshape(len(chosen), 3, 3)


def dipoles_of(structures: Sequence[Atoms], source: Callable[[Sequence[Atoms]], Floats]) -> Floats:
    """Dipoles (n, 3) in e Å of n structures; BadInputError for those that are none."""
    dipoles = source(structures)
    if dipoles.shape != (len(structures), 3) or not np.isfinite(dipoles).all():
        raise BadInputError(
            "The dipoles of a structure are not finite, or not three numbers each.",
            where=f"{len(structures)} structures, dipoles of shape {dipoles.shape}",
        )
    return dipoles


def _moved(atoms: Atoms, atom: int, axis: int, step: float) -> Atoms:
    copy = atoms.copy()
    copy.positions[atom, axis] += step
    return copy


def intensities(modes: NormalModes, derivatives: Floats) -> Floats:
    """Infrared intensities (m,) in km/mol of modes of n atoms, from derivatives (n, 3, 3) of the dipole in e.

    The double harmonic approximation: the square of the derivative by the mass-weighted normal coordinate.
    """
    scale = np.sqrt(modes.reduced_masses * (modes.displacements**2).sum(axis=(1, 2)))
    along = np.einsum("mai,aij->mj", modes.displacements, derivatives) / scale[:, None]
    return np.asarray((along**2).sum(axis=1) * KM_PER_MOL_OF_E2_PER_AMU)
