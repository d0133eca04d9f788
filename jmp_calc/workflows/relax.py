"""Relax positions and, on request, the cell, with ASE's optimizers and any ASE calculator.

result = relax(atoms, cell="full", fmax=0.01)
result.converged, result.atoms, result.fmax

The objective is what the optimizer lowers: the energy, with the springs of constraints and, for a cell under
pressure, with p·V. A relaxation that ends above its start in it has not relaxed anything, however small the
forces are: an optimizer without line search can end at a maximum.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UsageError
from ..io.outdir import claimed, with_prefix
from ..io.progress import Progress
from ..machine.signals import Interrupted, deferred_signals
from .common import working_copy
from .constraints import warn_of_unstored_constraints
from .relax_result import OUTPUTS, RelaxResult
from .relax_run import Relaxation
from .relax_settings import CellMode, OptimizerName, RelaxSettings

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator


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
            strains (of a slab: those in its plane, also in a periodic box). Default: "none".
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
        return _finished(Relaxation(work, settings, work.calc, out=out, prefix=prefix), quiet)


def _refuse_other_trajectory(folder: Path, prefix: str) -> None:
    """Dynamics write traj.extxyz too, but neither of the other files."""
    opt, traj, log = (folder / with_prefix(name, prefix) for name in OUTPUTS)
    if traj.exists() and not (opt.exists() or log.exists()):
        fact = f"An earlier run that was no relaxation is in this folder: {traj.name}."
        raise UsageError(fact, where=str(folder), hint="choose another folder")


def _finished(run: Relaxation, quiet: bool) -> RelaxResult:
    """Run to the end, one evaluation after the other; what stops it leaves the lowest structure."""
    try:
        with deferred_signals() as signals, Progress("relax", None, quiet=quiet) as progress:
            for _ in run.steps():
                if run.objectives:
                    progress.update(f"{run.objectives[-1]:.6f} eV")
                if signals.received is not None:
                    kept = bool(run.paths and run.frames)
                    place = f"the lowest structure so far is in {run.paths['opt.extxyz']}" if kept else ""
                    raise Interrupted(signals.received, place)
    except BaseException:
        run.write_lowest()
        raise
    return run.result()
