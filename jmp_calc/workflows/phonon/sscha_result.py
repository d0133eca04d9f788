"""What phonons at a temperature came out as: numbers, phonopy's files and figures."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import JMPWarning, NotConvergedError
from ...io.atomic import replacing
from ...io.records import STATE
from ..common import output_path, write_frames
from .sscha_settings import SschaSettings

if TYPE_CHECKING:
    from ase import Atoms

DATA = ("phonopy_params.yaml", "band.yaml", "band_at_rest.yaml", "total_dos.dat", "iterations.dat")
PLOTS = ("band.svg", "band.png", "iterations.svg", "iterations.png")
WRITTEN = (*DATA, "unitcell.extxyz", *PLOTS)
OUTPUTS = (*WRITTEN, STATE)
FAR = 4.0
"""Standard errors: an averaged free energy that is farther from the mean is still on its way."""


@dataclass(frozen=True)
class Iteration:
    """Free energy of the force constants that an iteration drew its displacements from; eV per primitive
    cell, above the structure at rest."""

    number: int
    free_energy_ev: float
    error_ev: float
    """Standard error of the mean over the displaced supercells."""
    harmonic_ev: float
    """Part that follows from the frequencies."""
    anharmonic_ev: float
    """Mean of what the energies have more than the force constants say."""


@dataclass(frozen=True, eq=False, repr=False)
class SschaResult:
    """Phonons at a temperature. Frequencies in THz, imaginary ones negative."""

    atoms: Atoms
    """The structure, with its energy and forces at rest."""
    phonopy: Any
    """phonopy's object with the averaged force constants, bands and density of states."""
    phonopy_at_rest: Any
    """The same of the atoms at rest: the harmonic phonons."""
    band_path: str
    """Where the path comes from: seekpath, ase or given."""
    steps: tuple[Iteration, ...]
    drift_thz: float
    """Largest difference along the path between the frequencies of the first and of the second half of the
    averaged iterations."""
    static_energy_ev: float
    """Of the structure at rest, eV per primitive cell."""
    harmonic_free_energy_ev: float
    """Of the phonons at rest, at the temperature; without imaginary modes, eV per primitive cell."""
    per: str
    """What the energies are of, such as "primitive cells Si2 (2 atoms)"."""
    non_analytical: str
    fmax: float
    settings: SschaSettings

    def __repr__(self) -> str:
        kelvin, formula = self.settings.temperature_k, self.atoms.get_chemical_formula()
        how = "converged" if self.converged else "not converged"
        return (
            f"SschaResult({formula!r}, {kelvin:g} K, lowest frequency {self.lowest_thz:z.3f} THz, "
            f"{self.lowest_at_rest_thz:z.3f} THz at rest, {how})"
        )

    @property
    def frequencies_thz(self) -> np.ndarray:
        """(n_qpoints, n_bands) along the path, at the temperature."""
        return np.concatenate(self.phonopy.band_structure.frequencies)

    @property
    def harmonic_thz(self) -> np.ndarray:
        """(n_qpoints, n_bands) along the path, of the atoms at rest."""
        return np.concatenate(self.phonopy_at_rest.band_structure.frequencies)

    @property
    def lowest_thz(self) -> float:
        """Lowest frequency at the temperature, on path and mesh."""
        return float(min(self.frequencies_thz.min(), self.phonopy.mesh.frequencies.min()))

    @property
    def lowest_at_rest_thz(self) -> float:
        """Lowest frequency of the atoms at rest, on path and mesh."""
        return float(min(self.harmonic_thz.min(), self.phonopy_at_rest.mesh.frequencies.min()))

    @property
    def averaged(self) -> tuple[Iteration, ...]:
        """The iterations after the transient."""
        return self.steps[self.settings.transient :]

    @property
    def free_energy_ev(self) -> float:
        """At the temperature, above the structure at rest, eV per primitive cell."""
        return float(np.mean([step.free_energy_ev for step in self.averaged]))

    @property
    def free_energy_error_ev(self) -> float:
        """Standard error of the free energy: that of draws that do not depend on each other."""
        errors = np.array([step.error_ev for step in self.averaged])
        return float(np.sqrt(np.square(errors).sum()) / len(errors))

    @property
    def farthest(self) -> float:
        """Largest distance of an averaged free energy from the mean, in its own standard errors."""
        return max(
            abs(step.free_energy_ev - self.free_energy_ev) / max(step.error_ev, 1e-12)
            for step in self.averaged
        )

    @property
    def converged(self) -> bool:
        """Whether frequencies and free energies of the averaged iterations only scatter."""
        return self.drift_thz <= self.settings.tolerance_thz and self.farthest <= FAR

    def require_converged(self) -> None:
        """Raise NotConvergedError where the averaged iterations are still on their way."""
        if not self.converged:
            raise NotConvergedError(
                "The phonons have not settled: the halves of the averaged iterations differ by "
                f"{self.drift_thz:.2g} THz (wanted {self.settings.tolerance_thz:g}), and the farthest free "
                f"energy is {self.farthest:.2g} standard errors from the mean.",
                hint="--resume with more --iterations and a larger --transient, or more --snapshots",
            )

    def to_dict(self) -> dict[str, Any]:
        """Numbers for summary.yaml, units in the names."""
        return {
            "temperature_k": self.settings.temperature_k,
            "converged": self.converged,
            "drift_thz": self.drift_thz,
            "farthest_free_energy_standard_errors": self.farthest,
            "lowest_frequency_thz": self.lowest_thz,
            "lowest_frequency_at_rest_thz": self.lowest_at_rest_thz,
            "highest_frequency_thz": float(self.frequencies_thz.max()),
            "highest_frequency_at_rest_thz": float(self.harmonic_thz.max()),
            "energies_are_per": self.per,
            "free_energy_ev": self.free_energy_ev,
            "free_energy_error_ev": self.free_energy_error_ev,
            "harmonic_free_energy_ev": self.harmonic_free_energy_ev,
            "static_energy_ev": self.static_energy_ev,
            "band_path": self.band_path,
            "supercell_matrix": self.phonopy.supercell_matrix.tolist(),
            "n_supercell_atoms": len(self.phonopy.supercell),
            "n_force_calculations": self.settings.iterations * self.settings.snapshots,
            "fmax_ev_per_a": self.fmax,
            "non_analytical_term": self.non_analytical,
            "iterations": [asdict(step) for step in self.steps],
        }

    def write(self, folder: str | os.PathLike[str], *, prefix: str = "", plot: bool = True) -> list[Path]:
        """Write phonopy's files, iterations.dat, unitcell.extxyz and, if wanted, the figures; returns their
        paths."""
        paths = {name: output_path(folder, name, prefix) for name in WRITTEN}
        parts = {"force_sets": False, "displacements": False, "force_constants": True}
        writers: dict[str, Callable[[str], Any]] = {
            "phonopy_params.yaml": lambda path: self.phonopy.save(path, settings=parts),
            "band.yaml": lambda path: self.phonopy.write_yaml_band_structure(filename=path),
            "band_at_rest.yaml": lambda path: self.phonopy_at_rest.write_yaml_band_structure(filename=path),
            "total_dos.dat": self.phonopy.write_total_dos,
            "iterations.dat": self._write_iterations,
        }
        for name, writer in writers.items():
            with replacing(paths[name]) as temporary:
                writer(str(temporary))
        write_frames(paths["unitcell.extxyz"], [self.atoms])
        written = [path for name, path in paths.items() if name not in PLOTS]
        return written + (self.plot({name: paths[name] for name in PLOTS}) if plot else [])

    def _write_iterations(self, path: str) -> None:
        table = [list(asdict(step).values()) for step in self.steps]
        header = "iteration, free energy (eV per primitive cell), its error, harmonic and anharmonic part"
        np.savetxt(path, np.array(table), fmt=["%5d", *["%16.9f"] * 4], header=header)

    def plot(self, paths: dict[str, Path]) -> list[Path]:
        """Draw bands and iterations; without matplotlib a warning and nothing else."""
        from ...io import plots, plots_lattice

        if not plots.available():
            text = "no figures: matplotlib is not installed (pip install jmp-calc[plot])"
            warnings.warn(text, JMPWarning, stacklevel=2)
            return []
        bands = self.phonopy.band_structure
        plots_lattice.plot_two_bands(
            bands.distances,
            {
                "at rest": self.phonopy_at_rest.band_structure.frequencies,
                f"at {self.settings.temperature_k:g} K": bands.frequencies,
            },
            (bands.labels, bands.path_connections),
            [paths["band.svg"], paths["band.png"]],
            unit=self.settings.frequency_unit,
        )
        plots_lattice.plot_iterations(
            np.array([step.free_energy_ev for step in self.steps]),
            np.array([step.error_ev for step in self.steps]),
            self.settings.transient,
            [paths["iterations.svg"], paths["iterations.png"]],
        )
        return [path for path in paths.values() if path.is_file()]
