"""``jmp-calc md``: molecular dynamics with restart, guard and drift verdict."""

from __future__ import annotations

from pathlib import Path

import click

from .command_run import CommandRun, model_record
from .dry_run import dry_run_report
from .options import Common, common_options, structure_argument

EPILOG = """\b
Examples:
  jmp-calc md jmp_results/relax/opt.extxyz --ensemble nve --temp 300 --timestep 0.5 --steps 10000
  jmp-calc md si64.cif --ensemble npt --temp 600 --pressure 1 --steps 20000 -o si_npt
  jmp-calc md si64.cif --ensemble npt --temp 600 --pressure 1 --steps 40000 -o si_npt --restart auto

Units: K, fs, GPa, 1/ps; stats.dat names them in its header. Ctrl-C or SIGTERM writes restart.npz first."""


@click.command(epilog=EPILOG)
@structure_argument
@common_options(out="./jmp_results/md")
@click.option(
    "--ensemble",
    default="nvt",
    show_default=True,
    help="nve, nvt (Langevin) or npt (isotropic Martyna-Tobias-Klein).",
)
@click.option(
    "--temp", "--temperature", "temp", type=float, default=300.0, show_default=True, help="Temperature, K."
)
@click.option("--pressure", type=float, default=None, help="Pressure, GPa (npt only; default 0).")
@click.option("--timestep", type=float, default=1.0, show_default=True, help="Time step, fs.")
@click.option(
    "--steps", type=int, default=1000, show_default=True, help="Total number of steps, restarts included."
)
@click.option("--friction", type=float, default=None, help="Langevin friction, 1/ps (nvt only; default 5).")
@click.option(
    "--thermostat-time", type=float, default=None, help="Thermostat time, fs (npt only; default 100 steps)."
)
@click.option(
    "--barostat-time", type=float, default=None, help="Barostat time, fs (npt only; default 1000 steps)."
)
@click.option(
    "--velocities",
    type=click.Choice(["new", "keep"]),
    default="new",
    show_default=True,
    help="Draw new velocities from --seed, or keep those in STRUCT.",
)
@click.option(
    "--remove-rot/--no-remove-rot",
    default=None,
    help="Start without rotation (default: new velocities of molecules, nve).",
)
@click.option(
    "--stats-every", type=int, default=10, show_default=True, help="Steps between rows of stats.dat."
)
@click.option(
    "--traj-every", type=int, default=10, show_default=True, help="Steps between frames of traj.extxyz."
)
@click.option(
    "--restart-every", type=int, default=1000, show_default=True, help="Steps between restart files."
)
@click.option(
    "--restart",
    default=None,
    metavar="auto|FILE",
    help="Go on from a restart file; auto: from the one in the output folder, if there is one. Another's "
    "needs an "
    "empty output folder.",
)
@click.option("--resume", is_flag=True, help="Same as --restart auto.")
@click.option("--guard/--no-guard", default=True, help="Stop on NaN, runaway heat, colliding or lost atoms.")
@click.option("--allow-truncated", is_flag=True, help="Drop an incomplete last frame of an (ext)xyz file.")
def md(
    struct: str,
    common: Common,
    ensemble: str,
    temp: float,
    pressure: float | None,
    timestep: float,
    steps: int,
    friction: float | None,
    thermostat_time: float | None,
    barostat_time: float | None,
    velocities: str,
    remove_rot: bool | None,
    stats_every: int,
    traj_every: int,
    restart_every: int,
    restart: str | None,
    resume: bool,
    guard: bool,
    allow_truncated: bool,
) -> None:
    """Run molecular dynamics from STRUCT (any ASE file, FILE@INDEX).

    Exit codes: 7 when the guard stopped the run (last good frame saved), 130 or 143 when interrupted (restart
    saved).
    """
    from ..errors import UsageError
    from ..io.outdir import with_prefix
    from ..io.structures import parse_structure, read_structure
    from ..workflows.md import OUTPUTS, continues_run_in
    from ..workflows.md import md as run_md
    from ..workflows.md_settings import MDSettings
    from ..workflows.restart import MDState

    if restart is not None and resume and restart != "auto":
        raise UsageError("--resume and --restart FILE contradict each other.", hint="give one of them")
    settings = MDSettings(
        ensemble,
        temp,
        timestep,
        steps,
        pressure,
        friction,
        thermostat_time,
        barostat_time,
        common.seed,
        velocities,  # type: ignore[arg-type]
        remove_rot,
        stats_every,
        traj_every,
        restart_every,
        guard,
    ).resolved()
    atoms = read_structure(struct, allow_truncated=allow_truncated)
    own = common.out / with_prefix("restart.npz", common.prefix)
    if resume or restart == "auto":
        source = own if own.exists() else None
    else:
        source = None if restart is None else Path(restart)
    continues = source is not None and continues_run_in(common.out, MDState.load(source), common.prefix)
    if continues and common.overwrite:
        raise UsageError(
            "--overwrite and a restart contradict each other.", hint="leave out --overwrite to go on"
        )
    run = CommandRun(
        common,
        "md",
        outputs=OUTPUTS,
        settings=settings.to_dict(),
        inputs=[parse_structure(struct).path, source],
        resume=continues,
        resume_hint="--restart auto continues it" if own.exists() else "",
    )
    if common.dry_run:
        run.check()
        facts = {key: value for key, value in settings.to_dict().items() if value is not None}
        dry_run_report(
            common,
            "md",
            {
                "structure": f"{atoms.get_chemical_formula()} from {struct}",
                "model": model_record(common.calculator()),
                **facts,
                "length_ps": steps * timestep / 1000,
                "restart": source,
                "writes": ", ".join(OUTPUTS[:4]),
            },
        )
        return
    with run:
        run.add_structure(struct, atoms)
        atoms.calc = common.calculator()
        run.model = model_record(atoms.calc)
        result = run_md(
            atoms,
            ensemble=settings.ensemble,
            temperature_k=temp,
            timestep_fs=timestep,
            steps=steps,
            pressure_gpa=pressure,
            friction_per_ps=friction,
            thermostat_time_fs=thermostat_time,
            barostat_time_fs=barostat_time,
            seed=common.seed,
            velocities=settings.velocities,
            remove_rotation=remove_rot,
            stats_every=stats_every,
            traj_every=traj_every,
            restart_every=restart_every,
            guard=guard,
            restart=source,
            out=common.out,
            prefix=common.prefix,
            quiet=common.quiet,
        )
        run.results = result.to_dict()
        for name, what in zip(
            OUTPUTS, ("thermo table", "frames", "last frame", "restart file"), strict=False
        ):
            if run.path(name).exists():  # no row or frame may have been due
                run.add_output(run.path(name), what)
        mean = run.results.get("temperature_k_mean")
        common.say(f"{result.n_steps} steps" + ("" if mean is None else f", mean temperature {mean:.1f} K"))
        if result.drift is not None:
            slope = result.drift.drift_mev_per_atom_per_ps
            common.say(f"energy drift {slope:+.3f} meV/atom/ps: {result.drift.verdict}")
        common.say(f"wrote {run.path('final.extxyz')}")
