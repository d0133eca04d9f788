"""What phonons came out as: numbers, phonopy's files and figures."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import JMPWarning, NotConvergedError
from ...io.records import STATE
from ..common import output_path, write_frames
from . import glue
from .follow import Followed
from .hessian_check import HessianCheck
from .motion import ThermalMotion
from .settings import PhononSettings
from .velocities import write_group_velocities

if TYPE_CHECKING:
    from ase import Atoms

PLOTS = ("band.svg", "band.png", "dos.svg", "dos.png", "thermal.svg", "thermal.png")
MOTION_PLOTS = ("displacements.svg", "displacements.png")


def outputs(settings: PhononSettings) -> tuple[str, ...]:
    """Names of the files that these settings give."""
    names = [*glue.files(settings), "unitcell.extxyz"]
    names += ["followed.extxyz"] if settings.follow_imaginary else []
    names += ["group_velocities.dat"] if settings.group_velocities else []
    names += ["b_factors.dat", *MOTION_PLOTS] if settings.thermal_displacements else []
    return (*names, *PLOTS, STATE)


OUTPUTS = outputs(
    PhononSettings(pdos=True, thermal_displacements=True, group_velocities=True, follow_imaginary=True)
)
"""Names of all files that a run may write."""


@dataclass(frozen=True)
class ImaginaryMode:
    """One unstable mode (negative frequency means imaginary)."""

    frequency_thz: float
    qpoint: tuple[float, float, float]
    """Fractions of the primitive reciprocal vectors."""
    label: str
    """Name of the high-symmetry point, or "" elsewhere."""
    band: int
    acoustic_near_gamma: bool
    """Near Γ and among the three lowest: noise of the sum rule or a small supercell, more often than an
    instability."""


@dataclass(frozen=True, eq=False, repr=False)
class PhononResult:
    """Phonons of a crystal, layer or wire. Frequencies in THz, imaginary ones negative."""

    atoms: Atoms
    """The relaxed unit cell."""
    phonopy: Any
    """phonopy's own object, for everything that is not here."""
    frequencies_thz: np.ndarray
    """Along the band path, shape (n_qpoints, n_bands)."""
    qpoints: np.ndarray
    """Of the path, shape (n_qpoints, 3), fractions of the primitive reciprocal vectors."""
    band_path: str
    """Who gave the path: seekpath, ase or given."""
    periodic: tuple[bool, bool, bool]
    """Directions of the cell in which waves run: three of a crystal, two of a layer, one of a wire."""
    lowest_thz: float
    imaginary: tuple[ImaginaryMode, ...]
    """The worst ones, at most ten."""
    excluded_share: float
    """Share of the modes on the mesh left out of the thermal properties because they are imaginary."""
    thermal: dict[str, np.ndarray]
    """temperatures (K), free_energy (kJ/mol), entropy and heat_capacity (J/K/mol), per mole of primitive
    cells, see ``thermal_per``."""
    dos: tuple[np.ndarray, np.ndarray]
    """Frequencies (n,) in THz, and states per THz and primitive cell (n,)."""
    projected_dos: np.ndarray | None
    """(atoms of the primitive cell, n) at the frequencies of ``dos``, states per THz; None: not asked for."""
    thermal_motion: ThermalMotion | None
    """Thermal displacements and B-factors; None: not asked for."""
    group_velocities_km_s: np.ndarray | None
    """Along the path, Cartesian, shape (n_qpoints, n_bands, 3); None: not asked for."""
    hessian: HessianCheck | None
    """Where it was asked for."""
    followed: Followed | None
    """Where the worst imaginary mode leads; None: not asked for, or no such mode fits the supercell."""
    non_analytical: str
    """What became of the non-analytical term, which splits LO from TO at Γ."""
    missed_share: float | None
    """Share of the forces of random displacements that the fitted force constants do not give; None: one atom
    was displaced at a time."""
    n_displacements: int
    n_supercell_atoms: int
    space_group: str
    fmax: float
    """Largest force in the unit cell, eV/Å."""
    stress_gpa: tuple[float, ...] | None
    """Stress left in the unit cell along its periodic directions, Voigt-6, ASE's sign; of layers and wires
    that of their own volume. None: the calculator gives none."""
    settings: PhononSettings

    def __repr__(self) -> str:
        unstable = f"{len(self.imaginary)} imaginary modes" if self.imaginary else "no imaginary modes"
        span = f"{self.lowest_thz:z.3f} to {self.frequencies_thz.max():.3f} THz"
        name = f"{self.atoms.get_chemical_formula()!r}, {self.space_group}"
        return f"PhononResult({name}, {span}, {unstable}, thermal per mole of {self.thermal_per})"

    @property
    def thermal_per(self) -> str:
        """What the thermal properties are of: the primitive cell with its atoms, such as "Si2 (2 atoms)"."""
        return glue.per_primitive(self.phonopy)

    def to_dict(self) -> dict[str, Any]:
        """Numbers for summary.yaml, units in the names."""
        return {
            "lowest_frequency_thz": self.lowest_thz,
            "highest_frequency_thz": float(self.frequencies_thz.max()),
            "imaginary_modes": [mode.__dict__ for mode in self.imaginary],
            "share_excluded_from_thermal": self.excluded_share,
            "band_path": self.band_path,
            "periodic": list(self.periodic),
            "space_group": self.space_group,
            "n_displacements": self.n_displacements,
            "n_supercell_atoms": self.n_supercell_atoms,
            "fmax_ev_per_a": self.fmax,
            "stress_gpa": self.stress_gpa,
            "supercell_matrix": self.phonopy.supercell_matrix.tolist(),
            "mesh": np.asarray(self.phonopy.mesh.mesh_numbers).tolist(),
            "thermal": self._thermal_dict(),
            "non_analytical_term": self.non_analytical,
            **({} if self.hessian is None else {"hessian_check": self.hessian.to_dict()}),
            **({} if self.followed is None else {"followed": self.followed.to_dict()}),
            **({} if self.thermal_motion is None else {"thermal_motion": self.thermal_motion.to_dict()}),
            "protocol": {
                "fc_symmetry": self.settings.fc_symmetry,
                "displacement_a": self.settings.displacement,
                "random_displacements": self.settings.random_displacements,
                "share_of_forces_missed": self.missed_share,
            },
        }

    def _thermal_dict(self) -> dict[str, Any]:
        """Zero-point energy, and the thermal properties at the temperature next to 300 K."""
        kelvin = self.thermal["temperatures"]
        warm = glue.nearest(kelvin, glue.WARM_K)
        return {
            "per_mole_of": self.thermal_per,
            "n_atoms": len(self.phonopy.primitive.numbers),
            "zero_point_energy_kj_per_mol": float(self.phonopy.thermal_properties.zero_point_energy),
            "temperature_k": float(kelvin[warm]),
            "free_energy_kj_per_mol": float(self.thermal["free_energy"][warm]),
            "entropy_j_per_k_per_mol": float(self.thermal["entropy"][warm]),
            "heat_capacity_j_per_k_per_mol": float(self.thermal["heat_capacity"][warm]),
        }

    def write(self, folder: str | os.PathLike[str], *, prefix: str = "", plot: bool = True) -> list[Path]:
        """Write phonopy's files, unitcell.extxyz and, if wanted, the figures; returns their paths."""
        names = [name for name in outputs(self.settings) if name != STATE]
        paths = {name: output_path(folder, name, prefix) for name in names}
        glue.write_files(self.phonopy, {name: paths[name] for name in glue.files(self.settings)})
        write_frames(paths["unitcell.extxyz"], [self.atoms])
        if self.followed is not None:
            write_frames(paths["followed.extxyz"], [self.followed.atoms])
        if self.group_velocities_km_s is not None:
            write_group_velocities(paths["group_velocities.dat"], self.phonopy, self.group_velocities_km_s)
        if self.thermal_motion is not None:
            self.thermal_motion.write(paths["b_factors.dat"])
        drawn = {name: path for name, path in paths.items() if name in (*PLOTS, *MOTION_PLOTS)}
        written = [path for name, path in paths.items() if name not in drawn and path.is_file()]
        return written + (self.plot(drawn) if plot else [])

    def plot(self, paths: dict[str, Path]) -> list[Path]:
        """Draw bands, DOS, thermal properties and displacements; without matplotlib a warning and nothing
        else."""
        from ...io import plots

        if not plots.available():
            text = "no figures: matplotlib is not installed (pip install jmp-calc[plot])"
            warnings.warn(text, JMPWarning, stacklevel=2)
            return []
        bands = self.phonopy.band_structure
        plots.plot_bands(
            bands.distances,
            bands.frequencies,
            bands.labels,
            bands.path_connections,
            [paths["band.svg"], paths["band.png"]],
            unit=self.settings.frequency_unit,
        )
        plots.plot_dos(
            *self.dos,
            [paths["dos.svg"], paths["dos.png"]],
            parts=self._dos_by_kind(),
            unit=self.settings.frequency_unit,
        )
        plots.plot_thermal(self.thermal, self.thermal_per, [paths["thermal.svg"], paths["thermal.png"]])
        if self.thermal_motion is not None:
            motion = self.thermal_motion
            plots.plot_b_factors(
                motion.temperatures, motion.b_factors, motion.symbols, [paths[name] for name in MOTION_PLOTS]
            )
        return [path for path in paths.values() if path.is_file()]

    def _dos_by_kind(self) -> dict[str, np.ndarray]:
        """Projected density of states (n,) summed over the atoms of each kind; empty: not asked for."""
        parts: dict[str, np.ndarray] = {}
        if self.projected_dos is not None:
            for symbol, part in zip(self.phonopy.primitive.symbols, self.projected_dos, strict=True):
                parts[symbol] = parts.get(symbol, 0.0) + part
        return parts

    def require_stable(self) -> None:
        """Raise NotConvergedError that names the worst imaginary mode."""
        if self.imaginary:
            raise NotConvergedError(
                f"Imaginary modes: {describe(self.imaginary[0])}.",
                where=f"{len(self.imaginary)} mode(s) in summary.yaml",
                hint="try a larger supercell, a tighter relaxation with the cell, or accept a real "
                "instability",
            )


def describe(mode: ImaginaryMode) -> str:
    """One mode in words."""
    place = f" ({mode.label})" if mode.label else ""
    q = ", ".join(f"{x:.4g}" for x in mode.qpoint)
    return f"{mode.frequency_thz:.3f} THz at q = ({q}){place}, band {mode.band}"
