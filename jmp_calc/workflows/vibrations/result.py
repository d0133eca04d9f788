"""What vibrations came out as: numbers, files and the picture of the spectrum."""

from __future__ import annotations

import os
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ...errors import JMPWarning, NotConvergedError
from ...hessian import Hessian
from ...io.atomic import replacing
from ...units import CM1_PER_EV, THZ_PER_EV
from ..common import output_path, write_frames
from .modes import NormalModes
from .settings import VibSettings
from .thermo import Thermo

if TYPE_CHECKING:
    from ase import Atoms
    from ase.vibrations import VibrationsData

PLOTS = ("spectrum.svg", "spectrum.png")
INFRARED_PLOTS = ("infrared.svg", "infrared.png")
OUTPUTS = (
    *("frequencies.dat", "thermo.dat", "modes.extxyz", "structure.extxyz", "vibrations.json"),
    *PLOTS,
    *INFRARED_PLOTS,
)
FRAMES, SWING_A = 16, 0.3
"""Frames of one period in modes.extxyz, and how far the atom that moves most goes, Å."""


@dataclass(frozen=True, eq=False, repr=False)
class VibResult:
    """Vibrations of a structure. Imaginary frequencies are negative."""

    atoms: Atoms
    """The structure that vibrates, with its energy and raw forces."""
    hessian: Hessian
    """Of the atoms that vibrate, eV/Å²; ``asymmetry`` before it was symmetrised."""
    method: Literal["autograd", "finite"]
    modes: NormalModes
    """Frequencies in cm⁻¹ and displacements, without translations and rotations."""
    thermo: tuple[Thermo, ...]
    """One for each temperature; empty where none was asked for."""
    symmetry_number: int | None
    """None: no molecule that turns freely, or a single atom."""
    fmax: float
    """Largest force in the structure, after constraints, eV/Å."""
    settings: VibSettings
    infrared_km_per_mol: np.ndarray | None = None
    """(m,) infrared intensities; None: nothing gives dipoles, or the structure has none."""

    def __repr__(self) -> str:
        return f"VibResult({self.atoms.get_chemical_formula()!r}, {self.words})"

    @property
    def words(self) -> str:
        """How many modes from where to where, and how many of them are imaginary."""
        cm1 = self.frequencies_cm1
        if not len(cm1):
            return "no vibrations"
        span = f"{len(cm1)} modes from {cm1.min():z.1f} to {cm1.max():.1f} cm-1"
        if len(cm1) == 1:
            span = f"one mode at {cm1[0]:z.1f} cm-1"
        return f"{span}, {len(self.imaginary_cm1) or 'none'} imaginary"

    @property
    def frequencies_cm1(self) -> np.ndarray:
        """(m,), from the lowest."""
        return self.modes.frequencies_cm1

    @property
    def imaginary_cm1(self) -> np.ndarray:
        """Those below minus the tolerance, (k,), the worst first."""
        return self.frequencies_cm1[self.frequencies_cm1 < -self.settings.tolerance_cm1]

    @property
    def energy_ev(self) -> float:
        """Of the potential, without the zero point."""
        return float(self.atoms.get_potential_energy(apply_constraint=False))

    @property
    def zero_point_ev(self) -> float:
        """Half a quantum of every mode that is not imaginary."""
        return 0.5 * float(self.frequencies_cm1[self.frequencies_cm1 > 0].sum()) / CM1_PER_EV

    def data(self) -> VibrationsData:
        """The Hessian as ASE's VibrationsData, which has densities of states, mode vectors and more."""
        from ase.vibrations import VibrationsData

        return VibrationsData(self.atoms, self.hessian.matrix, indices=self.hessian.indices)

    def to_dict(self) -> dict[str, Any]:
        """Numbers for summary.yaml, units in the names."""
        return {
            "frequencies_cm1": [float(value) for value in self.frequencies_cm1],
            "imaginary_cm1": [float(value) for value in self.imaginary_cm1],
            "translations_cm1": [float(value) for value in self.modes.translations_cm1],
            "rotations_cm1": [float(value) for value in self.modes.rotations_cm1],
            "hessian": {
                "method": self.method,
                "n_atoms": len(self.hessian.indices),
                "asymmetry_ev_per_a2": self.hessian.asymmetry,
                "largest_element_ev_per_a2": float(np.abs(self.hessian.matrix).max()),
            },
            "energy_ev": self.energy_ev,
            "zero_point_energy_ev": self.zero_point_ev,
            "infrared_km_per_mol": self.infrared_km_per_mol,
            "symmetry_number": self.symmetry_number,
            "thermo": [asdict(one) for one in self.thermo],
            "fmax_ev_per_a": self.fmax,
        }

    def write(self, folder: str | os.PathLike[str], *, prefix: str = "", plot: bool = True) -> list[Path]:
        """Write the files of ``OUTPUTS``; returns the paths of those that were written."""
        paths = {name: output_path(folder, name, prefix) for name in OUTPUTS}
        written = [paths["frequencies.dat"], paths["structure.extxyz"], paths["vibrations.json"]]
        self._write_frequencies(paths["frequencies.dat"])
        write_frames(paths["structure.extxyz"], [self.atoms])
        with replacing(paths["vibrations.json"]) as temporary:
            self.data().write(temporary)
        if self.thermo:
            self._write_thermo(paths["thermo.dat"])
            written.append(paths["thermo.dat"])
        frames = [frame for mode in range(self._animated) for frame in self.motion(mode)]
        if frames:
            write_frames(paths["modes.extxyz"], frames)
            written.append(paths["modes.extxyz"])
        return written + (self.plot([paths[name] for name in (*PLOTS, *INFRARED_PLOTS)]) if plot else [])

    @property
    def _animated(self) -> int:
        return min(self.settings.animate, len(self.frequencies_cm1))

    def motion(self, mode: int) -> list[Atoms]:
        """One period of a mode, counted from 0, as frames; ``mode`` is also their column of vectors, Å."""
        vectors = np.zeros((len(self.atoms), 3))
        vectors[self.hessian.indices] = SWING_A * self.modes.displacements[mode]
        frames = []
        for step in range(FRAMES):
            frame = self.atoms.copy()
            frame.calc = None
            frame.positions += vectors * np.sin(2 * np.pi * step / FRAMES)
            frame.set_array("mode", vectors)
            frame.info = {"mode": mode + 1, "frequency_cm1": float(self.frequencies_cm1[mode]), "step": step}
            frames.append(frame)
        return frames

    def _write_frequencies(self, path: Path) -> None:
        external = [("translation", x) for x in self.modes.translations_cm1]
        external += [("rotation", x) for x in self.modes.rotations_cm1]
        light = self.infrared_km_per_mol
        column = "" if light is None else "  infrared_km_per_mol"
        lines = [
            f"# mode  kind  cm-1  THz  meV  reduced_mass_amu{column}; imaginary frequencies are negative"
        ]
        for kind, cm1 in external:
            lines.append(f"0 {kind:<11} {_in_units(cm1)} -{'' if light is None else ' -'}")
        for number, (cm1, mass) in enumerate(zip(self.frequencies_cm1, self.modes.reduced_masses), start=1):
            kind = "imaginary" if cm1 < -self.settings.tolerance_cm1 else "vibration"
            strength = "" if light is None else f" {light[number - 1]:.5f}"
            lines.append(f"{number} {kind:<11} {_in_units(cm1)} {mass:.5f}{strength}")
        with replacing(path) as temporary:
            temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def _write_thermo(self, path: Path) -> None:
        first = self.thermo[0]
        names = [name for name, value in asdict(first).items() if isinstance(value, float)]
        lines = [f"# {first.model}: {'  '.join(names)}"]
        lines += [" ".join(f"{asdict(one)[name]:.10g}" for name in names) for one in self.thermo]
        with replacing(path) as temporary:
            temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def plot(self, paths: list[Path]) -> list[Path]:
        """Draw the spectrum and, where there are intensities, that of infrared light, into paths named so;
        without matplotlib a warning and nothing else."""
        from ...io import plots, plots_motion

        if not plots.available():
            text = "no figures: matplotlib is not installed (pip install jmp-calc[plot])"
            warnings.warn(text, JMPWarning, stacklevel=2)
            return []
        if not len(self.frequencies_cm1):
            return []
        light = [path for path in paths if path.name.endswith(INFRARED_PLOTS)]
        plots.plot_spectrum(self.frequencies_cm1, [path for path in paths if path not in light])
        if self.infrared_km_per_mol is not None and light:
            plots_motion.plot_infrared(self.frequencies_cm1, self.infrared_km_per_mol, light)
        return [path for path in paths if path.is_file()]

    def require_stable(self) -> None:
        """Raise NotConvergedError that names the worst imaginary mode."""
        if len(self.imaginary_cm1):
            raise NotConvergedError(
                f"Imaginary modes: the worst has {self.imaginary_cm1[0]:.1f} cm-1.",
                where=f"{len(self.imaginary_cm1)} mode(s) in frequencies.dat",
                hint="follow it: displace the structure along the mode (modes.extxyz) and relax again",
            )


def _in_units(cm1: float) -> str:
    energy = cm1 / CM1_PER_EV
    return f"{cm1:11.4f} {energy * THZ_PER_EV:10.5f} {1000 * energy:10.5f}"
