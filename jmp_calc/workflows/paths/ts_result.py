"""What a search for a transition state came out as: the saddle, its mode, both sides, files and picture."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import JMPWarning, NotConvergedError
from ...io.atomic import replacing
from ...io.records import STATE
from ..common import output_path, write_frames
from ..vibrations.result import VibResult
from .ts_settings import TSSettings

if TYPE_CHECKING:
    from ase import Atoms

PLOTS = ("ts.svg", "ts.png")
WRITTEN = ("ts.extxyz", "path.extxyz", "ts.dat", "mode.extxyz", "ends.extxyz", *PLOTS)
OUTPUTS = (*WRITTEN, STATE)


@dataclass(frozen=True)
class TSStep:
    """One step of the search."""

    step: int
    energy_ev: float
    fmax: float
    """Largest force on an atom, after constraints, eV/Å."""


@dataclass(frozen=True, eq=False, repr=False)
class TSResult:
    """A transition state, or what was found instead of one. Energies in eV."""

    atoms: Atoms
    """The last structure, with energy and raw forces of the potential."""
    converged: bool
    """Whether its forces are below ``fmax``; says nothing of its order."""
    vibrations: VibResult | None
    """None: not converged, or not asked for."""
    ends: tuple[Atoms, ...]
    """Both sides, relaxed, with energy and forces; () where there is no imaginary mode, or not asked for."""
    scan: tuple[np.ndarray, np.ndarray] | None
    """Displacements (n,) of the atom that moves most along the imaginary mode, Å, and energies (n,) above the
    saddle, eV."""
    frames: tuple[Atoms, ...]
    """Every step with its energy and raw forces."""
    history: tuple[TSStep, ...]
    settings: TSSettings

    def __repr__(self) -> str:
        formula = self.atoms.get_chemical_formula()
        how = "converged" if self.converged else "not converged"
        text = f"TSResult({formula!r}, {how} after {self.n_steps} steps"
        if self.order is not None:
            text += f", {self.order} imaginary"
        barriers = "" if self.barrier_ev is None else f", barriers {self.barrier_ev:.4f} and "
        return f"{text}{barriers}{'' if self.barrier_ev is None else f'{self.barrier_back_ev:.4f} eV'})"

    @property
    def order(self) -> int | None:
        """Number of imaginary modes: 1 of a transition state; None: not known."""
        return None if self.vibrations is None else len(self.vibrations.imaginary_cm1)

    @property
    def is_saddle(self) -> bool:
        """Whether it is a transition state: converged, with exactly one imaginary mode."""
        return self.converged and self.order == 1

    @property
    def imaginary_cm1(self) -> np.ndarray:
        """(k,), negative, the worst first."""
        return np.zeros(0) if self.vibrations is None else self.vibrations.imaginary_cm1

    @property
    def energy_ev(self) -> float:
        """Of the last structure."""
        return self.history[-1].energy_ev

    @property
    def barrier_ev(self) -> float | None:
        """The saddle above the lower of its two sides."""
        return self._above(0)

    @property
    def barrier_back_ev(self) -> float | None:
        """The saddle above the higher of its two sides."""
        return self._above(1)

    def _above(self, side: int) -> float | None:
        if not self.ends:
            return None
        return self.energy_ev - float(self.ends[side].get_potential_energy(apply_constraint=False))

    @property
    def n_steps(self) -> int:
        """Steps of the search."""
        return self.history[-1].step

    def to_dict(self) -> dict[str, Any]:
        """Numbers for summary.yaml, units in the names."""
        return {
            "converged": self.converged,
            "n_steps": self.n_steps,
            "fmax_ev_per_a": self.history[-1].fmax,
            "energy_ev": self.energy_ev,
            "imaginary_modes": self.order,
            "is_transition_state": self.is_saddle if self.order is not None else None,
            "imaginary_cm1": [float(value) for value in self.imaginary_cm1],
            "barrier_ev": self.barrier_ev,
            "barrier_back_ev": self.barrier_back_ev,
            "lowest_cm1": [] if self.vibrations is None else self.vibrations.frequencies_cm1[:6].tolist(),
        }

    def write(self, folder: str | os.PathLike[str], *, prefix: str = "", plot: bool = True) -> list[Path]:
        """Write the files of ``WRITTEN`` that there is something for; returns their paths."""
        paths = {name: output_path(folder, name, prefix) for name in WRITTEN}
        frames = {"ts.extxyz": [self.atoms], "path.extxyz": self.frames, "ends.extxyz": self.ends}
        if self.vibrations is not None and len(self.imaginary_cm1):
            frames["mode.extxyz"] = self.vibrations.motion(0)
        for name, of in frames.items():
            if of:
                write_frames(paths[name], of)
        lines = ["# step  energy_eV  fmax_eV_per_A"]
        lines += [f"{one.step} {one.energy_ev:.8f} {one.fmax:.6f}" for one in self.history]
        with replacing(paths["ts.dat"]) as temporary:
            temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
        written = [paths[name] for name in WRITTEN if name == "ts.dat" or frames.get(name)]
        return written + (self.plot([paths[name] for name in PLOTS]) if plot else [])

    def plot(self, paths: list[Path]) -> list[Path]:
        """Draw the search and the energy along the mode; without matplotlib a warning and nothing else."""
        from ...io import plots, plots_motion

        if not plots.available():
            text = "no figures: matplotlib is not installed (pip install jmp-calc[plot])"
            warnings.warn(text, JMPWarning, stacklevel=2)
            return []
        steps = np.array([[one.step, one.energy_ev, one.fmax] for one in self.history])
        plots_motion.plot_saddle(steps, self.settings.fmax, self.scan, self.imaginary_cm1, paths)
        return [path for path in paths if path.is_file()]

    def require_saddle(self) -> None:
        """Raise NotConvergedError for forces above the limit, or another number of imaginary modes than
        one."""
        if not self.converged:
            raise NotConvergedError(
                f"Not converged after {self.n_steps} steps: largest force {self.history[-1].fmax:.3g} eV/Å, "
                f"wanted {self.settings.fmax:g}.",
                hint="--resume with more --steps goes on, or start from the highest image of a band",
            )
        if self.order not in (None, 1):
            raise NotConvergedError(
                f"This is no transition state: it has {self.order} imaginary modes instead of one.",
                hint="start from another guess, such as the highest image of a band (jmp-calc neb)",
            )
