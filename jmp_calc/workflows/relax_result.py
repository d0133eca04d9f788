"""What a relaxation came out as: the structure kept, how it got there, numbers and files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ClimbedError, NotConvergedError
from ..units import GPA_PER_EV_A3
from .common import output_path, write_frames
from .relax_cell import fills_space, free_strains
from .relax_settings import RelaxSettings

if TYPE_CHECKING:
    from ase import Atoms

OUTPUTS = ("opt.extxyz", "traj.extxyz", "opt.log")
CLIMB_EV_PER_ATOM, CLIMB_SHARE = 1e-5, 1e-7
"""An end this much above the start is rounding: per atom, and of the energy (single precision)."""


@dataclass(frozen=True, eq=False, repr=False)
class RelaxResult:
    """A relaxed structure and how it got there."""

    converged: bool
    """Forces (and free strains) below fmax, and not above the start in the objective."""
    atoms: Atoms
    """The structure kept, with the calculator: the converged one, else the one of lowest objective."""
    step: int
    """Its step."""
    energy_ev: float
    """Of the potential alone, as in the files; ``constraint_energy_ev`` comes on top."""
    constraint_energy_ev: float
    """Energy of springs and external forces among the constraints, eV."""
    fmax: float
    """Its largest force on an atom, after constraints, eV/Å."""
    worst_atom: int
    stress_gpa: tuple[float, ...] | None
    """Voigt-6, ASE's sign; None when the cell was not relaxed."""
    space_groups: tuple[str | None, str | None]
    """At the start and of the structure kept, within ``symprec``; None for what is no crystal."""
    n_steps: int
    objectives_ev: tuple[float, ...]
    """What the optimizer lowers, of every step: energy with constraints, and p·V of a free cell."""
    trajectory: tuple[Atoms, ...]
    """Every step with its energy, raw forces and, with a free cell, stress."""
    settings: RelaxSettings

    def __repr__(self) -> str:
        reached = f"{self.energy_ev:.6f} eV, largest force {self.fmax:.2g} eV/Å"
        how = "climbed" if self.climbed else "converged" if self.converged else "not converged"
        formula = self.atoms.get_chemical_formula()
        return f"<RelaxResult of {formula}: {how} after {self.n_steps} steps, {reached}>"

    @property
    def climb_ev(self) -> float:
        """How far above its start the last step is in the objective, eV; negative where it went down."""
        return self.objectives_ev[-1] - self.objectives_ev[0]

    @property
    def climbed(self) -> bool:
        """Whether the last step is above the start in the objective, by more than rounding."""
        rounding = max(CLIMB_EV_PER_ATOM * len(self.atoms), CLIMB_SHARE * abs(self.objectives_ev[0]))
        return self.climb_ev > rounding

    @property
    def pressure_gpa(self) -> float | None:
        """Pressure of the structure kept, GPa; None where no cell was relaxed, or one with vacuum."""
        if self.stress_gpa is None or not fills_space(self.atoms):
            return None
        return -float(np.mean(self.stress_gpa[:3]))

    def to_dict(self) -> dict[str, Any]:
        """Numbers for summary.yaml (units in the names; ``fmax`` in eV/Å)."""
        cell = self.atoms.cell
        return {
            "converged": self.converged,
            "n_steps": self.n_steps,
            "step_kept": self.step,
            "energy_ev": self.energy_ev,
            "constraint_energy_ev": self.constraint_energy_ev,
            "climbed": self.climbed,
            "objective_change_ev": self.objectives_ev[self.step] - self.objectives_ev[0],
            "fmax_ev_per_a": self.fmax,
            "worst_atom": self.worst_atom,
            "stress_gpa": self.stress_gpa,
            "pressure_gpa": self.pressure_gpa,
            "stress_left_gpa": self.stress_left_gpa,
            "space_group_start": self.space_groups[0],
            "space_group": self.space_groups[1],
            "cell_lengths_angles": [float(x) for x in cell.cellpar()] if cell.rank == 3 else None,
            "volume_a3": float(self.atoms.get_volume()) if cell.rank == 3 else None,
        }

    def write(self, folder: str | os.PathLike[str], *, prefix: str = "") -> list[Path]:
        """Write opt.extxyz and traj.extxyz; returns their paths."""
        paths = [output_path(folder, name, prefix) for name in OUTPUTS[:2]]
        write_frames(paths[0], [self.trajectory[self.step]])
        write_frames(paths[1], self.trajectory)
        return paths

    def require_converged(self) -> None:
        """Raise ClimbedError for an end above the start, or NotConvergedError with what was reached: forces
        and the worst atom, and the stress left in a free cell."""
        if self.climbed:
            raise ClimbedError(
                f"The relaxation went uphill: it ended {self.climb_ev:.3g} eV above its start.",
                where=f"after {self.n_steps} steps of {self.settings.optimizer}",
                hint=f"the structure of step {self.step}, the lowest, is kept; {self._way_down()}",
            )
        if self.converged:
            return
        wanted = self.settings.fmax
        fact = (
            f"Not converged after {self.n_steps} steps: largest force {self.fmax:.3g} eV/Å, wanted {wanted:g}"
        )
        where = f"atom {self.worst_atom} ({self.atoms.symbols[self.worst_atom]}) has the largest force"
        left = self.stress_left_gpa
        if left is not None:
            # ASE's cell filters hold the virial per atom against fmax.
            largest = wanted * len(self.atoms) / self.atoms.get_volume() * GPA_PER_EV_A3
            fact += f"; largest stress left {left:.3g} GPa, wanted about {largest:.2g}"
            if self.fmax <= wanted:
                where = "the forces on the atoms are small enough, the cell is not relaxed"
        hint = "continue from opt.extxyz, allow more steps, or accept it with --allow-unconverged"
        raise NotConvergedError(fact + ".", where=where, hint=hint)

    def _way_down(self) -> str:
        safe = self.settings.optimizer != "LBFGS"
        return "check that energy and forces belong together" if safe else "use optimizer BFGS or FIRE"

    @property
    def stress_left_gpa(self) -> float | None:
        """Largest stress, beside the pressure asked for, in the strains that may relax, GPa; None without a
        free cell."""
        if self.stress_gpa is None:
            return None
        left = np.array(self.stress_gpa) + self.settings.pressure_gpa * np.array([1, 1, 1, 0, 0, 0])
        if self.settings.cell == "volume":
            return float(abs(left[:3].mean()))
        if self.settings.cell == "shape":
            left[:3] -= left[:3].mean()
        return float(np.abs(left[free_strains(self.atoms, self.settings)]).max())
