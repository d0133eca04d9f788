"""Molecular dynamics with any ASE calculator: NVE, NVT by four thermostats, NPT of volume, axes or full cell.

    result = md(atoms, ensemble="nve", temperature_k=300, timestep_fs=0.5, steps=2000, out="run")
    result.drift, result.stats

A run that is stopped (signal, queue limit, crash) goes on from ``restart.npz`` exactly as if it had not been
stopped, provided the calculator depends on the structure alone.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..errors import JMPWarning, UsageError
from ..io.outdir import claimed, with_prefix
from .common import output_path, snapshot, warn_if_not_smooth, working_copy, write_frames
from .constraints import warn_of_unstored_constraints
from .md_run import DERIVED, OUTPUTS, PLOTS, Run
from .md_settings import MDSettings, TrajectoryFormat, check_structure_for
from .relax import relax
from .relax_settings import CellMode
from .restart import MDState
from .stats import DriftVerdict, StatsTable, averages, drift_verdict

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

    from ..analysis.result import Analysis
    from .relax import RelaxResult


FEWEST_DRAWN = 20
"""Rows of the table: fewer are no curve."""


@dataclass(frozen=True, eq=False, repr=False)
class MDResult:
    """What a run gave; ``stats`` has one row per recorded step with the named ``columns``.

    Frames carry energy and raw forces of the potential alone; ``epot_eV`` of the table has the energy of
    springs among the constraints too, because the dynamics conserve the sum.
    """

    atoms: Atoms
    """Last frame with velocities and the calculator."""
    n_steps: int
    """Steps in all, those before a restart included."""
    started_at: int
    """Step from which this call went on; 0 without a restart."""
    columns: tuple[str, ...]
    stats: np.ndarray
    trajectory: tuple[Atoms, ...]
    """Recorded frames; empty when ``out`` was given (they are in traj.extxyz)."""
    drift: DriftVerdict | None
    """Of the total energy (NVE) or of what the thermostat conserves with it; None where there is no such
    quantity: Langevin dynamics, schedules."""
    state: MDState
    settings: MDSettings
    degrees_of_freedom: int
    ns_per_day: float | None
    """Simulated time per time on the clock; None when there was no step to do."""
    quenched: RelaxResult | None = None
    """The relaxation in which the schedule ends; None: it has none."""
    analysis: Analysis | None = None
    """None: not asked for, fewer than ten frames, or such at unequal times."""

    def __repr__(self) -> str:
        mean = None if self.settings.stages else averages(self.stats, self.columns).get("temperature_k_mean")
        warm = "" if mean is None else f", mean temperature {mean:.1f} K"
        what = f"{self.settings.ensemble} of {self.atoms.get_chemical_formula()}"
        return f"<MDResult of {what}: {self.n_steps} steps, {self.time_ps:g} ps{warm}>"

    @property
    def time_ps(self) -> float:
        """Simulated time in all, ps."""
        return self.n_steps * self.settings.timestep_fs / 1000

    def to_dict(self) -> dict[str, Any]:
        """Numbers for summary.yaml; means are of the part that ``means_from_ps`` and ``means_to_ps`` name."""
        last = dict(zip(self.columns, self.stats[-1].tolist(), strict=True)) if len(self.stats) else {}
        drift = asdict(self.drift) if self.drift is not None else {}
        if drift:
            drift["drift_verdict"] = drift.pop("verdict")
        return {
            "n_steps": self.n_steps,
            "started_at_step": self.started_at,
            "time_ps": self.time_ps,
            "ns_per_day": self.ns_per_day,
            "degrees_of_freedom": self.degrees_of_freedom,
            **(self._stages() if self.settings.stages else averages(self.stats, self.columns)),
            **drift,
            "last": last,
            **({} if self.quenched is None else {"quenched": self.quenched.to_dict()}),
            **({} if self.analysis is None else {"analysis": self.analysis.to_dict()}),
        }

    def _stages(self) -> dict[str, Any]:
        """Means of each stage of the schedule that was reached, each over its own rows."""
        found = []
        for stage in self.settings.stages:
            own = self.stats[(self.stats[:, 0] > stage.first) & (self.stats[:, 0] <= stage.last)]
            if len(own):
                found.append({"stage": stage.text(), **averages(own, self.columns)})
        return {"stages": found}

    def plot(self, paths: list[Path]) -> list[Path]:
        """Draw temperature, energies and what else the table has, of twenty rows or more; without matplotlib
        a warning and nothing else."""
        from ..io import plots, plots_motion

        if not plots.available():
            text = "no figures: matplotlib is not installed (pip install jmp-calc[plot])"
            warnings.warn(text, JMPWarning, stacklevel=2)
            return []
        if len(self.stats) < FEWEST_DRAWN:
            return []
        table = dict(zip(self.columns, self.stats.T, strict=True))
        goal = None if self.settings.ensemble == "nve" else self.settings.temperature_k
        plots_motion.plot_run(table, len(self.atoms), goal, paths)
        return [path for path in paths if path.is_file()]

    def write(self, folder: str | os.PathLike[str], *, prefix: str = "") -> list[Path]:
        """Write stats.dat, traj.extxyz (when the frames are in memory), final.extxyz, restart.npz and
        quenched.extxyz (after a relaxation at the end)."""
        stats, traj, final, restart = (output_path(folder, name, prefix) for name in OUTPUTS[:4])
        table = StatsTable(self.columns, None)
        table.rows = [tuple(row) for row in self.stats.tolist()]
        stats.write_text(table.text(), encoding="utf-8")
        if self.trajectory:
            write_frames(traj, self.trajectory)
        write_frames(final, [snapshot(self.atoms, stress=self.settings.ensemble == "npt")])
        self.state.save(restart)
        written = [stats, *([traj] if self.trajectory else []), final, restart]
        if self.quenched is not None:
            written.append(output_path(folder, "quenched.extxyz", prefix))
            write_frames(written[-1], [snapshot(self.quenched.atoms, stress=self.settings.ensemble == "npt")])
        return written


def md(
    atoms: Atoms,
    *,
    calc: Calculator | None = None,
    ensemble: str = MDSettings.ensemble,
    thermostat: str | None = MDSettings.thermostat,
    cell: str | None = MDSettings.cell,
    schedule: str | None = MDSettings.schedule,
    temperature_k: float | None = MDSettings.temperature_k,
    timestep_fs: float = MDSettings.timestep_fs,
    steps: int = MDSettings.steps,
    pressure_gpa: float | None = MDSettings.pressure_gpa,
    friction_per_ps: float | None = MDSettings.friction_per_ps,
    thermostat_time_fs: float | None = MDSettings.thermostat_time_fs,
    barostat_time_fs: float | None = MDSettings.barostat_time_fs,
    seed: int = MDSettings.seed,
    velocities: Literal["new", "keep"] = MDSettings.velocities,
    remove_rotation: bool | None = MDSettings.remove_rotation,
    stats_every: int = MDSettings.stats_every,
    traj_every: int = MDSettings.traj_every,
    traj_format: TrajectoryFormat = MDSettings.traj_format,
    restart_every: int = MDSettings.restart_every,
    guard: bool = MDSettings.guard,
    max_uncertainty_mev: float | None = MDSettings.max_uncertainty_mev,
    analyse: bool = MDSettings.analyse,
    restart: str | os.PathLike[str] | MDState | None = None,
    out: str | os.PathLike[str] | None = None,
    prefix: str = "",
    plot: bool = True,
    quiet: bool = True,
) -> MDResult:
    """Run dynamics on a copy of ``atoms``.

    Args:
        atoms: start structure; its constraints hold, its masses count.
        calc: calculator to use; that of ``atoms`` if none is given. Default: None.
        ensemble: "nve" (velocity Verlet), "nvt" (constant volume, see ``thermostat``) or "npt" (constant
            pressure of Martyna, Tobias and Klein with Nosé-Hoover chains, for crystals; see ``cell``).
            Default: "nvt".
        thermostat: of nvt: "langevin", "baoab" (Langevin, exact for large time steps), "nose-hoover" (chains,
            no random numbers) or "bussi" (velocity rescaling, CSVR); langevin if none is given.
            Default: None.
        cell: what npt changes: "volume" (the shape stays), "lengths" (of a, b and c), "full" (any strain), or
            the axes that may change their length: "c" is a uniaxial pressure, "ab" a biaxial one; volume if
            none is given. Default: None.
        schedule: stages that hold, ramp or quench, such as "300 2 ps, 300>1500 10 ps, 1500>300 100 K/ps",
            with npt also "300 0>5 GPa 10 ps"; it gives start temperature and number of steps. Where its last
            word is "relax", the structure is relaxed at the end. Default: None.
        temperature_k: temperature of the start and of the thermostat, K. Default: 300.0.
        timestep_fs: time step, fs. Default: 1.0.
        steps: total number of steps, restarts included. Default: 1000.
        pressure_gpa: pressure, GPa; npt only, 0 if none is given. Default: None.
        friction_per_ps: Langevin friction, 1/ps; langevin and baoab only, 5 if none is given. Default: None.
        thermostat_time_fs: thermostat time, fs; nose-hoover, bussi and npt only, 100 steps if none is given.
            Default: None.
        barostat_time_fs: barostat time, fs; npt only, 1000 steps if none is given. Default: None.
        seed: random seed of new velocities and of the thermostat. Default: 0.
        velocities: "new" draws velocities from ``seed`` at exactly the temperature, "keep" uses those of the
            structure. Default: "new".
        remove_rotation: start without rotation; if not given, new velocities of molecules do, except with
            Langevin dynamics. Default: None.
        stats_every: steps between rows of stats.dat. Default: 10.
        traj_every: steps between frames of the trajectory. Default: 10.
        traj_format: "extxyz", or "extxyz.gz", the same compressed in blocks, which reaches the file at each
            restart file. Default: "extxyz".
        restart_every: steps between restart files. Default: 1000.
        guard: stop on NaN, runaway heat, colliding or lost atoms. Default: True.
        max_uncertainty_mev: stop where the standard deviation of the energy grows beyond this, meV/atom; of
            calculators with an uncertainty only (docs/uncertainty.md). Default: None.
        analyse: look at distances, displacements and spectrum of the frames while it runs, whenever it has
            become twice as long, and at its end. Default: False.
        restart: restart file (or MDState) of the same structure, model, ensemble and settings to go on from;
            that of ``out``, or ``out`` must hold no other run. Default: None.
        out: folder for stats.dat, traj.extxyz, restart.npz and final.extxyz, written while it runs; a restart
            file at the start, every ``restart_every`` steps and at the end. Nothing is written without one.
            Default: None.
        prefix: PREFIX- before every file name. Default: "".
        plot: draw temperature, energies and pressure against time into the folder. Default: True.
        quiet: no progress bar. Default: True.

    Returns:
        MDResult. Crystals have a column of pressures where the calculator gives a stress.

    Raises:
        UsageError: no calculator; settings that contradict each other, the structure or the restart file;
            every atom fixed; a folder that holds another run, or into which another job writes.
        BadInputError: a damaged restart file. BadStructureError: a structure that cannot be evaluated.
        GuardError: NaN, temperature runaway, colliding or lost atoms; the last good frame has been saved to
            ``out``.
        Interrupted: after SIGINT or SIGTERM, with the restart file written to ``out``.
    """
    settings = MDSettings(
        ensemble=ensemble,
        thermostat=thermostat,
        cell=cell,
        schedule=schedule,
        temperature_k=temperature_k,
        timestep_fs=timestep_fs,
        steps=steps,
        pressure_gpa=pressure_gpa,
        friction_per_ps=friction_per_ps,
        thermostat_time_fs=thermostat_time_fs,
        barostat_time_fs=barostat_time_fs,
        seed=seed,
        velocities=velocities,
        remove_rotation=remove_rotation,
        stats_every=stats_every,
        traj_every=traj_every,
        traj_format=traj_format,
        restart_every=restart_every,
        guard=guard,
        max_uncertainty_mev=max_uncertainty_mev,
        analyse=analyse,
    ).resolved()
    return _run(working_copy(atoms, calc), settings, restart, out, prefix, plot, quiet)


def _run(
    work: Atoms,
    settings: MDSettings,
    restart: str | os.PathLike[str] | MDState | None,
    out: str | os.PathLike[str] | None,
    prefix: str,
    plot: bool,
    quiet: bool,
) -> MDResult:
    """Check, hold the folder, run."""
    check_structure_for(work, settings)
    warn_if_not_smooth(work)
    state = restart if restart is None or isinstance(restart, MDState) else MDState.load(restart)
    with claimed(out, (with_prefix(name, prefix) for name in OUTPUTS)):
        if out is not None:
            _refuse_old_output(Path(out), state, prefix)
            warn_of_unstored_constraints(work)
        run = Run(work, settings, state, out, prefix, quiet)
        before = run.written(DERIVED)
        run.loop()
        result = _result(run)
        if out is not None and plot:
            result.plot([run.paths[name] for name in PLOTS])
        run.remove_outdated(before)
        return result


def _result(run: Run) -> MDResult:
    """Final frame, restart file and verdict."""
    table, final = run.table.array(), run.finish()
    return MDResult(
        atoms=final,
        n_steps=run.step,
        started_at=run.started_at,
        columns=run.table.columns,
        stats=table,
        trajectory=tuple(run.frames),
        drift=_drift(run, table, len(final)),
        state=run.state(),
        settings=run.settings,
        degrees_of_freedom=run.dof,
        ns_per_day=run.ns_per_day(),
        quenched=_quenched(run, final) if run.settings.relaxes_at_end else None,
        analysis=_analysed(run) if run.settings.analyse else None,
    )


def _quenched(run: Run, final: Atoms) -> RelaxResult:
    """The last structure relaxed, with the cell that the barostat had free, also written to the folder."""
    settings = run.settings
    cells: dict[str | None, CellMode] = {"volume": "volume", "lengths": "lengths", "full": "full"}
    npt = settings.ensemble == "npt"
    found = relax(
        final,
        cell=cells[settings.cell] if npt else "none",
        pressure_gpa=settings.target(settings.steps)[1] or 0.0 if npt else 0.0,
        guard=settings.guard,
        quiet=run.quiet,
    )
    if not found.converged:
        text = f"the relaxation at the end left a force of {found.fmax:.2g} eV/Å"
        warnings.warn(f"{text}: relax quenched.extxyz further", JMPWarning, stacklevel=4)
    if run.paths:
        write_frames(run.paths["quenched.extxyz"], [snapshot(found.atoms, stress=npt)])
    return found


def _analysed(run: Run) -> Analysis | None:
    """What the whole run says; a JMPWarning where it is too short for that, or its frames are at unequal
    times."""
    found = run.analyse()
    if found is None and run.not_analysed is not None:
        fact = run.not_analysed.fact.rstrip(".")
        text = f"the run is not analysed: {fact[0].lower()}{fact[1:]} (traj_every {run.settings.traj_every})"
        warnings.warn(text, JMPWarning, stacklevel=4)
    return found


def _drift(run: Run, table: np.ndarray, n_atoms: int) -> DriftVerdict | None:
    """Verdict on what is conserved, if anything is."""
    if run.settings.ensemble == "nve":
        return drift_verdict(table, n_atoms)
    if run.settings.stages or "conserved_eV" not in run.table.columns:
        return None
    return drift_verdict(table, n_atoms, run.table.columns.index("conserved_eV"))


def continues_run_in(folder: Path, state: MDState, prefix: str = "") -> bool:
    """Whether ``state`` is the one in the restart file of ``folder``: only then its table and frames are
    added to."""
    own = folder / with_prefix("restart.npz", prefix)
    return own.is_file() and state.is_same_as(MDState.load(own))


def _refuse_old_output(folder: Path, state: MDState | None, prefix: str) -> None:
    if state is not None and continues_run_in(folder, state, prefix):
        return
    found = [name for name in OUTPUTS if (folder / with_prefix(name, prefix)).exists()]
    if found:
        hint = "continue it with restart= and its own restart file, or choose another folder"
        raise UsageError(
            f"An earlier run is in this folder: {', '.join(found)}.", where=str(folder), hint=hint
        )
