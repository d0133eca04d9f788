"""Molecular dynamics with any ASE calculator: NVE, Langevin NVT, isotropic NPT.

    result = md(atoms, ensemble="nve", temperature_k=300, timestep_fs=0.5, steps=2000, out="run")
    result.drift, result.stats

A run that is stopped (signal, queue limit, crash) goes on from ``restart.npz`` exactly as if it had not been
stopped, provided the calculator depends on the structure alone.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..errors import BadStructureError, GuardError, UsageError
from ..io.outdir import with_prefix
from ..io.progress import Progress
from ..machine.signals import Interrupted, deferred_signals
from ..units import GPA_PER_EV_A3
from .common import model_fingerprint, output_path, snapshot, warn_if_not_smooth, working_copy, write_frames
from .guard import SLOW_CHECKS_EVERY, Guard
from .integrators import Integrator, add_momentum_constraint
from .md_settings import MDSettings, check_structure_for
from .restart import MDState
from .stats import COLUMNS, NPT_COLUMNS, DriftVerdict, StatsTable, TrajectoryFile, averages, drift_verdict
from .velocities import degrees_of_freedom, start_velocities, temperature

if TYPE_CHECKING:
    from ase import Atoms

OUTPUTS = ("stats.dat", "traj.extxyz", "final.extxyz", "restart.npz", "last-good.extxyz")


@dataclass(frozen=True, eq=False)
class MDResult:
    """What a run gave; ``stats`` has one row per recorded step with the named ``columns``."""

    atoms: Atoms
    """Last frame with velocities, energy and raw forces."""
    n_steps: int
    columns: tuple[str, ...]
    stats: np.ndarray
    trajectory: tuple[Atoms, ...]
    """Recorded frames; empty when ``out`` was given (they are in traj.extxyz)."""
    drift: DriftVerdict | None
    """Only for NVE."""
    state: MDState
    settings: MDSettings
    degrees_of_freedom: int

    def to_dict(self) -> dict[str, Any]:
        """Numbers for summary.yaml."""
        last = dict(zip(self.columns, self.stats[-1].tolist(), strict=True)) if len(self.stats) else {}
        drift = asdict(self.drift) if self.drift is not None else {}
        if drift:
            drift["drift_verdict"] = drift.pop("verdict")
        return {
            "n_steps": self.n_steps,
            "time_ps": self.n_steps * self.settings.timestep_fs / 1000,
            "degrees_of_freedom": self.degrees_of_freedom,
            **averages(self.stats, self.columns),
            **drift,
            "last": last,
        }

    def write(self, folder: str | os.PathLike[str], *, prefix: str = "") -> list[Path]:
        """Write stats.dat, traj.extxyz (when the frames are in memory), final.extxyz and restart.npz."""
        stats, traj, final, restart = (output_path(folder, name, prefix) for name in OUTPUTS[:4])
        table = StatsTable(self.columns, None)
        table.rows = [tuple(row) for row in self.stats.tolist()]
        stats.write_text(table.text(), encoding="utf-8")
        if self.trajectory:
            write_frames(traj, self.trajectory)
        write_frames(final, [self.atoms])
        self.state.save(restart)
        return [stats, *([traj] if self.trajectory else []), final, restart]


def md(
    atoms: Atoms,
    *,
    ensemble: str = "nvt",
    temperature_k: float | None = 300.0,
    timestep_fs: float = 1.0,
    steps: int = 1000,
    pressure_gpa: float | None = None,
    friction_per_ps: float | None = None,
    thermostat_time_fs: float | None = None,
    barostat_time_fs: float | None = None,
    seed: int = 0,
    velocities: Literal["new", "keep"] = "new",
    remove_rotation: bool | None = None,
    stats_every: int = 10,
    traj_every: int = 10,
    restart_every: int = 1000,
    guard: bool = True,
    restart: str | os.PathLike[str] | MDState | None = None,
    out: str | os.PathLike[str] | None = None,
    prefix: str = "",
    quiet: bool = True,
) -> MDResult:
    """Run dynamics on a copy of ``atoms`` with its calculator.

    Args:
        ensemble: "nve" (velocity Verlet), "nvt" (Langevin), "npt" (isotropic MTK, periodic structures).
        steps: total number; a restarted run continues until it is reached.
        friction_per_ps: nvt only, default 5. thermostat_time_fs, barostat_time_fs: npt only, 100 and 1000
            steps.
        velocities: "new" draws them from ``seed`` at exactly ``temperature_k``; "keep" uses those of
            ``atoms``.
        remove_rotation: whether the run starts without rotation; by default new velocities of molecules in
            nve do.
        restart: a restart file (or MDState) of the same structure, model, ensemble and settings; that of
            ``out``, or ``out`` must hold no other run.
        out: folder for stats.dat, traj.extxyz, restart.npz, final.extxyz, written while it runs; a restart
            file at the start, every ``restart_every`` steps and at the end.

    Raises:
        UsageError: settings that contradict each other, the structure or the restart file.
        GuardError: NaN, temperature runaway, colliding or lost atoms; the last good frame has been saved to
            ``out``.
        Interrupted: after SIGINT or SIGTERM, with the restart file written to ``out``.
    """
    settings = MDSettings(
        ensemble,
        temperature_k,
        timestep_fs,
        steps,
        pressure_gpa,
        friction_per_ps,
        thermostat_time_fs,
        barostat_time_fs,
        seed,
        velocities,
        remove_rotation,
        stats_every,
        traj_every,
        restart_every,
        guard,
    ).resolved()
    work = working_copy(atoms)
    check_structure_for(work, settings)
    warn_if_not_smooth(work)
    state = restart if restart is None or isinstance(restart, MDState) else MDState.load(restart)
    if out is not None and not (state is not None and continues_run_in(Path(out), state, prefix)):
        _refuse_old_output(Path(out), prefix)
    run = _Run(work, settings, state, out, prefix, quiet)
    run.loop()
    return run.finish(list(atoms.constraints))


def continues_run_in(folder: Path, state: MDState, prefix: str = "") -> bool:
    """Whether ``state`` is the one in the restart file of ``folder``: only then its table and frames are
    added to."""
    own = folder / with_prefix("restart.npz", prefix)
    return own.is_file() and state.is_same_as(MDState.load(own))


def _refuse_old_output(folder: Path, prefix: str) -> None:
    found = [name for name in OUTPUTS if (folder / with_prefix(name, prefix)).exists()]
    if found:
        hint = "continue it with restart= and its own restart file, or choose another folder"
        raise UsageError(
            f"An earlier run is in this folder: {', '.join(found)}.", where=str(folder), hint=hint
        )


class _Run:
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
        add_momentum_constraint(atoms, settings)
        rng = np.random.default_rng(settings.seed)
        if state is None:
            start_velocities(atoms, settings, rng)
        else:
            state.check_belongs_to(atoms, settings, self.model)
            if state.step > settings.steps:
                fact = (
                    f"The restart file is at step {state.step}, beyond the {settings.steps} steps asked for."
                )
                raise UsageError(fact, hint="steps is the total number, not the number to add")
            state.apply_structure(atoms)
        kept = None if state is None else state.degrees_of_freedom
        self.dof = degrees_of_freedom(atoms, settings) if kept is None else kept
        self.step = 0 if state is None else state.step
        self.first_temperature = temperature(atoms, self.dof) if state is None else state.start_temperature_k
        self.integrator = Integrator(atoms, settings, rng)
        if state is not None:
            state.apply(atoms, self.integrator)
        self.resumed = state is not None
        reference = self.first_temperature if settings.ensemble == "nve" else settings.temperature_k
        self.guard = Guard.of(atoms, reference or 0.0) if settings.guard else None
        self._open(out, prefix)
        self.last_good = self.state()

    def _open(self, out: str | os.PathLike[str] | None, prefix: str) -> None:
        names = COLUMNS if self.settings.ensemble != "npt" else NPT_COLUMNS
        resume = self.step if self.resumed else None
        self.paths = {} if out is None else {name: output_path(out, name, prefix) for name in OUTPUTS}
        self.table = StatsTable(names, self.paths.get("stats.dat"), resume_step=resume)
        path = self.paths.get("traj.extxyz")
        self.trajectory = TrajectoryFile(path, resume_step=resume) if path is not None else None
        self.frames: list[Atoms] = []

    def state(self) -> MDState:
        return MDState.of(
            self.atoms, self.integrator, self.step, self.model, self.first_temperature, self.dof
        )

    def loop(self) -> None:
        """Step until the end, the guard or a signal."""
        total = self.settings.steps
        progress = Progress(f"md {self.settings.ensemble}", total, initial=self.step, quiet=self.quiet)
        with deferred_signals() as signals, progress:
            if not self.resumed:
                self.record()  # what is wrong already is an error of the input, not of the dynamics
                self.save_restart()
            try:
                while self.step < total and signals.received is None:
                    self.advance()
                    progress.update(f"{temperature(self.atoms, self.dof):.0f} K")
            except Interrupted as err:  # a second signal, in the middle of a step
                if self.paths:
                    self.last_good.save(self.paths["restart.npz"])
                raise Interrupted(err.signum, self._continue_hint(self.last_good.step)) from err
            except BadStructureError as err:
                self.save_last_good()
                raise GuardError(
                    f"Guard: {err.fact}.", where=f"after step {self.step}", hint=err.hint
                ) from err
            except BaseException:
                self.save_last_good()
                raise
            if signals.received is not None and self.step < total:
                self.save_restart()
                raise Interrupted(signals.received, self._continue_hint(self.step))

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

    def record(self) -> None:
        """Write the table row and the frame when they are due."""
        if self.step % self.settings.stats_every == 0:
            self.table.append(self._row())
        if self.step % self.settings.traj_every == 0:
            frame = self._frame()
            if self.trajectory is not None:
                self.trajectory.append(frame)
            else:
                self.frames.append(frame)

    def _row(self) -> list[float]:
        potential, kinetic = self.atoms.get_potential_energy(), self.atoms.get_kinetic_energy()
        time_fs = self.step * self.settings.timestep_fs
        row = [self.step, time_fs, potential, kinetic, potential + kinetic, temperature(self.atoms, self.dof)]
        if self.settings.ensemble == "npt":
            stress = self.atoms.get_stress(voigt=False, include_ideal_gas=True)
            pressure = -np.trace(stress) / 3 * GPA_PER_EV_A3
            row += [pressure, self.atoms.get_volume(), self.integrator.conserved_energy()]
        return row

    def _frame(self) -> Atoms:
        info = {"step": self.step, "time_fs": self.step * self.settings.timestep_fs}
        frame = snapshot(self.atoms, stress=self.settings.ensemble == "npt", info=info)
        frame.set_constraint()
        return frame

    def save_restart(self) -> None:
        if self.paths:
            self.state().save(self.paths["restart.npz"])

    def save_last_good(self) -> None:
        """After a failure: the last state that passed all checks, as frame and as restart file."""
        if not self.paths:
            return
        self.last_good.save(self.paths["restart.npz"])
        frame = self.atoms.copy()
        self.last_good.apply_structure(frame)
        frame.info["step"] = self.last_good.step
        frame.set_constraint()
        write_frames(self.paths["last-good.extxyz"], [frame])

    def _continue_hint(self, step: int) -> str:
        if not self.paths:
            return f"stopped after step {self.step}"
        return f"restart written after step {step}; the same command with --restart auto goes on"

    def finish(self, constraints: list[Any]) -> MDResult:
        """Final frame, restart file and verdict."""
        final = self._frame()
        final.set_constraint(constraints)
        table = self.table.array()
        if self.paths:
            self.save_restart()
            write_frames(self.paths["final.extxyz"], [final])
        nve = self.settings.ensemble == "nve"
        return MDResult(
            atoms=final,
            n_steps=self.step,
            columns=self.table.columns,
            stats=table,
            trajectory=tuple(self.frames),
            drift=drift_verdict(table, len(final)) if nve else None,
            state=self.state(),
            settings=self.settings,
            degrees_of_freedom=self.dof,
        )
