"""One relaxation at work: an optimizer that says where it needs energy and forces next, frames, files.

Whoever runs it decides how these are computed: one structure asks its calculator itself, many are answered in
batches (``relax_each``). The numbers are those of ASE's own loop, whose lines ``_step`` follows.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from ..errors import BadInputError, GuardError, JMPWarning
from ..units import GPA_PER_EV_A3
from .common import output_path, snapshot, write_frames
from .constraints import check_consistent, constraint_energy, moves
from .pair_limits import PairLimits
from .relax_cell import cell_filter, fix_symmetry, space_group, turned_by
from .relax_result import OUTPUTS, RelaxResult
from .relax_settings import RelaxSettings

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator
    from ase.optimize.optimize import Optimizer


LARGEST_GROWTH = 5.0
"""Of the volume of a cell; what is compressed by more was no start."""
LARGEST_TURN_DEG = 0.05
"""Change of an angle that lengths of a cell may bring without a word."""


class Relaxation:
    """The optimizer of one structure, the frames that it went through, the files that it writes."""

    def __init__(
        self,
        atoms: Atoms,
        settings: RelaxSettings,
        calculator: Calculator,
        *,
        out: str | os.PathLike[str] | None = None,
        prefix: str = "",
    ) -> None:
        """``atoms``: moves from now on. ``calculator``: of the result; that of ``atoms`` may stand in for it.

        Raises:
            UsageError: symmetry to be kept of what is no crystal; constraints that contradict each other, or
                that symmetry.
        """
        self.atoms, self.settings, self.calculator = atoms, settings, calculator
        self.constraints = list(atoms.constraints)
        if settings.cell == "none" and not moves(atoms):
            warnings.warn("every atom is fixed: there is nothing to relax", JMPWarning, stacklevel=3)
        self.group = space_group(atoms, settings.symprec)
        if settings.fix_symmetry:
            fix_symmetry(atoms, settings.symprec)
        check_consistent(atoms)
        self.paths = {} if out is None else {name: output_path(out, name, prefix) for name in OUTPUTS}
        self.frames: list[Atoms] = []
        self.objectives: list[float] = []
        self.converged, self.n_steps = False, 0
        self.limits, self.apart = PairLimits() if settings.guard else None, False
        self.first_cell = atoms.cell.array.copy()

    def steps(self) -> Iterator[None]:
        """Stops where energy and forces (and stress) of ``atoms`` are asked for next, until the end.

        Raises:
            UsageError: a cell that cannot be relaxed. BadInputError: a result that is not finite.
            GuardError: atoms too near to each other, a cell that flies apart. The errors of the calculator.
        """
        import ase.optimize

        for path in self.paths.values():
            path.unlink(missing_ok=True)
        log = str(self.paths["opt.log"]) if self.paths else None
        yield
        cell = self.settings.cell != "none"
        target = cell_filter(self.atoms, self.settings) if cell else self.atoms
        with getattr(ase.optimize, self.settings.optimizer)(target, logfile=log) as optimizer:
            optimizer.fmax = self.settings.fmax
            self._evaluated(optimizer)
            while not self.converged and optimizer.nsteps < self.settings.steps:
                optimizer.step()
                yield
                optimizer.nsteps += 1
                self._evaluated(optimizer)
        self._check_pairs(end=True)

    def _evaluated(self, optimizer: Optimizer) -> None:
        """What ASE's loop does after each step, and the frame."""
        gradient = optimizer.optimizable.get_gradient()
        optimizer.log(gradient)
        self.converged, self.n_steps = bool(optimizer.gradient_converged(gradient)), optimizer.nsteps
        self._keep(float(optimizer.optimizable.get_value()))

    def _keep(self, objective: float) -> None:
        self._check_volume()
        frame = self._frame(objective)
        self._check_pairs(end=False)
        self.frames.append(frame)
        self.objectives.append(objective)
        if self.paths:
            write_frames(self.paths["traj.extxyz"], [frame], append=True)

    def _check_volume(self) -> None:
        """GuardError if the cell flies apart: under tension beyond the strength of a crystal there is no
        minimum."""
        if not self.settings.guard or self.settings.cell == "none":
            return
        growth = abs(float(np.linalg.det(self.atoms.cell.array) / np.linalg.det(self.first_cell)))
        if not growth < LARGEST_GROWTH:
            raise GuardError(
                f"Guard: the cell has {growth:.3g} times the volume of the start, so it flies apart.",
                where=f"step {self.n_steps}",
                hint="there may be no minimum at this pressure: try less tension or another start; "
                "--no-guard switches this off",
            )

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

    def write_lowest(self) -> None:
        """Leave the lowest structure so far in opt.extxyz, where there are files and frames."""
        if self.paths and self.frames:
            write_frames(self.paths["opt.extxyz"], [self.frames[int(np.argmin(self.objectives))]])

    def result(self) -> RelaxResult:
        """The converged or the lowest structure, written too; JMPWarning for an end above the start."""
        result = self._result(len(self.frames) - 1, self.converged)
        if result.climbed or not self.converged:
            result = self._result(int(np.argmin(self.objectives)), False)
        if result.climbed:
            text = f"the relaxation ended {result.climb_ev:.3g} eV above its start: it went uphill, and"
            warnings.warn(f"{text} the structure of step {result.step} is kept", JMPWarning, stacklevel=3)
        if self.settings.cell == "lengths":
            self._warn_of_angles(turned_by(self.first_cell, result.atoms.cell.array))
        if self.paths:
            write_frames(self.paths["opt.extxyz"], [self.frames[result.step]])
        return result

    def _warn_of_angles(self, turned_deg: float) -> None:
        if turned_deg > LARGEST_TURN_DEG:
            warnings.warn(
                f"cell='lengths' changed angles of the cell, by up to {turned_deg:.2g} degrees: it strains "
                "along x, y and z, and this cell is skewed against them",
                JMPWarning,
                stacklevel=4,
            )

    def _result(self, step: int, converged: bool) -> RelaxResult:
        kept = self.frames[step]
        sizes = np.linalg.norm(kept.get_forces(), axis=1)
        stress = None
        if self.settings.cell != "none":
            stress = tuple(float(s) * GPA_PER_EV_A3 for s in kept.calc.results["stress"])
        atoms = kept.copy()
        atoms.info = dict(self.atoms.info)  # without the step of the frame
        atoms.calc = self.calculator
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
