"""What an equation of state came out as: volumes, energies, the curve, files and a figure."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import JMPWarning, NotConvergedError
from ...io.atomic import replacing
from ..common import output_path, write_frames
from .eos_fit import EosFit
from .eos_settings import EosForm, EosSettings

if TYPE_CHECKING:
    from ase import Atoms

PLOTS = ("eos.svg", "eos.png")
OUTPUTS = ("e-v.dat", "volumes.extxyz", *PLOTS)


@dataclass(frozen=True, eq=False, repr=False)
class EosResult:
    """Energies of a crystal at several volumes, and the curve through them."""

    frames: tuple[Atoms, ...]
    """The crystal at each volume, the smallest first, with energy, forces and, if there is one, stress."""
    volumes_a3: np.ndarray
    """(n_volumes,)"""
    energies_ev: np.ndarray
    """(n_volumes,)"""
    pressures_gpa: np.ndarray | None
    """(n_volumes,) from the stress; None: the calculator gives none."""
    fits: dict[EosForm, EosFit | None]
    """By form; None: that form finds no minimum."""
    space_groups: tuple[str | None, ...]
    """At each volume, within ``symprec``."""
    settings: EosSettings

    def __repr__(self) -> str:
        fit = self.fit
        formula = self.frames[0].get_chemical_formula()
        if fit is None:
            return f"<EosResult of {formula}: no minimum>"
        outside = "" if self.minimum_inside else ", outside the volumes computed"
        return (
            f"<EosResult of {formula}: bulk modulus {fit.bulk_modulus_gpa:.4g} GPa at "
            f"{fit.volume_a3:.4f} Å³{outside}>"
        )

    @property
    def fit(self) -> EosFit | None:
        """The curve of the form that was asked for."""
        return self.fits[self.settings.form]

    @property
    def minimum_inside(self) -> bool:
        """Whether the curve has its minimum between the volumes computed."""
        fit = self.fit
        return fit is not None and bool(self.volumes_a3[0] < fit.volume_a3 < self.volumes_a3[-1])

    @property
    def pressure_mismatch_gpa(self) -> float | None:
        """Largest difference between the pressures of the stress and of the curve, GPa."""
        if self.pressures_gpa is None or self.fit is None:
            return None
        return float(np.abs(self.pressures_gpa - self.fit.pressures_at(self.volumes_a3)).max())

    def to_dict(self) -> dict[str, Any]:
        """Numbers for summary.yaml, units in the names; of the cell as it was given."""
        n_atoms, fit = len(self.frames[0]), self.fit
        curve: dict[str, Any] = {"form": self.settings.form, "minimum_inside": self.minimum_inside}
        if fit is not None:
            curve |= {
                "volume_a3": fit.volume_a3,
                "volume_a3_per_atom": fit.volume_a3 / n_atoms,
                "volume_relative_to_the_structure": float(
                    self.settings.min_volume * fit.volume_a3 / self.volumes_a3[0]
                ),
                "energy_ev": fit.energy_ev,
                "bulk_modulus_gpa": fit.bulk_modulus_gpa,
                "bulk_modulus_derivative": fit.bulk_modulus_derivative,
                "residual_mev_per_atom": 1e3 * fit.residual_ev / n_atoms,
                "pressure_mismatch_gpa": self.pressure_mismatch_gpa,
            }
        return {
            **curve,
            "bulk_modulus_gpa_by_form": {
                form: None if other is None else other.bulk_modulus_gpa for form, other in self.fits.items()
            },
            "n_atoms": n_atoms,
            "volumes_a3": self.volumes_a3.tolist(),
            "energies_ev": self.energies_ev.tolist(),
            "pressures_gpa": None if self.pressures_gpa is None else self.pressures_gpa.tolist(),
            "space_groups": list(self.space_groups),
        }

    def require_minimum(self) -> None:
        """Raise NotConvergedError where the curve has no minimum among the volumes."""
        if self.minimum_inside:
            return
        fit, span = self.fit, f"{self.volumes_a3[0]:.3f} to {self.volumes_a3[-1]:.3f} Å³"
        fact = "The energies have no minimum that the curve could describe."
        if fit is not None:
            fact = f"The minimum of the curve, at {fit.volume_a3:.3f} Å³, is not among the volumes computed."
        raise NotConvergedError(
            fact,
            where=span,
            hint="relax the cell first (jmp-calc relax --opt-cell full), or move --min-volume and "
            "--max-volume",
        )

    def write(self, folder: str | os.PathLike[str], *, prefix: str = "", plot: bool = True) -> list[Path]:
        """Write e-v.dat, volumes.extxyz and, if wanted, the figure; returns their paths."""
        table, frames = (output_path(folder, name, prefix) for name in OUTPUTS[:2])
        rows = np.column_stack([self.volumes_a3, self.energies_ev])
        with replacing(table) as temporary:
            np.savetxt(temporary, rows, fmt="%.10f", header="cell volume (A^3)   energy (eV)")
        write_frames(frames, self.frames)
        return [table, frames, *(self.plot(folder, prefix=prefix) if plot else [])]

    def plot(self, folder: str | os.PathLike[str], *, prefix: str = "") -> list[Path]:
        """Draw energies and pressures against volumes; without matplotlib a warning and nothing else."""
        from ...io import plots

        if not plots.available():
            text = "no figures: matplotlib is not installed (pip install jmp-calc[plot])"
            warnings.warn(text, JMPWarning, stacklevel=2)
            return []
        paths = [output_path(folder, name, prefix) for name in PLOTS]
        n_atoms, fit = len(self.frames[0]), self.fit
        fine = np.linspace(self.volumes_a3[0], self.volumes_a3[-1], 200)
        curve = None if fit is None else (fine / n_atoms, fit.energies_at(fine), fit.pressures_at(fine))
        zero = float(self.energies_ev.min()) if fit is None else fit.energy_ev
        plots.plot_eos(
            self.volumes_a3 / n_atoms,
            1e3 * (self.energies_ev - zero) / n_atoms,
            self.pressures_gpa,
            None if curve is None else (curve[0], 1e3 * (curve[1] - zero) / n_atoms, curve[2]),
            paths,
        )
        return [path for path in paths if path.is_file()]
