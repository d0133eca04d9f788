"""Settings of a molecular dynamics run: what may be asked together, and what is filled in."""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..errors import JMPWarning, UsageError
from .common import has_stress, moves

if TYPE_CHECKING:
    from ase import Atoms

ENSEMBLES = ("nve", "nvt", "npt")
ALIASES = {"langevin": "nvt", "nvt-langevin": "nvt", "npt-mtk": "npt", "mtk": "npt"}
LIGHT_ATOM_TIMESTEP_FS = 1.0
"""Above this a hydrogen vibration (9 fs period) is sampled too coarsely."""
PHYSICS = (
    "ensemble",
    "temperature_k",
    "timestep_fs",
    "pressure_gpa",
    "friction_per_ps",
    "thermostat_time_fs",
    "barostat_time_fs",
)
"""Settings that a restart may not change."""


@dataclass(frozen=True, kw_only=True)
class MDSettings:
    """One run; the fields are the arguments of ``md`` and explained there. Values that an ensemble does not
    use are None after ``resolved``."""

    ensemble: str = "nvt"
    temperature_k: float | None = 300.0
    timestep_fs: float = 1.0
    steps: int = 1000
    pressure_gpa: float | None = None
    friction_per_ps: float | None = None
    thermostat_time_fs: float | None = None
    barostat_time_fs: float | None = None
    seed: int = 0
    velocities: Literal["new", "keep"] = "new"
    remove_rotation: bool | None = None
    stats_every: int = 10
    traj_every: int = 10
    restart_every: int = 1000
    guard: bool = True

    def __post_init__(self) -> None:
        _positive("timestep_fs", self.timestep_fs)
        _positive("temperature_k", self.temperature_k)
        for name in ("friction_per_ps", "thermostat_time_fs", "barostat_time_fs"):
            _positive(name, getattr(self, name))
        for name in ("steps", "stats_every", "traj_every", "restart_every"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if self.pressure_gpa is not None and not np.isfinite(self.pressure_gpa):
            raise UsageError(f"pressure_gpa must be finite, got {self.pressure_gpa}.")
        if self.velocities not in ("new", "keep"):
            raise UsageError(f"Velocities must be 'new' or 'keep', got '{self.velocities}'.")

    def resolved(self) -> MDSettings:
        """Checked against the ensemble, with its defaults; UsageError names options it cannot use."""
        ensemble = ALIASES.get(self.ensemble.lower(), self.ensemble.lower())
        if ensemble not in ENSEMBLES:
            raise UsageError(f"Unknown ensemble '{self.ensemble}'.", hint=f"one of {', '.join(ENSEMBLES)}")
        used = {
            "nve": (),
            "nvt": ("friction_per_ps",),
            "npt": ("pressure_gpa", "thermostat_time_fs", "barostat_time_fs"),
        }[ensemble]
        for name in ("pressure_gpa", "friction_per_ps", "thermostat_time_fs", "barostat_time_fs"):
            if name not in used and getattr(self, name) is not None:
                raise _unused(name, ensemble)
        defaults = {
            "pressure_gpa": 0.0,
            "friction_per_ps": 5.0,
            "thermostat_time_fs": 100.0 * self.timestep_fs,
            "barostat_time_fs": 1000.0 * self.timestep_fs,
        }
        given = {name: getattr(self, name) for name in used}
        filled: dict[str, Any] = {
            name: defaults[name] if given[name] is None else given[name] for name in used
        }
        if ensemble != "nve" and self.temperature_k is None:
            raise UsageError(f"The {ensemble} ensemble needs a temperature.")
        return replace(self, ensemble=ensemble, **filled)

    def to_dict(self) -> dict[str, Any]:
        """All settings by name."""
        return asdict(self)

    def physics(self) -> dict[str, Any]:
        """The settings that a restart may not change; the start temperature of an NVE run is not one of
        them."""
        kept = {name: getattr(self, name) for name in PHYSICS}
        return kept if self.ensemble != "nve" else {**kept, "temperature_k": None}


def _unused(name: str, ensemble: str) -> UsageError:
    word = name.rsplit("_", 1)[0].replace("_per", "").replace("_", " ")
    hint = "use ensemble npt, or leave it out" if name != "friction_per_ps" else "use ensemble nvt"
    return UsageError(f"A {word} has no meaning in the {ensemble} ensemble.", where=name, hint=hint)


def _positive(name: str, value: float | None) -> None:
    if value is not None and not (np.isfinite(value) and value > 0):
        raise UsageError(f"{name} must be positive, got {value}.")


def check_structure_for(atoms: Atoms, settings: MDSettings) -> None:
    """Refuse structures that the ensemble cannot treat; warn about a time step too long for hydrogen."""
    masses = atoms.get_masses()
    if not (np.isfinite(masses).all() and (masses > 0).all()):
        raise UsageError("Every atom needs a positive mass.", where=f"atom {int(np.argmin(masses))}")
    _check_constraints(atoms)
    if not moves(atoms):
        raise UsageError("Every atom is fixed, so nothing would move.", hint="free some of the atoms")
    if settings.remove_rotation and atoms.pbc.any():
        raise UsageError(
            "Rotation cannot be removed from a periodic structure.",
            hint="angular momentum is not conserved there",
        )
    if settings.ensemble == "npt":
        _check_npt(atoms)
    if masses.min() < 1.5 and settings.timestep_fs > LIGHT_ATOM_TIMESTEP_FS:
        warnings.warn(
            f"time step {settings.timestep_fs:g} fs is long for hydrogen; use 0.5 fs, or heavier masses",
            JMPWarning,
            stacklevel=3,
        )


def _check_constraints(atoms: Atoms) -> None:
    """Refuse constraints of which ASE does not know how many degrees of freedom they take."""
    for constraint in atoms.constraints:
        try:
            constraint.get_removed_dof(atoms)
        except (AttributeError, NotImplementedError) as error:
            name = type(constraint).__name__
            raise UsageError(
                f"The constraint {name} cannot be used in dynamics.",
                where="ASE does not know how many degrees of freedom it takes",
                hint="use FixAtoms, FixCartesian, FixBondLengths or Hookean",
            ) from error


def _check_npt(atoms: Atoms) -> None:
    if not atoms.pbc.all() or atoms.cell.rank < 3:
        raise UsageError(
            "Constant pressure needs a structure that is periodic in three directions.", hint="use nvt"
        )
    if atoms.constraints:
        raise UsageError(
            "Constant pressure cannot be combined with constraints.", hint="use nvt, or remove them"
        )
    if len(atoms) < 2:
        raise UsageError("Constant pressure needs at least two atoms.", hint="use a supercell")
    if not has_stress(atoms):
        raise UsageError("The calculator gives no stress for this structure.", hint="use nvt")
