"""ASE's integrators as we use them, and their inner state for restarts that continue bit for bit.

nve: velocity Verlet. nvt: Langevin (Vanden-Eijnden & Ciccotti), with FixCom when nothing else is constrained.
npt: isotropic MTK (Martyna, Tobias & Klein 1994; ASE's IsotropicMTKNPT): the canonical isothermal-isobaric
ensemble with a volume that breathes and a shape that stays, unlike Berendsen's. Its thermostat counts 3(N-1)
degrees of freedom, because the total momentum is zero; ASE's own counts 3N and would run hot by N/(N-1).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from ..units import GPA_PER_EV_A3
from .md_settings import MDSettings

if TYPE_CHECKING:
    from ase import Atoms

_MTK_SCALARS = ("_eps", "_p_eps", "_volume0")
_MTK_ARRAYS = ("_q", "_p", "_cell0")


class Integrator:
    """One of the three integrators, stepping ``atoms``; ``state``/``restore`` are exact."""

    def __init__(self, atoms: Atoms, settings: MDSettings, rng: np.random.Generator) -> None:
        self.atoms, self.settings, self.rng = atoms, settings, rng
        self._dynamics = {"nve": self._nve, "nvt": self._langevin, "npt": self._mtk}[settings.ensemble]()

    def step(self) -> None:
        """One time step."""
        self._dynamics.step()

    def conserved_energy(self) -> float:
        """The quantity that exact dynamics would conserve, eV (nvt: the total energy, which it does not)."""
        if self.settings.ensemble == "npt":
            return float(self._dynamics.get_conserved_energy())
        return float(self.atoms.get_total_energy())

    def state(self) -> dict[str, np.ndarray]:
        """Everything beyond positions, momenta and cell that the next step depends on."""
        rng = np.frombuffer(json.dumps(self.rng.bit_generator.state).encode(), dtype=np.uint8)
        state = {"rng": rng}
        if self.settings.ensemble == "npt":
            state |= {name: np.array(getattr(self._dynamics, name)) for name in (*_MTK_SCALARS, *_MTK_ARRAYS)}
            state |= {name: array.copy() for name, array in self._chains().items()}
        return state

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Inverse of ``state``; ValueError where an array has another shape."""
        self.rng.bit_generator.state = json.loads(state["rng"].tobytes().decode())
        if self.settings.ensemble != "npt":
            return
        for name in _MTK_SCALARS:
            setattr(self._dynamics, name, float(state[name]))
        for name in _MTK_ARRAYS:
            setattr(self._dynamics, name, _like(getattr(self._dynamics, name), state[name]))
        for name, array in self._chains().items():
            array[:] = _like(array, state[name])

    def _chains(self) -> dict[str, np.ndarray]:
        thermostat, barostat = self._dynamics._thermostat, self._dynamics._barostat
        return {
            "eta": thermostat._eta,
            "p_eta": thermostat._p_eta,
            "xi": barostat._xi,
            "p_xi": barostat._p_xi,
        }

    def _nve(self) -> Any:
        from ase import units
        from ase.md.verlet import VelocityVerlet

        return VelocityVerlet(self.atoms, self.settings.timestep_fs * units.fs)

    def _langevin(self) -> Any:
        from ase import units
        from ase.md.langevin import Langevin

        assert self.settings.friction_per_ps is not None
        return Langevin(
            self.atoms,
            self.settings.timestep_fs * units.fs,
            temperature_K=self.settings.temperature_k,
            friction=self.settings.friction_per_ps / (1000 * units.fs),
            fixcm=False,
            rng=self.rng,
        )

    def _mtk(self) -> Any:
        from ase import units
        from ase.md.nose_hoover_chain import IsotropicMTKNPT, NoseHooverChainThermostat

        class StressFirst(IsotropicMTKNPT):
            """Asks for the stress before the forces, so that one evaluation gives both."""

            def _get_forces(self) -> np.ndarray:
                self._update_atoms()
                self.atoms.get_stress()
                return np.array(self.atoms.get_forces(md=True))

        s = self.settings
        assert s.pressure_gpa is not None
        assert s.thermostat_time_fs is not None
        assert s.barostat_time_fs is not None
        dynamics = StressFirst(
            self.atoms,
            s.timestep_fs * units.fs,
            temperature_K=s.temperature_k,
            pressure_au=s.pressure_gpa / GPA_PER_EV_A3,
            tdamp=s.thermostat_time_fs * units.fs,
            pdamp=s.barostat_time_fs * units.fs,
        )
        dynamics._thermostat = NoseHooverChainThermostat(
            num_atoms_global=len(self.atoms) - 1,
            masses=dynamics.masses,
            temperature_K=s.temperature_k,
            tdamp=s.thermostat_time_fs * units.fs,
        )
        return dynamics


def _like(now: np.ndarray, saved: np.ndarray) -> np.ndarray:
    if np.shape(now) != saved.shape or saved.dtype.kind != "f" or not np.isfinite(saved).all():
        raise ValueError("the state of another integrator")
    return saved.copy()


def add_momentum_constraint(atoms: Atoms, settings: MDSettings) -> None:
    """Langevin kicks would make the centre of mass diffuse: keep it fixed when nothing else is
    constrained."""
    if settings.ensemble == "nvt" and not atoms.constraints and len(atoms) > 1:
        from ase.constraints import FixCom

        atoms.set_constraint(FixCom())
