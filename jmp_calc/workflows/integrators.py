"""The integrator of a run: its steps, its inner state for restarts that continue bit for bit, its targets.

nve: velocity Verlet. nvt: Langevin (Vanden-Eijnden & Ciccotti, or BAOAB), with FixCom when nothing else is
constrained; Nosé-Hoover chains; Bussi's velocity rescaling. npt: Martyna, Tobias & Klein with Nosé-Hoover
chains, the canonical isothermal-isobaric ensemble, unlike Berendsen's.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import holding_constraints
from ..errors import BadStructureError
from . import ase_dynamics
from .md_settings import KICKING, MDSettings

if TYPE_CHECKING:
    from ase import Atoms

_CHAIN = ("_thermostat._eta", "_thermostat._p_eta")
_BAROSTAT = (*_CHAIN, "_barostat._xi", "_barostat._p_xi")
_AXES = ("_q", "_p", "_h", "_p_c", "_h0_basis", *_BAROSTAT)
INNER = {
    "nve": (),
    "langevin": (),
    "baoab": ("accel",),
    "bussi": ("transferred_energy",),
    "nose-hoover": ("_q", "_p", *_CHAIN),
    "volume": ("_eps", "_p_eps", "_volume0", "_q", "_p", "_cell0", *_BAROSTAT),
    "full": ("_q", "_p", "_h", "_p_g", *_BAROSTAT),
}
"""Fields of ASE's objects that the next step depends on; those of single axes are in ``_AXES``."""


class Integrator:
    """One of the integrators, stepping ``atoms``; ``state``/``restore`` are exact.

    ``dof``: degrees of freedom that hold heat. ``step``: steps done before.
    """

    def __init__(
        self, atoms: Atoms, settings: MDSettings, rng: np.random.Generator, dof: int, step: int = 0
    ) -> None:
        self.atoms, self.settings, self.rng, self.dof = atoms, settings, rng, dof
        self.method = settings.cell or settings.thermostat or settings.ensemble
        self._inner = INNER.get(self.method, _AXES)
        self._dynamics = self._build()
        self._target = settings.temperature_k, settings.pressure_gpa
        self._count = step
        self._aim(step)

    def step(self) -> None:
        """One time step, at the temperature and pressure of its place in the schedule.

        Raises:
            BadStructureError: a barostat that ran away.
        """
        self._count += 1
        self._aim(self._count)
        if self.settings.ensemble != "npt":
            self._dynamics.step()
            return
        runaway = BadStructureError(
            "The cell became NaN or infinite.", hint="try a longer barostat_time_fs or a shorter time step"
        )
        try:
            with np.errstate(over="ignore", invalid="ignore"):
                self._dynamics.step()
        except (np.linalg.LinAlgError, FloatingPointError, OverflowError) as err:
            raise runaway from err
        if not np.isfinite(self.atoms.cell.array).all():
            raise runaway

    def conserved_energy(self) -> float:
        """The quantity that exact dynamics at constant targets would conserve, eV (Langevin: the total
        energy, which it does not)."""
        return float(self.atoms.get_total_energy()) + ase_dynamics.bath_energy(self._dynamics, self.settings)

    def state(self) -> dict[str, np.ndarray]:
        """Everything beyond positions, momenta and cell that the next step depends on."""
        rng = np.frombuffer(json.dumps(self.rng.bit_generator.state).encode(), dtype=np.uint8)
        return {"rng": rng} | {_key(path): np.array(self._get(path)) for path in self._inner}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Inverse of ``state``; ValueError where an array has another shape."""
        self.rng.bit_generator.state = json.loads(state["rng"].tobytes().decode())
        for path in self._inner:
            now, saved = self._get(path), _like(self._get(path), state[_key(path)])
            owner, name = self._owner(path)
            setattr(owner, name, saved if isinstance(now, np.ndarray) else float(saved))

    def _owner(self, path: str) -> tuple[Any, str]:
        part, _, name = path.rpartition(".")
        return (getattr(self._dynamics, part) if part else self._dynamics), name

    def _get(self, path: str) -> Any:
        owner, name = self._owner(path)
        return getattr(owner, name)

    def _build(self) -> Any:
        atoms, settings = self.atoms, self.settings
        if settings.ensemble == "nve":
            return ase_dynamics.verlet(atoms, settings)
        if settings.ensemble == "npt":
            return ase_dynamics.mtk(atoms, settings, self.dof)
        if settings.thermostat == "nose-hoover":
            return ase_dynamics.nose_hoover(atoms, settings, self.dof)
        if settings.thermostat == "bussi":
            return ase_dynamics.bussi(atoms, settings, self.rng, self.dof)
        kicks = {"langevin": ase_dynamics.langevin, "baoab": ase_dynamics.baoab}
        return kicks[settings.thermostat or ""](atoms, settings, self.rng)

    def _aim(self, step: int) -> None:
        temperature, pressure = target = self.settings.target(step)
        if target == self._target or temperature is None:
            return
        ase_dynamics.aim(self._dynamics, self.settings, self.dof, temperature, pressure)
        self._target = target


def _key(path: str) -> str:
    """Name of a field in restart files: fields of chains without their underscore."""
    part, _, name = path.rpartition(".")
    return name.removeprefix("_") if part else name


def _like(now: Any, saved: np.ndarray) -> np.ndarray:
    if np.shape(now) != saved.shape or saved.dtype.kind != "f" or not np.isfinite(saved).all():
        raise ValueError("the state of another integrator")
    return saved.copy()


def add_momentum_constraint(atoms: Atoms, settings: MDSettings) -> None:
    """Kicks of single atoms would make the centre of mass diffuse: keep it fixed when no atom is held."""
    names = [type(constraint).__name__ for constraint in atoms.constraints]
    if (
        settings.thermostat in KICKING
        and len(atoms) > 1
        and "FixCom" not in names
        and not holding_constraints(atoms)
    ):
        from ase.constraints import FixCom

        atoms.set_constraint([*atoms.constraints, FixCom()])
