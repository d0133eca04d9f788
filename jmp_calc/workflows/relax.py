"""Relax positions and, on request, the cell, with ASE's optimizers and any ASE calculator.

result = relax(atoms, cell="full", fmax=0.01)
result.converged, result.atoms, result.fmax

The objective is what the optimizer lowers: the energy, with the springs of constraints and, for a cell under
pressure, with p·V. A relaxation that ends above its start in it has not relaxed anything, however small the
forces are: an optimizer without line search can end at a maximum.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import BadInputError, ClimbedError, GuardError, JMPWarning, NotConvergedError, UsageError
from ..io.outdir import claimed, with_prefix
from ..io.progress import Progress
from ..machine.signals import Interrupted, deferred_signals
from ..units import GPA_PER_EV_A3
from .common import (
    constraint_energy,
    moves,
    output_path,
    snapshot,
    warn_of_unstored_constraints,
    working_copy,
    write_frames,
)
from .pair_limits import PairLimits
from .relax_cell import cell_filter, fix_symmetry, free_strains, space_group
from .relax_settings import CellMode, OptimizerName, RelaxSettings

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

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
        if self.stress_gpa is None or not self.atoms.pbc.all():
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


def relax(
    atoms: Atoms,
    *,
    calc: Calculator | None = None,
    fmax: float = RelaxSettings.fmax,
    steps: int = RelaxSettings.steps,
    optimizer: OptimizerName = RelaxSettings.optimizer,
    cell: CellMode = RelaxSettings.cell,
    pressure_gpa: float = RelaxSettings.pressure_gpa,
    fix_symmetry: bool = RelaxSettings.fix_symmetry,
    symprec: float = RelaxSettings.symprec,
    guard: bool = RelaxSettings.guard,
    out: str | os.PathLike[str] | None = None,
    prefix: str = "",
    quiet: bool = True,
) -> RelaxResult:
    """Relax a copy of ``atoms``; ``atoms`` itself is not changed.

    Args:
        atoms: start structure; its constraints hold.
        calc: calculator to use; that of ``atoms`` if none is given. Default: None.
        fmax: largest force allowed, on an atom and on the scaled cell variables, eV/Å. Default: 0.01.
        steps: most optimizer steps. Default: 1000.
        optimizer: ASE's optimizer: "BFGS" (fewest steps; a dense matrix of 3N by 3N), "FIRE" (for thousands
            of atoms) or "LBFGS" (can end at a maximum, which is then an error). Default: "BFGS".
        cell: changes of the cell that are allowed: "none"; "volume" keeps the shape; "shape" keeps the
            volume; "lengths" keeps the angles of an orthogonal cell (no shear strain); "full" allows all
            strains (of a slab: those in its plane). Default: "none".
        pressure_gpa: pressure on a cell that may change, GPa. Default: 0.0.
        fix_symmetry: keep the space group, after noise below ``symprec`` is removed from the start structure.
            Default: False.
        symprec: deviations from symmetry below this are ignored, Å. Default: 0.01.
        guard: stop where atoms come nearer to each other than the training data of the model know. Default:
            True.
        out: folder for opt.extxyz, traj.extxyz and opt.log, written while it runs; those of an earlier
            relaxation are replaced. Nothing is written without one. Default: None.
        prefix: PREFIX- before every file name. Default: "".
        quiet: no progress bar. Default: True.

    Returns:
        RelaxResult; look at ``converged``, nothing is raised when ``steps`` did not suffice. Energies and
        forces in it and in the files are of the potential alone, without springs among the constraints.

    Raises:
        UsageError: no calculator, settings that contradict each other, a cell relaxation without periodic
            cell or without stress, a folder that another job or a trajectory of dynamics occupies.
        BadStructureError: a structure that cannot be evaluated.
        BadInputError: energy or forces became NaN; with ``out`` the lowest structure has been written.
        GuardError: atoms came too near to each other, or stayed it; the same.
        Interrupted: after SIGINT or SIGTERM; with ``out`` the lowest structure has been written.
    """
    settings = RelaxSettings(
        fmax=fmax,
        steps=steps,
        optimizer=optimizer,
        cell=cell,
        pressure_gpa=pressure_gpa,
        fix_symmetry=fix_symmetry,
        symprec=symprec,
        guard=guard,
    )
    work = working_copy(atoms, calc)
    with claimed(out, (with_prefix(name, prefix) for name in OUTPUTS)):
        if out is not None:
            _refuse_other_trajectory(Path(out), prefix)
            warn_of_unstored_constraints(work)
        return _Run(work, settings, out, prefix, quiet).result()


def _refuse_other_trajectory(folder: Path, prefix: str) -> None:
    """Dynamics write traj.extxyz too, but neither of the other files."""
    opt, traj, log = (folder / with_prefix(name, prefix) for name in OUTPUTS)
    if traj.exists() and not (opt.exists() or log.exists()):
        fact = f"An earlier run that was no relaxation is in this folder: {traj.name}."
        raise UsageError(fact, where=str(folder), hint="choose another folder")


class _Run:
    """One relaxation at work: the optimizer loop, frames kept, files written."""

    def __init__(
        self,
        atoms: Atoms,
        settings: RelaxSettings,
        out: str | os.PathLike[str] | None,
        prefix: str,
        quiet: bool,
    ) -> None:
        self.atoms, self.settings, self.quiet = atoms, settings, quiet
        self.constraints = list(atoms.constraints)
        if settings.cell == "none" and not moves(atoms):
            warnings.warn("every atom is fixed: there is nothing to relax", JMPWarning, stacklevel=3)
        self.group = space_group(atoms, settings.symprec)
        if settings.fix_symmetry:
            fix_symmetry(atoms, settings.symprec)
        self.target = atoms if settings.cell == "none" else cell_filter(atoms, settings)
        self.paths = {} if out is None else {name: output_path(out, name, prefix) for name in OUTPUTS}
        self.frames: list[Atoms] = []
        self.objectives: list[float] = []
        self.converged, self.n_steps = False, 0
        self.limits, self.apart = PairLimits() if settings.guard else None, False

    def result(self) -> RelaxResult:
        """Run, keep the converged or the lowest structure, and say what it is."""
        try:
            stopped = self._loop()
        except BaseException:
            if self.frames:
                self._write_lowest()
            raise
        if stopped is not None:
            self._write_lowest()
            place = f"the lowest structure so far is in {self.paths['opt.extxyz']}" if self.paths else ""
            raise Interrupted(stopped, place)
        result = self._result(len(self.frames) - 1, self.converged)
        if result.climbed or not self.converged:
            result = self._result(int(np.argmin(self.objectives)), False)
        if result.climbed:
            text = f"the relaxation ended {result.climb_ev:.3g} eV above its start: it went uphill, and"
            warnings.warn(f"{text} the structure of step {result.step} is kept", JMPWarning, stacklevel=3)
        if self.paths:
            write_frames(self.paths["opt.extxyz"], [self.frames[result.step]])
        return result

    def _loop(self) -> int | None:
        """Step until converged, out of steps or signalled; returns the signal number."""
        import ase.optimize

        for path in self.paths.values():
            path.unlink(missing_ok=True)
        log = str(self.paths["opt.log"]) if self.paths else None
        optimizer = getattr(ase.optimize, self.settings.optimizer)(self.target, logfile=log)
        with deferred_signals() as signals, Progress("relax", None, quiet=self.quiet) as progress, optimizer:
            for converged in optimizer.irun(fmax=self.settings.fmax, steps=self.settings.steps):
                self.converged, self.n_steps = bool(converged), optimizer.nsteps
                self._keep(float(optimizer.optimizable.get_value()))
                progress.update(f"{self.objectives[-1]:.6f} eV")
                if signals.received is not None:
                    return signals.received
        self._check_pairs(end=True)
        return None

    def _keep(self, objective: float) -> None:
        if self.frames and self.n_steps == self.frames[-1].info["step"]:
            return  # irun yields the last step twice when it ends on it
        frame = self._frame(objective)
        self._check_pairs(end=False)
        self.frames.append(frame)
        self.objectives.append(objective)
        if self.paths:
            write_frames(self.paths["traj.extxyz"], [frame], append=True)

    def _check_pairs(self, *, end: bool) -> None:
        """GuardError if atoms come too near to each other that were apart, or have not come apart at the
        end."""
        close = None if self.limits is None else self.limits.broken(self.atoms)
        if close is None:
            self.apart = True
        elif self.apart or end:
            raise GuardError(
                f"Guard: {close.text(self.atoms)}.",
                where=f"step {self.n_steps}",
                hint="the model knows nothing there: try another start; --no-guard switches this off",
            )

    def _frame(self, objective: float) -> Atoms:
        frame = snapshot(self.atoms, stress=self.settings.cell != "none", info={"step": self.n_steps})
        frame.set_constraint(self.constraints)
        if not (np.isfinite(objective) and np.isfinite(frame.calc.results["forces"]).all()):
            raise BadInputError(
                f"Energy or forces became NaN at step {self.n_steps}.", hint="check the start structure"
            )
        return frame

    def _write_lowest(self) -> None:
        if self.paths:
            write_frames(self.paths["opt.extxyz"], [self.frames[int(np.argmin(self.objectives))]])

    def _result(self, step: int, converged: bool) -> RelaxResult:
        kept = self.frames[step]
        sizes = np.linalg.norm(kept.get_forces(), axis=1)
        stress = None
        if self.settings.cell != "none":
            stress = tuple(float(s) * GPA_PER_EV_A3 for s in kept.calc.results["stress"])
        atoms = kept.copy()
        atoms.calc = self.atoms.calc
        return RelaxResult(
            converged=converged,
            atoms=atoms,
            step=step,
            energy_ev=kept.calc.results["energy"],
            constraint_energy_ev=constraint_energy(kept),
            fmax=float(sizes.max()),
            worst_atom=int(sizes.argmax()),
            stress_gpa=stress,
            space_groups=(self.group, space_group(kept, self.settings.symprec)),
            n_steps=self.n_steps,
            objectives_ev=tuple(self.objectives),
            trajectory=tuple(self.frames),
            settings=self.settings,
        )
