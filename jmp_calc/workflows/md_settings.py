"""Settings of a molecular dynamics run: what may be asked together, and what is filled in."""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from ..arguments import plain
from ..checks import holding_constraints
from ..errors import JMPWarning, UsageError
from ..lattice import VACUUM, gaps
from .common import energy_std, has_stress
from .constraints import ATOM_BY_ATOM, check_dynamical, moves
from .md_schedule import Stage, ends_in_relaxation, stage_at, stages_of
from .pressures import check_pressure

if TYPE_CHECKING:
    from ase import Atoms

TrajectoryFormat = Literal["extxyz", "extxyz.gz"]
ENSEMBLES = ("nve", "nvt", "npt")
ALIASES = {"langevin": "nvt", "nvt-langevin": "nvt", "npt-mtk": "npt", "mtk": "npt"}
KICKING = ("langevin", "baoab")
"""Thermostats that push every atom by itself."""
SCALING = ("nose-hoover", "bussi")
"""Thermostats that scale all velocities alike: they conserve a total momentum of zero, and no rotation stays
none."""
THERMOSTATS = (*KICKING, *SCALING)
THERMOSTAT_ALIASES = {"nhc": "nose-hoover", "csvr": "bussi"}
AXES = {"lengths": "abc", **{axes: axes for axes in ("a", "b", "c", "ab", "ac", "bc")}}
"""Cells of which single axes change their length."""
CELLS = ("volume", "full", *AXES)
QUENCHED_CELLS = ("volume", "lengths", "full")
"""Cells that relaxations know by the same names."""
LIGHT_ATOM_TIMESTEP_FS = 1.0
"""Above this a hydrogen vibration (9 fs period) is sampled too coarsely."""
SHORT_TIMESTEP_FS = 0.02
"""Below this someone may have meant picoseconds."""
PHYSICS = (
    "ensemble",
    "thermostat",
    "cell",
    "schedule",
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
    thermostat: str | None = None
    cell: str | None = None
    schedule: str | None = None
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
    traj_format: TrajectoryFormat = "extxyz"
    restart_every: int = 1000
    guard: bool = True
    max_uncertainty_mev: float | None = None
    analyse: bool = False

    def __post_init__(self) -> None:
        plain(self)
        _positive("timestep_fs", self.timestep_fs)
        _positive("temperature_k", self.temperature_k)
        for name in ("friction_per_ps", "thermostat_time_fs", "barostat_time_fs", "max_uncertainty_mev"):
            _positive(name, getattr(self, name))
        for name in ("steps", "stats_every", "traj_every", "restart_every"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if self.seed < 0:
            raise UsageError(f"The seed must not be negative, got {self.seed}.")
        if self.pressure_gpa is not None:
            check_pressure(self.pressure_gpa)
        if self.max_uncertainty_mev is not None and not self.guard:
            raise UsageError(
                "The guard watches the uncertainty, and it is off.", hint="leave out --no-guard (guard=False)"
            )
        if self.velocities not in ("new", "keep"):
            raise UsageError(f"Velocities must be 'new' or 'keep', got '{self.velocities}'.")
        if self.traj_format not in get_args(TrajectoryFormat):
            fact = f"Unknown format of trajectories '{self.traj_format}'."
            raise UsageError(fact, hint=f"one of {', '.join(get_args(TrajectoryFormat))}")

    def resolved(self) -> MDSettings:
        """Checked against the ensemble, with its defaults; UsageError names options it cannot use."""
        named = self._named()
        used = _USED[named.ensemble]
        if named.ensemble != "nve":
            used += ("friction_per_ps",) if named.thermostat in KICKING else ("thermostat_time_fs",)
        for name in ("thermostat", "cell", "pressure_gpa", *_TIMES):
            if name not in used and getattr(named, name) is not None:
                raise _unused(name, named)
        defaults = {
            "cell": CELLS[0],
            "pressure_gpa": 0.0,
            "friction_per_ps": 5.0,
            "thermostat_time_fs": 100.0 * self.timestep_fs,
            "barostat_time_fs": 1000.0 * self.timestep_fs,
        }
        given = {name: getattr(named, name) for name in used}
        filled: dict[str, Any] = {
            name: defaults[name] if given[name] is None else given[name] for name in used
        }
        damped = 1e-3 * (filled.get("friction_per_ps") or 0.0) * self.timestep_fs
        if damped > 1:
            raise UsageError(
                f"A friction of {filled['friction_per_ps']:g} per ps stops the atoms within one time step.",
                hint="1 to 50 per ps are usual",
            )
        if named.ensemble != "nve" and self.temperature_k is None and self.schedule is None:
            raise UsageError(f"The {named.ensemble} ensemble needs a temperature.")
        if self.velocities == "new" and self.temperature_k is None and self.schedule is None:
            raise UsageError(
                "New velocities need a temperature.",
                hint="give temperature_k (--temp), or velocities='keep' (--velocities keep)",
            )
        return replace(named, **filled)._scheduled()

    def _named(self) -> MDSettings:
        """With the names of ensemble, thermostat and cell as the tables here have them."""
        ensemble = ALIASES.get(self.ensemble.lower(), self.ensemble.lower())
        thermostat = None if self.thermostat is None else self.thermostat.lower()
        thermostat = THERMOSTAT_ALIASES.get(thermostat or "", thermostat)
        if thermostat is None:
            thermostat = _FIRST_THERMOSTAT.get(ensemble)
        cell = None if self.cell is None else self.cell.lower()
        for word, name, allowed in (
            ("ensemble", ensemble, ENSEMBLES),
            ("thermostat", thermostat, THERMOSTATS),
            ("cell", cell, CELLS),
        ):
            if name is not None and name not in allowed:
                fact = f"Unknown {word} '{getattr(self, word)}'."
                raise UsageError(fact, hint=f"one of {', '.join(allowed)}")
        if ensemble == "npt" and thermostat != _FIRST_THERMOSTAT["npt"]:
            fact = f"The barostat of ensemble npt has no thermostat {thermostat}."
            raise UsageError(fact, hint=f"use {_FIRST_THERMOSTAT['npt']}, or leave it out")
        return replace(self, ensemble=ensemble, thermostat=thermostat, cell=cell)

    def _scheduled(self) -> MDSettings:
        """With the first temperature and the number of steps of the schedule, if there is one."""
        if self.schedule is None:
            return self
        if self.ensemble == "nve":
            raise UsageError("A schedule needs a thermostat.", hint="use ensemble nvt or npt")
        stages = stages_of(self.schedule, self.timestep_fs)
        if self.relaxes_at_end and self.ensemble == "npt" and self.cell not in QUENCHED_CELLS:
            fact = f"A schedule of a run with cell={self.cell} cannot end in a relaxation."
            raise UsageError(fact, hint=f"use cell {', '.join(QUENCHED_CELLS)}, or relax final.extxyz")
        if self.ensemble != "npt" and any(stage.pressure_gpa for stage in stages):
            raise UsageError("A schedule of pressures needs ensemble npt.", where=self.schedule)
        start, steps = stages[0].temperature_k[0], stages[-1].last
        scheduled = replace(self, temperature_k=start, steps=steps)
        scheduled.check_given(
            None if self.temperature_k == MDSettings.temperature_k else self.temperature_k,
            None if self.steps == MDSettings.steps else self.steps,
        )
        return scheduled

    def check_given(self, temperature_k: float | None, steps: int | None) -> None:
        """UsageError where a temperature (K) or number of steps that were given are not those of the
        schedule."""
        if self.schedule is None:
            return
        if temperature_k not in (None, self.temperature_k):
            fact = f"The schedule starts at {self.temperature_k:g} K, not at {temperature_k:g} K."
            raise UsageError(fact, hint="leave out the temperature")
        if steps not in (None, self.steps):
            fact = f"The schedule lasts {self.steps} steps, not {steps}."
            raise UsageError(fact, hint="leave out the number of steps")

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """Those of the schedule, () without one."""
        return () if self.schedule is None else stages_of(self.schedule, self.timestep_fs)

    @property
    def relaxes_at_end(self) -> bool:
        """Whether the schedule ends in a relaxation."""
        return self.schedule is not None and ends_in_relaxation(self.schedule)

    def target(self, step: int) -> tuple[float | None, float | None]:
        """Temperature (K) and pressure (GPa) that thermostat and barostat aim at in a step."""
        if not self.stages:
            return self.temperature_k, self.pressure_gpa
        temperature, pressure = stage_at(self.stages, step).at(step)
        return temperature, self.pressure_gpa if pressure is None else pressure

    @property
    def hottest_k(self) -> float | None:
        """Highest temperature that is aimed at."""
        return max((max(stage.temperature_k) for stage in self.stages), default=self.temperature_k)

    @property
    def keeps_rotation(self) -> bool:
        """Whether a molecule without rotation stays without: no atom is pushed by itself."""
        return self.ensemble == "nve" or self.thermostat in SCALING

    def to_dict(self) -> dict[str, Any]:
        """All settings by name."""
        return asdict(self)

    def physics(self) -> dict[str, Any]:
        """The settings that a restart may not change; the start temperature of an NVE run is not one of
        them."""
        kept = {name: getattr(self, name) for name in PHYSICS}
        kept["schedule"] = [stage.text() for stage in self.stages] or None
        return kept if self.ensemble != "nve" else {**kept, "temperature_k": None}


_FIRST_THERMOSTAT = {"nvt": "langevin", "npt": "nose-hoover"}
_USED: dict[str, tuple[str, ...]] = {
    "nve": (),
    "nvt": ("thermostat",),
    "npt": ("thermostat", "cell", "pressure_gpa", "barostat_time_fs"),
}
"""What an ensemble uses beside the time or the friction of its thermostat."""
_TIMES = ("friction_per_ps", "thermostat_time_fs", "barostat_time_fs")


def _unused(name: str, settings: MDSettings) -> UsageError:
    word = name.rsplit("_", 1)[0].replace("_per", "").replace("_", " ")
    if settings.ensemble == "nvt" and name in _TIMES[:2]:
        hint = f"it is for {' and '.join(KICKING if name == _TIMES[0] else SCALING)}"
        fact = f"A {word} has no meaning for the thermostat {settings.thermostat}."
        return UsageError(fact, where=name, hint=hint)
    ensemble = "nvt" if name in ("friction_per_ps", "thermostat") else "npt"
    hint = f"use ensemble {ensemble}, or leave it out"
    return UsageError(f"A {word} has no meaning in the {settings.ensemble} ensemble.", where=name, hint=hint)


def _positive(name: str, value: float | None) -> None:
    if value is not None and not (np.isfinite(value) and value > 0):
        raise UsageError(f"{name} must be positive, got {value}.")


def check_structure_for(atoms: Atoms, settings: MDSettings) -> None:
    """Refuse structures that the ensemble cannot treat; warn about a time step too long for hydrogen."""
    masses = atoms.get_masses()
    if not (np.isfinite(masses).all() and (masses > 0).all()):
        raise UsageError("Every atom needs a positive mass.", where=f"atom {int(np.argmin(masses))}")
    check_dynamical(atoms)
    if not moves(atoms):
        raise UsageError("Every atom is fixed, so nothing would move.", hint="free some of the atoms")
    if settings.remove_rotation and atoms.pbc.any():
        raise UsageError(
            "Rotation cannot be removed from a periodic structure.",
            hint="angular momentum is not conserved there",
        )
    if settings.remove_rotation and (held := holding_constraints(atoms)):
        raise UsageError(
            f"Rotation cannot be removed from a structure whose atoms are held ({', '.join(held)}).",
            hint="angular momentum is not conserved there: leave remove_rotation out",
        )
    if settings.max_uncertainty_mev is not None and energy_std(atoms) is None:
        raise UsageError(
            "The calculator gives no energy_std, which --max-uncertainty limits.",
            hint="use --uncertainty last-layer or committee (JMPCalculator(..., uncertainty=...))",
        )
    if settings.ensemble == "npt":
        _check_npt(atoms)
        _check_axes(atoms, settings)
        _warn_of_vacuum(atoms, settings)
    if settings.thermostat in ("baoab", "nose-hoover"):
        _check_linear(atoms, settings)
    if settings.timestep_fs < SHORT_TIMESTEP_FS:
        text = f"a time step of {settings.timestep_fs:g} fs is far shorter than atoms need (0.5 to 5 fs)"
        warnings.warn(text, JMPWarning, stacklevel=3)
    if masses.min() < 1.5 and settings.timestep_fs > LIGHT_ATOM_TIMESTEP_FS:
        warnings.warn(
            f"time step {settings.timestep_fs:g} fs is long for hydrogen; use 0.5 fs, or heavier masses",
            JMPWarning,
            stacklevel=3,
        )


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


LINEAR = ATOM_BY_ATOM | {"FixCom", "Hookean", "ExternalForce"}
"""Constraints that hold where they hold for momenta and forces; others need the positions corrected too."""


def _check_linear(atoms: Atoms, settings: MDSettings) -> None:
    """Refuse constraints that an integrator which moves positions itself would break."""
    names = [type(constraint).__name__ for constraint in atoms.constraints]
    broken = [name for name in names if name not in LINEAR]
    if broken:
        raise UsageError(
            f"The constraint {broken[0]} cannot be used with the thermostat {settings.thermostat}.",
            hint="use langevin or bussi",
        )


def _warn_of_vacuum(atoms: Atoms, settings: MDSettings) -> None:
    """JMPWarning where the barostat may change an axis along which there is vacuum."""
    vacuum = gaps(atoms.positions, atoms.cell.array, np.array(atoms.pbc)) >= VACUUM
    free = AXES.get(settings.cell or "", "abc")
    found = [axis for axis, is_open in zip("abc", vacuum) if is_open and axis in free]
    if found:
        text = f"the cell has more than {VACUUM:g} Å of vacuum along {' and '.join(found)}, which a barostat"
        text += " squeezes out or blows up: keep slabs and molecules at constant volume (nvt), or free other"
        text += " axes alone (cell='ab')"
        warnings.warn(text, JMPWarning, stacklevel=4)


def _check_axes(atoms: Atoms, settings: MDSettings) -> None:
    """A single axis can change its length alone only where it is perpendicular to the others."""
    lengths = atoms.cell.lengths()
    cosines = atoms.cell.array @ atoms.cell.array.T / np.outer(lengths, lengths)
    for axis in AXES.get(settings.cell or "", ""):
        own = "abc".index(axis)
        for other in {0, 1, 2} - {own}:
            if abs(cosines[own, other]) > 1e-6:
                fact = f"Axis {axis} is not perpendicular to {'abc'[other]}, so it has no length of its own."
                raise UsageError(fact, where=f"cell={settings.cell}", hint="use cell full or volume")
