"""Start velocities, temperatures and their degrees of freedom.

The temperature is 2·Ekin/(n·kB) with n the degrees of freedom that can hold heat: constraints, a conserved
total momentum of zero and, for molecules without thermostat or with one that scales all velocities alike, a
conserved angular momentum of zero do not count.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from ..checks import holding_constraints
from ..errors import BadInputError, JMPWarning, UsageError
from .constraints import free_components
from .md_settings import MDSettings

if TYPE_CHECKING:
    from ase import Atoms


ROTATION_SHARE = 1e-3
"""Below this share of the heat of its degrees of freedom a rotation is rounding: of files, or of forces in
float32."""
ROUNDING = 1e-12
"""Share of a temperature that is left where everything that could move was taken away."""


def removes_rotation(atoms: Atoms, settings: MDSettings) -> bool:
    """Whether the start velocities shall lose their angular momentum; those that are kept only on request."""
    if settings.remove_rotation is not None:
        return settings.remove_rotation
    if not (settings.velocities == "new" and settings.keeps_rotation and _conserves_rotation(atoms)):
        return False
    return free_components(atoms) > 3 + _rotations(atoms)  # a rigid molecule can do nothing but turn


def _conserves_rotation(atoms: Atoms) -> bool:
    return len(atoms) > 1 and not atoms.pbc.any() and not holding_constraints(atoms)


def _rotations(atoms: Atoms) -> int:
    """3; of linear molecules 2."""
    return int(np.linalg.matrix_rank(_inertia(atoms), tol=1e-6))


def conserves_momentum(atoms: Atoms) -> bool:
    """Whether total momentum is kept at zero (by the dynamics, or by the FixCom that Langevin gets)."""
    return len(atoms) > 1 and not holding_constraints(atoms)


def degrees_of_freedom(atoms: Atoms, settings: MDSettings) -> int:
    """Number of velocity components that hold heat in a run that starts with the velocities of ``atoms``, at
    least 1."""
    free = free_components(atoms)
    if conserves_momentum(atoms):
        free -= 3
    if settings.keeps_rotation:
        rotations = _rotations(atoms)
        if removes_rotation(atoms, settings) or (
            _conserves_rotation(atoms) and not _rotates(atoms, free, rotations)
        ):
            free -= rotations
    return max(free, 1)


def temperature(atoms: Atoms, dof: int) -> float:
    """Temperature in K."""
    from ase import units

    return float(2 * atoms.get_kinetic_energy() / (dof * units.kB))


def start_velocities(atoms: Atoms, settings: MDSettings, rng: np.random.Generator) -> None:
    """Set the momenta of ``atoms``: Maxwell-Boltzmann, no drift, scaled to exactly the temperature; or keep
    them.

    Raises:
        UsageError: no velocities to keep. BadInputError: such that are not finite.
    """
    from ase import units

    present = atoms.has("momenta") and np.abs(atoms.get_momenta()).max() != 0
    if settings.velocities == "keep":
        if not present:
            raise UsageError("The structure has no velocities to keep.", hint="use velocities='new'")
        if not np.isfinite(atoms.get_momenta()).all():
            raise BadInputError("A velocity is NaN or infinite.", hint="use velocities='new'")
        atoms.set_momenta(atoms.get_momenta())  # what is held now may have moved in the run before
        if conserves_momentum(atoms) and _remove_drift(atoms) > 1e-6:
            warnings.warn(
                "the velocities had a drift of the centre of mass, removed", JMPWarning, stacklevel=3
            )
        if removes_rotation(atoms, settings):
            _remove_rotation(atoms)
        return
    if present:
        text = "the structure's velocities are replaced by new ones (velocities='keep' keeps them)"
        warnings.warn(text, JMPWarning, stacklevel=3)
    assert settings.temperature_k is not None
    masses = atoms.get_masses()[:, None]
    drawn = rng.standard_normal((len(atoms), 3)) * np.sqrt(masses * units.kB * settings.temperature_k)
    atoms.set_momenta(drawn)  # applies constraints
    if conserves_momentum(atoms):
        _remove_drift(atoms)
    if removes_rotation(atoms, settings):
        _remove_rotation(atoms)
    now = temperature(atoms, degrees_of_freedom(atoms, settings))
    if now > ROUNDING * settings.temperature_k:
        atoms.set_momenta(atoms.get_momenta() * np.sqrt(settings.temperature_k / now), apply_constraint=False)


def _remove_drift(atoms: Atoms) -> float:
    """Subtract the centre-of-mass velocity; returns its size relative to the r.m.s. velocity."""
    momenta, masses = atoms.get_momenta(), atoms.get_masses()[:, None]
    drift = momenta.sum(axis=0) / masses.sum()
    size = np.sqrt(((momenta / masses) ** 2).mean())
    atoms.set_momenta(momenta - masses * drift, apply_constraint=False)
    return float(np.abs(drift).max() / size) if size > 0 else 0.0


def _remove_rotation(atoms: Atoms) -> None:
    """Subtract the rigid rotation."""
    atoms.set_momenta(atoms.get_momenta() - _rigid_rotation(atoms), apply_constraint=False)


def _rigid_rotation(atoms: Atoms) -> np.ndarray:
    """Momenta (n_atoms, 3) of the rotation as a rigid body; works for linear molecules (singular inertia)
    too."""
    centred = atoms.positions - atoms.get_center_of_mass()
    angular = np.cross(centred, atoms.get_momenta()).sum(axis=0)
    omega = np.linalg.pinv(_inertia(atoms), rcond=1e-8) @ angular
    return np.asarray(np.cross(omega, centred) * atoms.get_masses()[:, None])


def _rotates(atoms: Atoms, free: int, rotations: int) -> bool:
    """Whether the rigid rotation holds more than ROTATION_SHARE of its share of the heat of ``free``
    components."""
    masses = 2 * atoms.get_masses()[:, None]
    energy, rotational = (
        (momenta**2 / masses).sum() for momenta in (atoms.get_momenta(), _rigid_rotation(atoms))
    )
    return bool(rotational > ROTATION_SHARE * rotations / free * energy) if free > 0 else False


def _inertia(atoms: Atoms) -> np.ndarray:
    centred = atoms.positions - atoms.get_center_of_mass()
    masses = atoms.get_masses()
    square = np.einsum("i,ij,ik->jk", masses, centred, centred)
    return np.trace(square) * np.eye(3) - square
