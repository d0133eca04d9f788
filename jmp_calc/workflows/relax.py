"""Relax positions and, on request, the cell, with ASE's optimizers and any ASE calculator.

result = relax(atoms, cell="full", fmax=0.01)
result.converged, result.atoms, result.fmax
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from ..errors import BadInputError, NotConvergedError, UsageError
from ..io.outdir import with_prefix
from ..io.progress import Progress
from ..machine.signals import Interrupted, deferred_signals
from ..units import GPA_PER_EV_A3
from .common import has_stress, output_path, snapshot, working_copy, write_frames

if TYPE_CHECKING:
    from ase import Atoms

CellMode = Literal["none", "volume", "lengths", "full"]
OptimizerName = Literal["LBFGS", "BFGS", "FIRE"]
OUTPUTS = ("opt.extxyz", "traj.extxyz", "opt.log")


@dataclass(frozen=True)
class RelaxSettings:
    """How to relax; refuses values that cannot be meant."""

    fmax: float = 0.01
    """eV/Å: largest allowed force on an atom (and on the scaled cell variables)."""
    steps: int = 1000
    optimizer: OptimizerName = "LBFGS"
    cell: CellMode = "none"
    pressure_gpa: float = 0.0
    fix_symmetry: bool = False
    symprec: float = 0.01
    """Å: deviations from symmetry below this are removed by ``fix_symmetry``."""

    def __post_init__(self) -> None:
        if not (self.fmax > 0 and np.isfinite(self.fmax)):
            raise UsageError(
                f"The force limit fmax must be positive, got {self.fmax}.", hint="0.01 eV/Å is a usual value"
            )
        if self.steps < 1:
            raise UsageError(f"The number of steps must be at least 1, got {self.steps}.")
        for name, value, allowed in (
            ("optimizer", self.optimizer, OptimizerName),
            ("cell", self.cell, CellMode),
        ):
            if value not in get_args(allowed):
                raise UsageError(f"Unknown {name} '{value}'.", hint=f"one of {', '.join(get_args(allowed))}")
        if not np.isfinite(self.pressure_gpa):
            raise UsageError(f"Pressure must be finite, got {self.pressure_gpa}.")
        if self.pressure_gpa and self.cell == "none":
            raise UsageError(
                "A pressure needs a cell that may change.", hint="use cell='volume', 'lengths' or 'full'"
            )


@dataclass(frozen=True, eq=False)
class RelaxResult:
    """A relaxed structure and how it got there; ``atoms`` carries energy, raw forces and, with a cell,
    stress."""

    converged: bool
    atoms: Atoms
    energy_ev: float
    fmax: float
    """Largest force on an atom that was reached, after constraints, eV/Å."""
    worst_atom: int
    stress_gpa: tuple[float, ...] | None
    """Voigt-6, ASE's sign; None when the cell was not relaxed."""
    n_steps: int
    trajectory: tuple[Atoms, ...]
    settings: RelaxSettings

    def to_dict(self) -> dict[str, Any]:
        """Numbers for summary.yaml (units in the names; ``fmax`` in eV/Å)."""
        cell = self.atoms.cell
        return {
            "converged": self.converged,
            "n_steps": self.n_steps,
            "energy_ev": self.energy_ev,
            "fmax_ev_per_a": self.fmax,
            "worst_atom": self.worst_atom,
            "stress_gpa": self.stress_gpa,
            "cell_lengths_angles": [float(x) for x in cell.cellpar()] if cell.rank == 3 else None,
            "volume_a3": float(self.atoms.get_volume()) if cell.rank == 3 else None,
        }

    def write(self, folder: str | os.PathLike[str], *, prefix: str = "") -> list[Path]:
        """Write opt.extxyz and traj.extxyz; returns their paths."""
        paths = [output_path(folder, name, prefix) for name in OUTPUTS[:2]]
        write_frames(paths[0], [self.atoms])
        write_frames(paths[1], self.trajectory)
        return paths

    def require_converged(self) -> None:
        """Raise NotConvergedError with what was reached: forces and the worst atom, and the stress left in a
        free cell."""
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
        raise NotConvergedError(f"{fact}.", where=where, hint=hint)

    @property
    def stress_left_gpa(self) -> float | None:
        """Largest stress, beside the pressure asked for, in the strains that may relax, GPa; None without a
        free cell."""
        if self.stress_gpa is None:
            return None
        left = np.array(self.stress_gpa) + self.settings.pressure_gpa * np.array([1, 1, 1, 0, 0, 0])
        if self.settings.cell == "volume":
            return float(abs(left[:3].mean()))
        return float(np.abs(left[_free_strains(self.atoms, self.settings)]).max())


def relax(
    atoms: Atoms,
    *,
    fmax: float = 0.01,
    steps: int = 1000,
    optimizer: OptimizerName = "LBFGS",
    cell: CellMode = "none",
    pressure_gpa: float = 0.0,
    fix_symmetry: bool = False,
    symprec: float = 0.01,
    out: str | os.PathLike[str] | None = None,
    prefix: str = "",
    quiet: bool = True,
) -> RelaxResult:
    """Relax a copy of ``atoms`` with its calculator; ``atoms`` itself is not changed.

    Args:
        cell: "none"; "volume" keeps the shape; "lengths" keeps the angles of an orthogonal cell (no shear
            strain); "full" relaxes all strains (of a slab: those in its plane).
        out: folder for opt.extxyz, traj.extxyz and opt.log, written while it runs; those of an earlier
            relaxation are replaced.

    Returns:
        RelaxResult; look at ``converged``, nothing is raised when ``steps`` did not suffice.

    Raises:
        UsageError: contradicting settings, a cell relaxation without periodic cell or without stress, a
            trajectory in ``out`` that no relaxation wrote.
        Interrupted: after SIGINT/SIGTERM; with ``out`` the last structure has been written.
    """
    settings = RelaxSettings(fmax, steps, optimizer, cell, pressure_gpa, fix_symmetry, symprec)
    if out is not None:
        _refuse_other_trajectory(Path(out), prefix)
    work = working_copy(atoms)
    if fix_symmetry:
        _fix_symmetry(work, symprec)
    target = work if cell == "none" else _cell_filter(work, settings)
    run = _Run(work, settings, out, prefix, quiet, constraints=list(atoms.constraints))
    stopped = run.loop(target)
    result = run.result()
    if out is not None:
        result.write(out, prefix=prefix)
    if stopped is not None:
        raise Interrupted(stopped, f"the last structure is in {out}" if out is not None else "")
    return result


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
        constraints: list[Any],
    ) -> None:
        self.atoms, self.settings, self.quiet, self.constraints = atoms, settings, quiet, constraints
        self.log = str(output_path(out, "opt.log", prefix)) if out is not None else None
        self.traj = output_path(out, "traj.extxyz", prefix) if out is not None else None
        self.frames: list[Atoms] = []
        self.converged, self.n_steps = False, 0

    def loop(self, target: Any) -> int | None:
        """Step until converged, out of steps or signalled; returns the signal number."""
        import ase.optimize

        for path in (self.log, self.traj):
            if path is not None:
                Path(path).unlink(missing_ok=True)
        optimizer = getattr(ase.optimize, self.settings.optimizer)(target, logfile=self.log)
        with deferred_signals() as signals, Progress("relax", None, quiet=self.quiet) as progress, optimizer:
            for converged in optimizer.irun(fmax=self.settings.fmax, steps=self.settings.steps):
                self.converged, self.n_steps = bool(converged), optimizer.nsteps
                self._keep()
                progress.update(f"{self.frames[-1].get_potential_energy():.6f} eV")
                if signals.received is not None:
                    return signals.received
        return None

    def _keep(self) -> None:
        if self.frames and self.n_steps == self.frames[-1].info["step"]:
            return  # irun yields the last step twice when it ends on it
        frame = self._frame()
        self.frames.append(frame)
        if self.traj is not None:
            write_frames(self.traj, [frame], append=True)

    def _frame(self) -> Atoms:
        frame = snapshot(self.atoms, stress=self.settings.cell != "none", info={"step": self.n_steps})
        frame.set_constraint(self.constraints)
        energy, forces = frame.get_potential_energy(), frame.get_forces(apply_constraint=False)
        if not (np.isfinite(energy) and np.isfinite(forces).all()):
            raise BadInputError(
                f"Energy or forces became NaN at step {self.n_steps}.", hint="check the start structure"
            )
        return frame

    def result(self) -> RelaxResult:
        last = self.frames[-1]
        sizes = np.linalg.norm(last.get_forces(), axis=1)
        stress = None
        if self.settings.cell != "none":
            stress = tuple(float(s) * GPA_PER_EV_A3 for s in last.get_stress())
        return RelaxResult(
            converged=self.converged,
            atoms=last,
            energy_ev=float(last.get_potential_energy()),
            fmax=float(sizes.max()),
            worst_atom=int(sizes.argmax()),
            stress_gpa=stress,
            n_steps=self.n_steps,
            trajectory=tuple(self.frames),
            settings=self.settings,
        )


def _fix_symmetry(atoms: Atoms, symprec: float) -> None:
    """Add ASE's FixSymmetry, which also removes noise of up to ``symprec`` Å from the start structure."""
    if not atoms.pbc.all() or atoms.cell.rank < 3:
        raise UsageError("fix_symmetry needs a crystal (periodic in three directions).", hint="leave it out")
    from ase.constraints import FixSymmetry

    atoms.set_constraint([*atoms.constraints, FixSymmetry(atoms, symprec=symprec)])


def _cell_filter(atoms: Atoms, settings: RelaxSettings) -> Any:
    """ASE's FrechetCellFilter with the strains that ``settings.cell`` allows."""
    from ase.filters import FrechetCellFilter

    hint = "use cell='none'"
    if not atoms.pbc.any() or atoms.cell.rank < 3:
        raise UsageError("This structure has no lattice, so there is no cell to relax.", hint=hint)
    if not atoms.pbc.all() and (settings.cell == "volume" or settings.pressure_gpa):
        raise UsageError(
            "Volume and pressure mean nothing for a structure with vacuum.", hint="use cell='full'"
        )
    if not has_stress(atoms):
        raise UsageError("The calculator gives no stress for this structure.", hint=hint)
    mask = _free_strains(atoms, settings)
    pressure = settings.pressure_gpa / GPA_PER_EV_A3
    if settings.cell == "volume":
        return FrechetCellFilter(atoms, hydrostatic_strain=True, scalar_pressure=pressure)
    return FrechetCellFilter(atoms, mask=mask.tolist(), scalar_pressure=pressure)


def _free_strains(atoms: Atoms, settings: RelaxSettings) -> np.ndarray:
    """Voigt mask (xx yy zz yz xz xy) of the strains that ``settings.cell`` allows, shape (6,)."""
    mask = _strain_mask(atoms)
    if settings.cell == "lengths":
        mask[3:] = False
    return mask


def _strain_mask(atoms: Atoms) -> np.ndarray:
    """Voigt mask of strains inside the periodic directions, shape (6,)."""
    periodic = np.array(atoms.pbc)
    if periodic.all():
        return np.ones(6, dtype=bool)
    axes = np.abs(atoms.cell.array[periodic]) > 1e-8 * np.abs(atoms.cell.array).max()
    free = axes.any(axis=0)
    if free.sum() != periodic.sum():
        raise UsageError(
            "The periodic directions of this slab or wire do not lie along Cartesian axes or planes.",
            hint="rotate it so that the vacuum is along x, y or z",
        )
    x, y, z = free
    return np.array([x, y, z, y and z, x and z, x and y])


def settings_dict(settings: RelaxSettings) -> dict[str, Any]:
    """Settings as written to summary.yaml."""
    return asdict(settings)
