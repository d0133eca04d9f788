"""ASE's integrators as we use them, one function each, and how they aim at another temperature or pressure.

What ASE counts otherwise is put right here. Nosé-Hoover chains count the degrees of freedom that hold heat
(ASE: 3N, which runs hot by N/(N-1) where the total momentum is zero), and so does Bussi's thermostat. The
cell of MTK has six of its own, since its momenta are symmetric (ASE: nine, which drives the cell at 1.5
times the temperature).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import BadStructureError
from ..units import GPA_PER_EV_A3
from .md_settings import AXES, MDSettings

if TYPE_CHECKING:
    from ase import Atoms

CELL_DOF = 6
"""Strains of a cell that does not rotate."""
LARGEST_SWELL = 1.5
"""No cell changes its volume by such a factor in one step."""
CELL_MOMENTA = {"volume": "_p_eps", "full": "_p_g"}
"""Field of the momenta of the cell; ``_p_c`` of single axes."""


def verlet(atoms: Atoms, settings: MDSettings) -> Any:
    """Velocity Verlet."""
    from ase.md.verlet import VelocityVerlet

    return VelocityVerlet(atoms, _time(settings.timestep_fs))


def langevin(atoms: Atoms, settings: MDSettings, rng: np.random.Generator) -> Any:
    """Langevin dynamics of Vanden-Eijnden and Ciccotti."""
    from ase.md.langevin import Langevin

    return Langevin(
        atoms,
        _time(settings.timestep_fs),
        temperature_K=settings.temperature_k,
        friction=1 / _time(1000 / _given(settings.friction_per_ps)),
        fixcm=False,
        rng=rng,
    )


def baoab(atoms: Atoms, settings: MDSettings, rng: np.random.Generator) -> Any:
    """Langevin dynamics by BAOAB of Leimkuhler and Matthews, at constant cell."""
    from ase.md.langevinbaoab import LangevinBAOAB

    return LangevinBAOAB(
        atoms,
        _time(settings.timestep_fs),
        temperature_K=settings.temperature_k,
        T_tau=_time(1000 / _given(settings.friction_per_ps)),
        hydrostatic=True,  # the friction is a number, not a matrix whose exponential is taken at every step
        rng=rng,
    )


def bussi(atoms: Atoms, settings: MDSettings, rng: np.random.Generator, dof: int) -> Any:
    """Stochastic velocity rescaling (CSVR) of Bussi, Donadio and Parrinello."""
    from ase.md.bussi import Bussi

    dynamics = Bussi(
        atoms,
        _time(settings.timestep_fs),
        temperature_K=settings.temperature_k,
        taut=_time(_given(settings.thermostat_time_fs)),
        rng=rng,
    )
    dynamics.ndof = dof
    dynamics.target_kinetic_energy = 0.5 * dynamics.temp * dof
    return dynamics


def nose_hoover(atoms: Atoms, settings: MDSettings, dof: int) -> Any:
    """Nosé-Hoover chains of Martyna, Klein and Tuckerman."""
    from ase.md.nose_hoover_chain import NoseHooverChainNVT

    class Constrained(NoseHooverChainNVT):  # type: ignore[misc]
        """The momenta obey the constraints; ASE's own copy of them does not, and the chain would count what
        fixed atoms never have."""

        _p: np.ndarray

        def _integrate_p(self, delta: float) -> None:
            super()._integrate_p(delta)
            self.atoms.set_momenta(self._p)
            self._p = self.atoms.get_momenta()

    dynamics = Constrained(
        atoms,
        _time(settings.timestep_fs),
        temperature_K=settings.temperature_k,
        tdamp=_time(_given(settings.thermostat_time_fs)),
    )
    dynamics._thermostat = _chain(dynamics.masses, settings, dof, _given(settings.temperature_k))
    return dynamics


def mtk(atoms: Atoms, settings: MDSettings, dof: int) -> Any:
    """Constant pressure of Martyna, Tobias and Klein: the volume, the lengths of axes, or the whole cell."""
    from ase.md import nose_hoover_chain as ase_mtk

    kind = {"volume": ase_mtk.IsotropicMTKNPT, "full": ase_mtk.MTKNPT}.get(
        settings.cell or "", ase_mtk.MaskedMTKNPT
    )

    class StressFirst(kind):  # type: ignore[misc,valid-type]
        """Asks for the stress before the forces, so that one evaluation gives both; not of a cell that
        collapses, where there is no end of neighbours."""

        last_volume: float | None = None

        def _get_forces(self) -> np.ndarray:
            self._update_atoms()
            self.last_volume = _followed_volume(self.atoms, self.last_volume)
            self.atoms.get_stress()
            return np.array(self.atoms.get_forces(md=True))

    mask = {} if _mask(settings) is None else {"mask": _mask(settings)}
    dynamics = StressFirst(
        atoms,
        _time(settings.timestep_fs),
        temperature_K=settings.temperature_k,
        pressure_au=_given(settings.pressure_gpa) / GPA_PER_EV_A3,
        tdamp=_time(_given(settings.thermostat_time_fs)),
        pdamp=_time(_given(settings.barostat_time_fs)),
        **mask,
    )
    dynamics._thermostat = _chain(dynamics.masses, settings, dof, _given(settings.temperature_k))
    dynamics._barostat = _barostat(len(atoms), settings, _given(settings.temperature_k))
    return dynamics


def _followed_volume(atoms: Atoms, before: float | None) -> float:
    """Volume of the cell, Å³; BadStructureError where it is not near the one ``before``."""
    volume = float(abs(np.linalg.det(atoms.cell.array)))
    if before is not None and not 1 / LARGEST_SWELL < volume / before < LARGEST_SWELL:
        raise BadStructureError(
            f"The volume of the cell went from {before:.4g} to {volume:.4g} Å³ in one step.",
            hint="a barostat time of 1000 time steps is usual; relax the cell first",
        )
    return volume


def aim(
    dynamics: Any, settings: MDSettings, dof: int, temperature_k: float, pressure_gpa: float | None
) -> None:
    """Let thermostat and barostat aim at another temperature and pressure; the velocities of chains and cell
    stay, and their masses follow the temperature."""
    from ase import units

    if settings.thermostat in ("langevin", "baoab"):
        dynamics.set_temperature(temperature_K=temperature_k)
        return
    if settings.thermostat == "bussi":
        dynamics.temp = units.kB * temperature_k
        dynamics.target_kinetic_energy = 0.5 * dynamics.temp * dof
        return
    old = dynamics._thermostat
    dynamics._thermostat = _chain(dynamics.masses, settings, dof, temperature_k)
    dynamics._thermostat._eta[:] = old._eta
    dynamics._thermostat._p_eta[:] = old._p_eta * (dynamics._thermostat._Q / old._Q)
    if settings.ensemble != "npt":
        return
    old = dynamics._barostat
    new = dynamics._barostat = _barostat(len(dynamics.atoms), settings, temperature_k)
    new._xi[:] = old._xi
    new._p_xi[:] = old._p_xi * (new._R / old._R)
    momenta = CELL_MOMENTA.get(settings.cell or "", "_p_c")
    setattr(dynamics, momenta, getattr(dynamics, momenta) * (new.W / old.W))
    dynamics._temperature_K, dynamics._kT = temperature_k, units.kB * temperature_k
    dynamics._pressure_au = _given(pressure_gpa) / GPA_PER_EV_A3


def bath_energy(dynamics: Any, settings: MDSettings) -> float:
    """Energy that thermostat, barostat and pressure hold, eV.

    ASE's own sums ask for free energies, which many calculators do not have.
    """
    if settings.thermostat == "bussi":
        return -float(dynamics.transferred_energy)
    if settings.thermostat != "nose-hoover":
        return 0.0
    chain = float(dynamics._thermostat.get_thermostat_energy())
    if settings.ensemble == "nvt":
        return chain
    momenta = CELL_MOMENTA.get(settings.cell or "", "_p_c")
    cell = float(np.sum(getattr(dynamics, momenta) ** 2) / (2 * dynamics._barostat.W))
    work = float(dynamics._pressure_au * dynamics._get_volume())
    return chain + float(dynamics._barostat.get_barostat_energy()) + cell + work


def _chain(masses: np.ndarray, settings: MDSettings, dof: int, temperature_k: float) -> Any:
    """Chain of thermostats that counts ``dof`` degrees of freedom."""
    from ase.md.nose_hoover_chain import NoseHooverChainThermostat

    return NoseHooverChainThermostat(
        num_atoms_global=dof / 3,  # it counts 3 for each
        masses=masses,
        temperature_K=temperature_k,
        tdamp=_time(_given(settings.thermostat_time_fs)),
    )


def _barostat(n_atoms: int, settings: MDSettings, temperature_k: float) -> Any:
    """Barostat of the strains that the settings leave free."""
    from ase.md.nose_hoover_chain import IsotropicMTKBarostat, MTKBarostat

    given = dict(
        num_atoms_global=n_atoms,
        temperature_K=temperature_k,
        pdamp=_time(_given(settings.barostat_time_fs)),
    )
    if settings.cell == "volume":
        return IsotropicMTKBarostat(**given)
    barostat = MTKBarostat(**given, mask=_mask(settings))
    if settings.cell == "full":
        barostat._R[0] *= CELL_DOF / barostat._cell_dof
        barostat._cell_dof = CELL_DOF
    return barostat


def _mask(settings: MDSettings) -> np.ndarray | None:
    """Which axes change their length, shape (3,); None where not single axes do."""
    axes = AXES.get(settings.cell or "")
    return None if axes is None else np.array([axis in axes for axis in "abc"])


def _time(fs: float) -> float:
    """In ASE's unit."""
    from ase import units

    return float(fs * units.fs)


def _given(value: float | None) -> float:
    """A setting that the ensemble has."""
    assert value is not None
    return value
