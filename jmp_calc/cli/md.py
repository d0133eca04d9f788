"""``jmp-calc md``: molecular dynamics with restart, guard and drift verdict."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click
from click.core import ParameterSource

from ..errors import UsageError
from ..io.outdir import with_prefix
from ..workflows.md_settings import MDSettings, TrajectoryFormat
from .analyse import lines as analysis_lines
from .arguments import Arguments
from .command_run import CommandRun, model_record
from .dry_run import dry_run_report
from .options import Common, common_options, structure_argument, uncertainty_options

if TYPE_CHECKING:
    from ase import Atoms

    from ..calculator import JMPCalculator
    from ..workflows.md import MDResult
    from ..workflows.restart import MDState

EPILOG = """\b
Examples:
  jmp-calc md jmp_results/relax/opt.extxyz --ensemble nve --temp 300 --timestep 0.5 --steps 10000
  jmp-calc md si64.cif --ensemble npt --temp 600 --pressure 1 --steps 20000 -o si_npt
  jmp-calc md si64.cif --ensemble npt --temp 600 --pressure 1 --steps 40000 -o si_npt --restart auto
  jmp-calc md mol.xyz -m run/best.safetensors --uncertainty last-layer --max-uncertainty 20 --steps 20000
  jmp-calc md si64.cif --thermostat bussi --schedule "300 2 ps, 300>1500 10 ps, 1500>300 100 K/ps, relax"
  jmp-calc md si64.cif --thermostat bussi --steps 100000 --traj-format extxyz.gz --analyse

Units: K, fs, GPa, 1/ps; stats.dat names them in its header. Ctrl-C or SIGTERM writes restart.npz first."""


MD = Arguments("workflows.md", "md", MDSettings)


@click.command(epilog=EPILOG)
@structure_argument
@common_options(out="./jmp_results/md")
@uncertainty_options
@MD.option("--ensemble", argument="ensemble")
@MD.option("--thermostat", argument="thermostat")
@MD.option("--cell", argument="cell")
@MD.option("--schedule", argument="schedule")
@MD.option("--temp", "--temperature", "temperature_k", argument="temperature_k", type=float)
@MD.option("--pressure", "pressure_gpa", argument="pressure_gpa", type=float)
@MD.option("--timestep", "timestep_fs", argument="timestep_fs", type=float)
@MD.option("--steps", argument="steps", type=int)
@MD.option("--friction", "friction_per_ps", argument="friction_per_ps", type=float)
@MD.option("--thermostat-time", "thermostat_time_fs", argument="thermostat_time_fs", type=float)
@MD.option("--barostat-time", "barostat_time_fs", argument="barostat_time_fs", type=float)
@MD.option("--velocities", argument="velocities", type=click.Choice(["new", "keep"]))
@MD.option("--remove-rot/--no-remove-rot", "remove_rotation", argument="remove_rotation")
@MD.option("--stats-every", argument="stats_every", type=int)
@MD.option("--traj-every", argument="traj_every", type=int)
@MD.option("--traj-format", argument="traj_format", type=click.Choice(get_args(TrajectoryFormat)))
@MD.option("--restart-every", argument="restart_every", type=int)
@click.option(
    "--restart",
    default=None,
    metavar="auto|FILE",
    help="Go on from a restart file; auto: from the one in the output folder, if there is one. Another's "
    "needs an empty output folder.",
)
@click.option("--resume", is_flag=True, help="Same as --restart auto.")
@MD.option("--guard/--no-guard", argument="guard")
@MD.option("--max-uncertainty", "max_uncertainty_mev", argument="max_uncertainty_mev", type=float)
@MD.option("--analyse", argument="analyse", is_flag=True)
@click.option("--plot/--no-plot", default=True, show_default=True, help=MD.help("plot"))
@click.option("--allow-truncated", is_flag=True, help="Drop an incomplete last frame of an (ext)xyz file.")
def md(
    struct: str,
    common: Common,
    restart: str | None,
    resume: bool,
    plot: bool,
    allow_truncated: bool,
    **given: Any,
) -> None:
    """Run molecular dynamics from STRUCT (any ASE file, FILE@INDEX).

    Exit codes: 7 when the guard stopped the run (last good frame saved), 130 or 143 when interrupted (restart
    saved).
    """
    from ..io.structures import pick_structure
    from ..workflows.md import OUTPUTS, continues_run_in
    from ..workflows.restart import MDState

    settings = MDSettings(seed=common.seed, **given).resolved()
    settings.check_given(*(given[name] if _is_given(name) else None for name in ("temperature_k", "steps")))
    source = _restart_file(common, restart, resume)
    picked = pick_structure(struct, allow_truncated=allow_truncated)
    state = None if source is None else MDState.load(source)
    continues = state is not None and continues_run_in(common.out, state, common.prefix)
    if continues and common.overwrite:
        raise UsageError(
            "--overwrite and a restart contradict each other.", hint="leave out --overwrite to go on"
        )
    calculator = None if state is None else _checked_calculator(common, picked.atoms, settings, state)
    run = CommandRun(
        common,
        "md",
        outputs=OUTPUTS,
        settings=settings.to_dict(),
        inputs=[picked.path, source],
        resume=continues,
        resume_hint="--restart auto continues it" if _own_restart(common).exists() else "",
    )
    if common.dry_run:
        run.check()
        _dry_run(struct, picked.atoms, common, settings, source, plot)
        return
    with run:
        run.add_structure(picked)
        _run(run, picked.atoms, calculator or common.calculator(picked.atoms), settings, state, plot)


def _is_given(name: str) -> bool:
    """Whether an option has more than its default, which may be the same value."""
    return click.get_current_context().get_parameter_source(name) is not ParameterSource.DEFAULT


def _checked_calculator(common: Common, atoms: Atoms, settings: MDSettings, state: MDState) -> JMPCalculator:
    """The calculator; UsageError when ``state`` is not of this run, before its folder is touched."""
    from ..workflows.common import working_copy
    from ..workflows.md_run import check_restart

    calculator = common.calculator(atoms)
    check_restart(working_copy(atoms, calculator), settings, state)
    return calculator


def _run(
    run: CommandRun,
    atoms: Atoms,
    calculator: JMPCalculator,
    settings: MDSettings,
    state: MDState | None,
    plot: bool,
) -> None:
    """Run, record and say what came out."""
    from ..workflows.md import OUTPUTS
    from ..workflows.md import md as run_md

    common = run.common
    run.model = model_record(calculator)
    if state is not None:
        common.say(_going_on(state.step, settings.steps))
    result = run_md(
        atoms,
        calc=calculator,
        **settings.to_dict(),
        restart=state,
        out=common.out,
        prefix=common.prefix,
        plot=plot,
        quiet=common.quiet,
    )
    run.results = result.to_dict()
    _add_outputs(run, OUTPUTS)
    for line in _lines(result):
        common.say(line)
    common.say(f"wrote {run.path('final.extxyz')}")


def _own_restart(common: Common) -> Path:
    return common.out / with_prefix("restart.npz", common.prefix)


def _restart_file(common: Common, restart: str | None, resume: bool) -> Path | None:
    """The file that --restart or --resume mean; None: a new run."""
    if restart is not None and resume and restart != "auto":
        raise UsageError("--resume and --restart FILE contradict each other.", hint="give one of them")
    if resume or restart == "auto":
        own = _own_restart(common)
        return own if own.exists() else None
    return None if restart is None else Path(restart)


def _going_on(step: int, steps: int) -> str:
    if step == steps:
        return f"already complete: the restart file is at step {step} of {steps}"
    return f"goes on at step {step} of {steps}"


def _add_outputs(run: CommandRun, names: Sequence[str]) -> None:
    known = ("thermo table", "frames", "last frame", "restart file", "last good frame", "frames")
    for name, what in zip_longest(names, known):
        if run.path(name).exists():  # no row or frame may have been due
            run.add_output(run.path(name), what or Path(name).stem)


def _lines(result: MDResult) -> list[str]:
    """What one must know of the run."""
    found = result.to_dict()
    speed = "" if result.ns_per_day is None else f", {result.ns_per_day:.3g} ns/day"
    lines = [f"{result.n_steps} steps, {result.time_ps:g} ps{speed}"]
    if "temperature_k_mean" in found:
        means = [f"temperature {found['temperature_k_mean']:.1f} K"]
        if "pressure_gpa_mean" in found:
            means.append(f"pressure {found['pressure_gpa_mean']:.3g} GPa")
        if "volume_a3_mean" in found:
            means.append(f"volume {found['volume_a3_mean']:.2f} Å³")
        part = f"{found['means_from_ps']:g} to {found['means_to_ps']:g} ps"
        lines.append(f"mean {', '.join(means)} (from {part})")
    for stage in found.get("stages", ()):
        lines.append(f"{stage['stage']}: mean temperature {stage['temperature_k_mean']:.1f} K")
    if result.quenched is not None:
        left = result.quenched
        lines.append(f"relaxed at the end: {left.energy_ev:.6f} eV, force {left.fmax:.2g} eV/Å")
    if result.analysis is not None:
        lines += [
            line for line in analysis_lines(result.analysis) if line.startswith("g(r)") or " diffus" in line
        ]
    if result.drift is not None:
        slope = result.drift.drift_mev_per_atom_per_ps
        what = "energy" if result.settings.ensemble == "nve" else "conserved energy"
        lines.append(f"{what} drift {slope:+.3f} meV/atom/ps: {result.drift.verdict}")
    return lines


def _writes(settings: MDSettings, plot: bool) -> list[str]:
    """Names of the files of a run that ends well."""
    from ..analysis.result import OUTPUTS as ANALYSIS
    from ..workflows.md_run import PLOTS

    return [
        "stats.dat",
        f"traj.{settings.traj_format}",
        "final.extxyz",
        "restart.npz",
        *(["quenched.extxyz"] if settings.relaxes_at_end else []),
        *(PLOTS if plot else []),
        *(ANALYSIS if settings.analyse else []),
    ]


def _dry_run(
    struct: str, atoms: Atoms, common: Common, settings: MDSettings, source: Path | None, plot: bool
) -> None:
    """Say what would be run."""
    facts = {
        "structure": f"{atoms.get_chemical_formula()} from {struct}",
        "model": model_record(common.calculator(atoms)),
        **{key: value for key, value in settings.to_dict().items() if value is not None},
        "length_ps": settings.steps * settings.timestep_fs / 1000,
        "restart": source,
        "writes": ", ".join(_writes(settings, plot)),
    }
    dry_run_report(common, "md", facts)
