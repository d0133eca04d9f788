"""What the thermal conductivity came out as: tables, phono3py's file, figures."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import JMPWarning
from ...io.atomic import replacing
from ...io.records import STATE
from ..common import output_path, write_frames
from .conductivity_settings import ConductivitySettings
from .glue import WARM_K, nearest

if TYPE_CHECKING:
    from ase import Atoms

COMPONENTS = ("xx", "yy", "zz", "yz", "xz", "xy")
DATA = ("phono3py_params.yaml", "kappa.dat", "cumulative.dat")
PLOTS = ("kappa.svg", "kappa.png", "cumulative.svg", "cumulative.png")
WRITTEN = (*DATA, "unitcell.extxyz", *PLOTS)
OUTPUTS = (*WRITTEN, STATE)


@dataclass(frozen=True, eq=False, repr=False)
class ConductivityResult:
    """Thermal conductivity of a crystal by its phonons."""

    atoms: Atoms
    """The structure whose atoms were displaced."""
    phono3py: Any
    """phono3py's object with all that it computed."""
    temperatures: np.ndarray
    """(T,) K."""
    kappa: np.ndarray
    """(T, 6) W/m/K: xx, yy, zz, yz, xz, xy."""
    frequencies_thz: np.ndarray
    """(n_qpoints, n_bands)."""
    mode_kappa: np.ndarray
    """(T, n_qpoints, n_bands, 6): parts of the modes, W/m/K times the number of points of the mesh."""
    n_third: int
    """Displaced supercells of the third order."""
    n_second: int
    """Displaced supercells of the second order; 0: they are among those of the third."""
    non_analytical: str
    fmax: float
    settings: ConductivitySettings

    def __repr__(self) -> str:
        row = nearest(self.temperatures, WARM_K)
        return (
            f"ConductivityResult({self.atoms.get_chemical_formula()!r}, {self.mean[row]:.4g} W/m/K at "
            f"{self.temperatures[row]:g} K, {self.settings.method})"
        )

    @property
    def mean(self) -> np.ndarray:
        """(T,) mean over the three directions, W/m/K: that of a powder without boundaries."""
        return np.asarray(self.kappa[:, :3].mean(axis=1))

    def cumulative(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        """Frequencies (n,) in THz, sorted, and the share (n,) of the mean conductivity at a temperature that
        modes up to each carry."""
        frequencies = self.frequencies_thz.ravel()
        order = np.argsort(frequencies, kind="stable")
        share = np.cumsum(self.mode_kappa[row, :, :, :3].sum(axis=-1).ravel()[order])
        return frequencies[order], share / share[-1]

    @property
    def largest_share(self) -> float:
        """Share of the mean conductivity that a single mode carries, at the temperature where it is
        largest; modes that are the same by symmetry count as one."""
        parts = self.mode_kappa[..., :3].sum(axis=-1)
        return float((parts.max(axis=(1, 2)) / parts.sum(axis=(1, 2))).max())

    def to_dict(self) -> dict[str, Any]:
        """Numbers for summary.yaml, units in the names."""
        row = nearest(self.temperatures, WARM_K)
        frequencies, share = self.cumulative(row)
        return {
            "temperature_k": float(self.temperatures[row]),
            "mean_w_per_m_k": float(self.mean[row]),
            "kappa_w_per_m_k": dict(zip(COMPONENTS, map(float, self.kappa[row]), strict=True)),
            "half_is_carried_below_thz": float(frequencies[np.searchsorted(share, 0.5)]),
            "largest_share_of_one_mode": self.largest_share,
            "method": self.settings.method,
            "mesh": np.asarray(self.phono3py.mesh_numbers).tolist(),
            "lowest_frequency_thz": float(self.frequencies_thz.min()),
            "highest_frequency_thz": float(self.frequencies_thz.max()),
            "n_displacements_third_order": self.n_third,
            "n_displacements_second_order": self.n_second,
            "supercell_matrix": self.phono3py.supercell_matrix.tolist(),
            "fc2_supercell_matrix": self._fc2_matrix(),
            "fmax_ev_per_a": self.fmax,
            "non_analytical_term": self.non_analytical,
            "temperatures_k": self.temperatures.tolist(),
            "means_w_per_m_k": self.mean.tolist(),
        }

    def _fc2_matrix(self) -> list[list[int]]:
        second = self.phono3py.phonon_supercell_matrix
        found = self.phono3py.supercell_matrix if second is None else second
        return [[int(n) for n in line] for line in found]

    def write(self, folder: str | os.PathLike[str], *, prefix: str = "", plot: bool = True) -> list[Path]:
        """Write phono3py's file, the tables, unitcell.extxyz and, if wanted, the figures; returns their
        paths."""
        paths = {name: output_path(folder, name, prefix) for name in WRITTEN}
        frequencies, share = self.cumulative(nearest(self.temperatures, WARM_K))
        tables = {
            "kappa.dat": (
                np.column_stack([self.temperatures, self.kappa]),
                f"temperature (K), thermal conductivity (W/m/K): {' '.join(COMPONENTS)}",
            ),
            "cumulative.dat": (
                np.column_stack([frequencies, share]),
                "frequency (THz), share of the mean thermal conductivity at the temperature next to 300 K",
            ),
        }
        writers: dict[str, Callable[[Path], Any]] = {"phono3py_params.yaml": self.phono3py.save}
        for name, (table, header) in tables.items():
            writers[name] = _table_writer(table, header)
        for name, writer in writers.items():
            with replacing(paths[name]) as temporary:
                writer(temporary)
        write_frames(paths["unitcell.extxyz"], [self.atoms])
        written = [path for name, path in paths.items() if name not in PLOTS]
        return written + (self.plot({name: paths[name] for name in PLOTS}) if plot else [])

    def plot(self, paths: dict[str, Path]) -> list[Path]:
        """Draw conductivity against temperature, and which frequencies carry it; without matplotlib a
        warning."""
        from ...io import plots, plots_lattice

        if not plots.available():
            text = "no figures: matplotlib is not installed (pip install jmp-calc[plot])"
            warnings.warn(text, JMPWarning, stacklevel=2)
            return []
        plots_lattice.plot_conductivity(
            self.temperatures, self._lines(), [paths["kappa.svg"], paths["kappa.png"]]
        )
        row = nearest(self.temperatures, WARM_K)
        plots_lattice.plot_cumulative(
            *self.cumulative(row),
            float(self.temperatures[row]),
            [paths["cumulative.svg"], paths["cumulative.png"]],
        )
        return [path for path in paths.values() if path.is_file()]

    def _lines(self) -> dict[str, np.ndarray]:
        """The directions that differ, by their names."""
        lines: dict[str, np.ndarray] = {}
        for component in range(3):
            values = self.kappa[:, component]
            same = next((name for name, line in lines.items() if np.allclose(line, values, rtol=1e-3)), None)
            name = COMPONENTS[component]
            if same is None:
                lines[name] = values
            else:
                lines[f"{same} = {name}"] = lines.pop(same)
        return lines


def _table_writer(table: np.ndarray, header: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        np.savetxt(path, table, fmt="%16.8f", header=header)

    return write
