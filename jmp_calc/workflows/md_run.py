"""One run of molecular dynamics at work: steps, guard, table, frames and restart files."""

from __future__ import annotations

import copy
import os
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..analysis.analyse import analyse
from ..analysis.result import OUTPUTS as ANALYSIS_OUTPUTS
from ..errors import BadInputError, BadStructureError, GuardError, JMPError, JMPWarning, UsageError
from ..io.progress import Progress
from ..machine.signals import Interrupted, deferred_signals
from ..units import GPA_PER_EV_A3
from .common import (
    energy_std,
    has_stress,
    output_path,
    snapshot,
    write_frames,
)
from .constraints import keep_pulls_off_momenta
from .guard import SLOW_CHECKS_EVERY, Guard
from .integrators import Integrator, add_momentum_constraint
from .md_frames import CompressedTrajectory
from .md_settings import SCALING, MDSettings
from .potentials import model_fingerprint
from .restart import MDState
from .stats import AXIAL_PRESSURES, LENGTHS, STD_COLUMN, StatsTable, TrajectoryFile, table_columns
from .velocities import degrees_of_freedom, start_velocities, temperature

if TYPE_CHECKING:
    from ase import Atoms

    from ..analysis.result import Analysis

PLOTS = ("md.svg", "md.png")
OUTPUTS = (
    *("stats.dat", "traj.extxyz", "final.extxyz", "restart.npz", "last-good.extxyz"),
    *("traj.extxyz.gz", "quenched.extxyz", *PLOTS, *ANALYSIS_OUTPUTS),
)
DERIVED = ("last-good.extxyz", "quenched.extxyz", *PLOTS, *ANALYSIS_OUTPUTS)
"""Files that tell of the whole run so far, or of its last step, and are old once it has gone on."""
DAY_S = 86400.0


def check_restart(atoms: Atoms, settings: MDSettings, state: MDState) -> None:
    """UsageError where ``state`` belongs to another run than that of ``atoms``, or is beyond its end.

    ``atoms`` get the constraint of the ensemble, as in the run.
    """
    add_momentum_constraint(atoms, settings)
    state.check_belongs_to(atoms, settings, model_fingerprint(atoms))
    if state.step > settings.steps:
        fact = f"The restart file is at step {state.step}, beyond the {settings.steps} steps asked for."
        raise UsageError(fact, hint="steps is the total number, not the number to add")


class Run:
    """One run at work."""

    def __init__(
        self,
        atoms: Atoms,
        settings: MDSettings,
        state: MDState | None,
        out: str | os.PathLike[str] | None,
        prefix: str,
        quiet: bool,
    ) -> None:
        self.atoms, self.settings, self.quiet = atoms, settings, quiet
        self.model = model_fingerprint(atoms)
        self.constraints = copy.deepcopy(atoms.constraints)
        keep_pulls_off_momenta(atoms)
        add_momentum_constraint(atoms, settings)
        rng = np.random.default_rng(settings.seed)
        given = atoms.copy()
        if state is None:
            start_velocities(atoms, settings, rng)
        else:
            check_restart(atoms, settings, state)
            state.apply_structure(atoms)
        kept = None if state is None else state.degrees_of_freedom
        self.dof = degrees_of_freedom(atoms, settings) if kept is None else kept
        self.step = self.started_at = 0 if state is None else state.step
        self.first_temperature = temperature(atoms, self.dof) if state is None else state.start_temperature_k
        self.integrator = Integrator(atoms, settings, rng, self.dof, self.step)
        if state is not None:
            state.apply(atoms, self.integrator)
        reference = self.first_temperature if settings.ensemble == "nve" else settings.hottest_k
        limit = settings.max_uncertainty_mev
        self.guard = Guard.of(given, reference or 0.0, limit) if settings.guard else None
        self.seconds = 0.0
        self.analysed = 0
        self.not_analysed: JMPError | None = None
        self.prefix = prefix
        self._open(out, prefix, state)
        self.last_good = self.state()

    def _open(self, out: str | os.PathLike[str] | None, prefix: str, state: MDState | None) -> None:
        resume = None if state is None else self.step
        self.paths = {} if out is None else {name: output_path(out, name, prefix) for name in OUTPUTS}
        goes_on = state is not None and any(path.exists() for path in self.paths.values())
        self.table = StatsTable(self._columns(), self.paths.get("stats.dat"), resume_step=resume)
        self.trajectory = None if out is None else self._trajectory(resume)
        self.frames: list[Atoms] = []
        if goes_on and state is not None and state.records is not None:
            self._warn_of_losses(*state.records)

    def _trajectory(self, resume: int | None) -> TrajectoryFile:
        """The file of frames in the format that is wanted, which a restart cannot change."""
        formats = {"extxyz": TrajectoryFile, "extxyz.gz": CompressedTrajectory}
        wanted = self.settings.traj_format
        for other in formats.keys() - {wanted}:
            path = self.paths[f"traj.{other}"]
            if resume is not None and path.exists():
                fact = f"The frames of this run are in {path.name}, a restart cannot change their format."
                raise UsageError(fact, hint=f"traj_format={other!r} (--traj-format {other})")
        return formats[wanted](self.paths[f"traj.{wanted}"], resume_step=resume)

    def _columns(self) -> tuple[str, ...]:
        settings = self.settings
        crystal = bool(self.atoms.pbc.all()) and self.atoms.cell.rank == 3
        return table_columns(
            pressure=settings.ensemble == "npt" or (crystal and has_stress(self.atoms)),
            volume=settings.ensemble == "npt",
            axes=settings.ensemble == "npt" and settings.cell != "volume",
            conserved=settings.thermostat in SCALING,
            target=bool(settings.stages),
            uncertain=energy_std(self.atoms) is not None,
        )

    def _warn_of_losses(self, rows: int, frames: int) -> None:
        """Say what a loss of power or an editor took from the files since the restart file was written."""
        found = {"stats.dat": (len(self.table.rows), rows)}
        if self.trajectory is not None:
            found[f"traj.{self.settings.traj_format}"] = (self.trajectory.count, frames)
        for name, (now, before) in found.items():
            if now < before:
                text = f"{self.paths[name].name} has {now} of the {before} records up to step {self.step}"
                warnings.warn(f"{text}; the others are lost, the run goes on", JMPWarning, stacklevel=4)

    def state(self) -> MDState:
        """The present state, as a restart file holds it."""
        frames = 0 if self.trajectory is None else self.trajectory.count
        return MDState.of(
            self.atoms,
            self.integrator,
            self.step,
            self.model,
            self.first_temperature,
            self.dof,
            (len(self.table.rows), frames),
        )

    def ns_per_day(self) -> float | None:
        """Simulated time per time on the clock; None before the first step."""
        done_ns = (self.step - self.started_at) * self.settings.timestep_fs * 1e-6
        return done_ns / self.seconds * DAY_S if done_ns and self.seconds else None

    def loop(self) -> None:
        """Step until the end, the guard (GuardError) or a signal (Interrupted)."""
        total = self.settings.steps
        progress = Progress(f"md {self.settings.ensemble}", total, initial=self.step, quiet=self.quiet)
        with deferred_signals() as signals, progress:
            if self.step == 0:
                self._start()
            begin = time.perf_counter()
            try:
                while self.step < total and signals.received is None:
                    self.advance()
                    progress.update(f"{temperature(self.atoms, self.dof):.0f} K")
            except Interrupted as err:  # a second signal, in the middle of a step
                self._save(self.last_good)
                raise Interrupted(err.signum, self._continue_hint(self.last_good.step)) from err
            except BadStructureError as err:
                self.save_last_good()
                where = f"after step {self.step}"
                raise GuardError(f"Guard: {err.fact}", where=where, hint=err.hint) from err
            except BaseException:
                self.save_last_good()
                raise
            finally:
                self.seconds = time.perf_counter() - begin
            if signals.received is not None and self.step < total:
                self.save_restart()
                raise Interrupted(signals.received, self._continue_hint(self.step))

    def _start(self) -> None:
        """The first evaluation, where what is wrong already is an error of the input and not of the dynamics;
        then the restart file before any row or frame, so that a run killed here goes on or starts again."""
        self.atoms.get_potential_energy()
        self.atoms.get_forces()
        self.save_restart()
        self.record()

    def advance(self) -> None:
        """One step with its checks and records."""
        before = self.atoms.positions.copy()
        self.integrator.step()
        self.step += 1
        if self.guard is not None:
            self.guard.check(self.atoms, before, temperature(self.atoms, self.dof), self.step)
        if self.step % SLOW_CHECKS_EVERY == 0 or self.step == self.settings.steps:
            if self.guard is not None:
                self.guard.check_geometry(self.atoms, self.step)
            self.last_good = self.state()
        self.record()
        if self.step % self.settings.restart_every == 0:
            self.save_restart()
            if self.settings.analyse and self.step >= 2 * self.analysed:
                self.analyse()

    def record(self) -> None:
        """Write the table row and the frame when they are due and not there yet."""
        if self.step % self.settings.stats_every == 0 and self.table.last_step < self.step:
            self.table.append(self._row())
        if self.step % self.settings.traj_every != 0:
            return
        if self.trajectory is None:
            self.frames.append(self._frame())
        elif self.trajectory.last_step < self.step:
            self.trajectory.append(self._frame())

    def _row(self) -> dict[str, float]:
        potential, kinetic = self.atoms.get_potential_energy(), self.atoms.get_kinetic_energy()
        row = {
            "step": self.step,
            "time_fs": self.step * self.settings.timestep_fs,
            "epot_eV": potential,
            "ekin_eV": kinetic,
            "etot_eV": potential + kinetic,
            "temperature_K": temperature(self.atoms, self.dof),
        }
        if "pressure_GPa" in self.table.columns:
            stress = self.atoms.get_stress(voigt=False, include_ideal_gas=True)
            row["pressure_GPa"] = -np.trace(stress) / 3 * GPA_PER_EV_A3
            row |= dict(zip(AXIAL_PRESSURES, -np.diag(stress) * GPA_PER_EV_A3, strict=True))
            row |= dict(zip(LENGTHS, self.atoms.cell.lengths(), strict=True))
            row["volume_A3"] = self.atoms.get_volume()
        if "conserved_eV" in self.table.columns:
            row["conserved_eV"] = self.integrator.conserved_energy()
        if self.settings.stages:
            goal = self.settings.target(self.step)
            row |= {"target_K": goal[0] or 0.0, "target_GPa": goal[1] or 0.0}
        if STD_COLUMN in self.table.columns:
            std = energy_std(self.atoms)
            row[STD_COLUMN] = float("nan") if std is None else std
        return row

    def _frame(self) -> Atoms:
        stress = self.settings.ensemble == "npt"
        frame = snapshot(self.atoms, stress=stress, info=self._when(self.step))
        frame.set_constraint(self.constraints)
        return frame

    def _when(self, step: int) -> dict[str, float]:
        """What frames say of their time."""
        return {"step": step, "time_fs": step * self.settings.timestep_fs}

    def save_restart(self) -> None:
        """Write the present state."""
        self._save(self.state())

    def _save(self, state: MDState) -> None:
        """Write a restart file, after the rows and frames that it counts on are on the disk."""
        if not self.paths:
            return
        self.table.sync()
        if self.trajectory is not None:
            self.trajectory.sync()
        state.save(self.paths["restart.npz"])

    def save_last_good(self) -> None:
        """After a failure: the last state that passed all checks, as frame and as restart file."""
        if not self.paths:
            return
        self._save(self.last_good)
        frame = self.atoms.copy()
        self.last_good.apply_structure(frame)
        frame.info |= self._when(self.last_good.step)
        frame.set_constraint(self.constraints)
        write_frames(self.paths["last-good.extxyz"], [frame])

    def _continue_hint(self, step: int) -> str:
        if not self.paths:
            return f"stopped after step {self.step}"
        return f"restart written after step {step}; the same command with --restart auto goes on"

    def analyse(self) -> Analysis | None:
        """What the run says so far, also written to its folder; None while it has too few frames, or such at
        unequal times (``not_analysed``).

        While it runs, this is done whenever it has become twice as long: in all, frames are read twice.
        """
        self.analysed = self.step
        source: Sequence[Atoms] | Path = self.frames if self.trajectory is None else self.trajectory.path
        self.not_analysed = None
        try:
            found = analyse(source, table=self.paths.get("stats.dat"))
        except (UsageError, BadInputError) as error:  # ten frames are needed, and rows
            self.not_analysed = error
            return None
        if self.paths:
            found.write(self.paths["stats.dat"].parent, prefix=self.prefix)
        return found

    def remove_outdated(self, before: Mapping[str, int]) -> None:
        """Take away pictures, analysis and last frames of the part before a restart (by the times of
        ``written``) that this part, which went on, has not made anew; a JMPWarning names them."""
        after = self.written(DERIVED) if self.step > self.started_at else {}
        old = [self.paths[name] for name, stamp in after.items() if before.get(name) == stamp]
        for path in old:
            path.unlink()
        if old:
            text = f"{', '.join(path.name for path in old)} told of the run up to step {self.started_at} only"
            warnings.warn(f"{text}, and were removed", JMPWarning, stacklevel=4)

    def written(self, names: Sequence[str]) -> dict[str, int]:
        """When those files of ``names`` that there are were written, ns."""
        paths = {name: self.paths[name] for name in names if name in self.paths}
        return {name: path.stat().st_mtime_ns for name, path in paths.items() if path.exists()}

    def finish(self) -> Atoms:
        """Write the restart file and the last frame; returns the frame with the calculator."""
        final = self._frame()
        self.save_restart()
        if self.paths:
            write_frames(self.paths["final.extxyz"], [final])
        atoms = final.copy()
        atoms.calc = self.atoms.calc
        return atoms
