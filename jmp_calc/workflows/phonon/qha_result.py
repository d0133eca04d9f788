"""What the quasi-harmonic approximation came out as: numbers, phonopy's files and figures."""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import JMPWarning, NotConvergedError
from ...io.atomic import replacing
from ...io.records import STATE
from ..common import output_path, write_frames
from .glue import WARM_K, nearest
from .gruneisen import ModeGruneisen
from .qha_settings import QhaSettings

if TYPE_CHECKING:
    from ase import Atoms

DATA = {
    "helmholtz-volume.dat": "write_helmholtz_volume",
    "volume-temperature.dat": "write_volume_temperature",
    "thermal_expansion.dat": "write_thermal_expansion",
    "gibbs-temperature.dat": "write_gibbs_temperature",
    "entropy-temperature.dat": "write_entropy_temperature",
    "enthalpy-temperature.dat": "write_enthalpy_temperature",
    "bulk_modulus-temperature.dat": "write_bulk_modulus_temperature",
    "gruneisen-temperature.dat": "write_gruneisen_temperature",
}
"""Files and phonopy's writers of them."""
CP_FILES = ("Cp-temperature.dat", "entropy-volume.dat", "Cv-volume.dat", "dsdv-temperature.dat")
MODES = ("gruneisen_mesh.yaml", "gruneisen_band.yaml")
PLOTS = ("qha.svg", "qha.png", "helmholtz.svg", "helmholtz.png", "gruneisen.svg", "gruneisen.png")
WRITTEN = (*DATA, *CP_FILES, *MODES, "e-v.dat", "volumes.extxyz", *PLOTS)
OUTPUTS = (*WRITTEN, STATE)


def _by_phonopy(writer: Callable[..., None], result: Any, path: Path) -> None:
    writer(result, filename=path)


@dataclass(frozen=True, eq=False, repr=False)
class QhaResult:
    """Free energies at several volumes, and what the minimum does with the temperature. Volumes, energies,
    entropies and heat capacities are of the primitive cell (``per``)."""

    frames: tuple[Atoms, ...]
    """The relaxed structures at the volumes, with their energies."""
    volumes_a3: np.ndarray
    """(n_volumes,) of the primitive cell."""
    energies_ev: np.ndarray
    """(n_volumes,) without vibrations."""
    lowest_thz: np.ndarray
    """(n_volumes,) lowest frequency on the mesh."""
    left_out_a3: tuple[float, ...]
    """Volumes that had imaginary modes and are no part of the rest."""
    temperatures: np.ndarray
    """(T,) K."""
    volume: np.ndarray
    """(T,) Å³."""
    thermal_expansion: np.ndarray
    """(T,) of the volume, 1/K."""
    bulk_modulus_gpa: np.ndarray
    """(T,)."""
    heat_capacity: np.ndarray
    """(T,) at constant pressure, J/K/mol."""
    entropy: np.ndarray
    """(T,) J/K/mol."""
    gibbs_ev: np.ndarray
    """(T,) eV."""
    gruneisen: np.ndarray
    """(T,) thermodynamic Grüneisen parameter."""
    lattice_a: np.ndarray | None
    """(T, 3) lengths of the cell vectors of the structure, Å; None: its angles may change with the volume."""
    modes: ModeGruneisen
    """Of the modes, at the volume next to that of the structure."""
    per: str
    """What one mole is of, such as "primitive cells Si2 (2 atoms)"."""
    non_analytical: str
    """What became of the non-analytical term, LO-TO splitting."""
    phonopy: Any
    """phonopy's QHAResult."""
    phonopy_gruneisen: Any
    """phonopy's PhonopyGruneisen."""
    settings: QhaSettings

    def __repr__(self) -> str:
        warm = nearest(self.temperatures, WARM_K)
        return (
            f"QhaResult({self.frames[0].get_chemical_formula()!r}, expansion "
            f"{1e6 * self.thermal_expansion[warm]:.3g} 1e-6/K and bulk modulus "
            f"{self.bulk_modulus_gpa[warm]:.4g} GPa at {self.temperatures[warm]:g} K)"
        )

    @property
    def trusted_to_k(self) -> float | None:
        """The highest temperature up to which the volume stays among those computed; None: it never is."""
        low, high = self.volumes_used.min(), self.volumes_used.max()
        outside = np.flatnonzero(~((self.volume >= low) & (self.volume <= high)))
        last = len(self.volume) if len(outside) == 0 else int(outside[0])
        return float(self.temperatures[last - 1]) if last else None

    @property
    def volumes_used(self) -> np.ndarray:
        """Volumes without imaginary modes, Å³."""
        return np.asarray([v for v in self.volumes_a3 if v not in self.left_out_a3])

    def to_dict(self) -> dict[str, Any]:
        """Numbers for summary.yaml, units in the names."""
        return {
            "per_mole_of": self.per,
            "trusted_to_k": self.trusted_to_k,
            "at_0_k": self._at(0),
            "at_300_k": self._at(nearest(self.temperatures, WARM_K)),
            "mode_gruneisen": self.modes.to_dict(),
            "volumes_a3": self.volumes_a3.tolist(),
            "energies_ev": self.energies_ev.tolist(),
            "lowest_frequencies_thz": self.lowest_thz.tolist(),
            "left_out_a3": list(self.left_out_a3),
            "non_analytical_term": self.non_analytical,
        }

    def _at(self, row: int) -> dict[str, Any]:
        lattice = None if self.lattice_a is None else self.lattice_a[row].tolist()
        return {
            "temperature_k": float(self.temperatures[row]),
            "volume_a3": float(self.volume[row]),
            "lattice_a": lattice,
            "thermal_expansion_1_per_k": float(self.thermal_expansion[row]),
            "bulk_modulus_gpa": float(self.bulk_modulus_gpa[row]),
            "heat_capacity_p_j_per_k_per_mol": float(self.heat_capacity[row]),
            "entropy_j_per_k_per_mol": float(self.entropy[row]),
            "gibbs_free_energy_ev": float(self.gibbs_ev[row]),
            "gruneisen": float(self.gruneisen[row]),
        }

    def require_trusted(self) -> None:
        """Raise NotConvergedError where the volume at 0 K already is none of those computed."""
        if self.trusted_to_k is None:
            raise NotConvergedError(
                f"At 0 K the volume of least free energy, {self.volume[0]:.4g} Å³, is not among those "
                f"computed, {self.volumes_used.min():.4g} to {self.volumes_used.max():.4g} Å³.",
                hint="relax the cell first (jmp-calc relax --opt-cell full), or change --min-volume and "
                "--max-volume",
            )

    def write(self, folder: str | os.PathLike[str], *, prefix: str = "", plot: bool = True) -> list[Path]:
        """Write phonopy's files, e-v.dat, the structures and, if wanted, the figures; returns their paths."""
        from phonopy.qha import output

        paths = {name: output_path(folder, name, prefix) for name in WRITTEN}
        writers: dict[str, Callable[[Path], None]] = {
            name: functools.partial(_by_phonopy, getattr(output, writer), self.phonopy)
            for name, writer in DATA.items()
        }
        writers["gruneisen_mesh.yaml"] = self.phonopy_gruneisen.write_yaml_mesh
        writers["gruneisen_band.yaml"] = self.phonopy_gruneisen.write_yaml_band_structure
        table = np.column_stack([self.volumes_a3, self.energies_ev])
        writers["e-v.dat"] = lambda path: np.savetxt(
            path, table, fmt="%20.10f", header="volume (A^3) and energy (eV) of the primitive cell"
        )
        for name, writer in writers.items():
            with replacing(paths[name]) as temporary:
                writer(temporary)
        with (
            replacing(paths[CP_FILES[0]]) as cp,
            replacing(paths[CP_FILES[1]]) as entropy,
            replacing(paths[CP_FILES[2]]) as cv,
            replacing(paths[CP_FILES[3]]) as slope,
        ):
            output.write_heat_capacity_P(self.phonopy, cp, entropy, cv, slope)
        write_frames(paths["volumes.extxyz"], list(self.frames))
        written = [path for name, path in paths.items() if name not in PLOTS]
        return written + (self.plot({name: paths[name] for name in PLOTS}) if plot else [])

    def plot(self, paths: dict[str, Path]) -> list[Path]:
        """Draw what the temperature does, the free energies and the modes; without matplotlib a warning."""
        from ...io import plots

        if not plots.available():
            text = "no figures: matplotlib is not installed (pip install jmp-calc[plot])"
            warnings.warn(text, JMPWarning, stacklevel=2)
            return []
        curves = {
            "volume (Å³)": self.volume,
            "expansion (10⁻⁶/K)": 1e6 * self.thermal_expansion,
            "bulk modulus (GPa)": self.bulk_modulus_gpa,
            "heat capacity at p (J/K/mol)": self.heat_capacity,
        }
        plots.plot_qha(self.temperatures, curves, [paths["qha.svg"], paths["qha.png"]])
        plots.plot_helmholtz(
            self.volumes_used,
            np.asarray(self.phonopy.helmholtz_volume),
            self.temperatures,
            (self.volume, self.gibbs_ev),
            [paths["helmholtz.svg"], paths["helmholtz.png"]],
        )
        modes = self.modes
        files = [paths["gruneisen.svg"], paths["gruneisen.png"]]
        plots.plot_gruneisen(modes.frequencies_thz, modes.gamma, modes.mean, files)
        return [path for path in paths.values() if path.is_file()]
