"""What a band came out as: barriers, the saddle, files and the picture."""

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
from .settings import NEBSettings
from .state import BandStep

if TYPE_CHECKING:
    from ase import Atoms

PLOTS = ("barrier.svg", "barrier.png")
STATE = "neb.npz"
OUTPUTS = ("band.extxyz", "saddle.extxyz", "neb.dat", "neb.log", STATE, *PLOTS)


@dataclass(frozen=True, eq=False, repr=False)
class NEBResult:
    """A band between two structures. Energies in eV."""

    images: tuple[Atoms, ...]
    """Ends included, with energy and raw forces of the potential."""
    converged: bool
    """Whether all forces on the inner images, springs included, are below ``fmax``."""
    fmax: float
    """The largest of them, eV/Å."""
    saddle: int
    """Number of the highest image, the ends included; with a climbing image it is at the saddle."""
    path_a: np.ndarray
    """Length of the path up to every image, (images,), Å in the space of all coordinates."""
    curve: tuple[np.ndarray, np.ndarray]
    """Lengths and energies above the first image, (m,), of a curve through energies and slopes."""
    history: tuple[BandStep, ...]
    settings: NEBSettings

    def __repr__(self) -> str:
        how = "converged" if self.converged else "not converged"
        barriers = f"barrier {self.barrier_ev:.4f} eV, back {self.barrier_back_ev:.4f} eV"
        formula = self.images[0].get_chemical_formula()
        return f"NEBResult({formula!r}, {how} after {self.n_steps} steps, {barriers})"

    @property
    def energies_ev(self) -> np.ndarray:
        """Of all images, (images,)."""
        return np.array([image.calc.results["energy"] for image in self.images])

    @property
    def barrier_ev(self) -> float:
        """Highest image above the first."""
        return float(self.energies_ev.max() - self.energies_ev[0])

    @property
    def barrier_back_ev(self) -> float:
        """Highest image above the last."""
        return float(self.energies_ev.max() - self.energies_ev[-1])

    @property
    def reaction_ev(self) -> float:
        """The last image above the first."""
        return float(self.energies_ev[-1] - self.energies_ev[0])

    @property
    def n_steps(self) -> int:
        """Steps of the optimizer, earlier runs of a resumed one counted in."""
        return self.history[-1].step

    @property
    def minima(self) -> tuple[int, ...]:
        """Inner images in a hollow of the path, deeper than 10 meV on both sides."""
        energies = self.energies_ev
        inner = range(1, len(energies) - 1)
        return tuple(
            i
            for i in inner
            if min(energies[:i].max(), energies[i + 1 :].max()) > energies[i] + 0.01
            and energies[i] <= min(energies[i - 1], energies[i + 1])
        )

    def to_dict(self) -> dict[str, Any]:
        """Numbers for summary.yaml, units in the names."""
        return {
            "converged": self.converged,
            "n_steps": self.n_steps,
            "fmax_ev_per_a": self.fmax,
            "barrier_ev": self.barrier_ev,
            "barrier_back_ev": self.barrier_back_ev,
            "reaction_energy_ev": self.reaction_ev,
            "curve_barrier_ev": float(self.curve[1].max()),
            "saddle_image": self.saddle,
            "climbing": self.history[-1].climbing,
            "intermediate_minima": list(self.minima),
            "energies_ev": [float(energy) for energy in self.energies_ev],
            "path_a": [float(length) for length in self.path_a],
        }

    def write(self, folder: str | os.PathLike[str], *, prefix: str = "", plot: bool = True) -> list[Path]:
        """Write band.extxyz, saddle.extxyz, neb.dat, neb.log and, if wanted, the figure; returns their
        paths."""
        paths = {name: output_path(folder, name, prefix) for name in OUTPUTS if name != STATE}
        write_frames(paths["band.extxyz"], self.images)
        write_frames(paths["saddle.extxyz"], [self.images[self.saddle]])
        above = self.energies_ev - self.energies_ev[0]
        rows = [f"{i} {x:.6f} {e:.8f}" for i, (x, e) in enumerate(zip(self.path_a, above, strict=True))]
        _write_lines(paths["neb.dat"], ["# image  path_A  energy_above_first_eV", *rows])
        log = ["# step  fmax_eV_per_A  barrier_eV  climbing", *(step.line for step in self.history)]
        _write_lines(paths["neb.log"], log)
        written = [path for name, path in paths.items() if name not in PLOTS]
        return written + (self.plot([paths[name] for name in PLOTS]) if plot else [])

    def plot(self, paths: list[Path]) -> list[Path]:
        """Draw the barrier; without matplotlib a warning and nothing else."""
        from ...io import plots

        if not plots.available():
            text = "no figures: matplotlib is not installed (pip install jmp-calc[plot])"
            warnings.warn(text, JMPWarning, stacklevel=2)
            return []
        plots.plot_barrier(self.path_a, self.energies_ev - self.energies_ev[0], self.curve, paths)
        return [path for path in paths if path.is_file()]

    def require_converged(self) -> None:
        """Raise NotConvergedError with what was reached."""
        if not self.converged:
            raise NotConvergedError(
                f"Not converged after {self.n_steps} steps: largest force {self.fmax:.3g} eV/Å, wanted "
                f"{self.settings.fmax:g}.",
                hint="go on with --resume and more --steps, or accept it with --allow-unconverged",
            )


def _write_lines(path: Path, lines: list[str]) -> None:
    with replacing(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
