"""``jmp-calc relax``: relax a structure and write opt.extxyz, traj.extxyz, opt.log, summary.yaml."""

from __future__ import annotations

import click

from .command_run import CommandRun, model_record
from .dry_run import dry_run_report
from .options import Common, common_options, structure_argument

EPILOG = """\b
Examples:
  jmp-calc relax POSCAR
  jmp-calc relax si.cif --opt-cell full --pressure 5 -o si_5gpa
  jmp-calc relax run.traj@-1 --optimizer FIRE --fmax 0.001"""


@click.command(epilog=EPILOG)
@structure_argument
@common_options(out="./jmp_results/relax")
@click.option("--fmax", type=float, default=0.01, show_default=True, help="Largest force allowed, eV/Å.")
@click.option("--steps", type=int, default=1000, show_default=True, help="Most optimizer steps.")
@click.option(
    "--optimizer",
    type=click.Choice(["LBFGS", "BFGS", "FIRE"], case_sensitive=False),
    default="LBFGS",
    show_default=True,
)
@click.option(
    "--opt-cell",
    type=click.Choice(["none", "volume", "lengths", "full"]),
    default="none",
    show_default=True,
    help="Which changes of the cell are allowed.",
)
@click.option("--opt-cell-fully", "cell_fully", is_flag=True, hidden=True, help="Same as --opt-cell full.")
@click.option(
    "--opt-cell-lengths", "cell_lengths", is_flag=True, hidden=True, help="Same as --opt-cell lengths."
)
@click.option(
    "--pressure", type=float, default=0.0, show_default=True, help="Pressure, GPa (needs --opt-cell)."
)
@click.option("--fix-symmetry", is_flag=True, help="Keep the space group (refines noise below 0.01 Å first).")
@click.option(
    "--allow-unconverged", is_flag=True, help="Exit with 0 also when the force limit was not reached."
)
@click.option("--allow-truncated", is_flag=True, help="Drop an incomplete last frame of an (ext)xyz file.")
def relax(
    struct: str,
    common: Common,
    fmax: float,
    steps: int,
    optimizer: str,
    opt_cell: str,
    cell_fully: bool,
    cell_lengths: bool,
    pressure: float,
    fix_symmetry: bool,
    allow_unconverged: bool,
    allow_truncated: bool,
) -> None:
    """Relax the atoms of STRUCT (any ASE file, FILE@INDEX) and, on request, its cell.

    Exit code 3 when the force limit is not reached in --steps steps; the files are written all the same.
    """
    from ..errors import UsageError
    from ..io.structures import parse_structure, read_structure
    from ..workflows.relax import OUTPUTS, RelaxSettings, settings_dict
    from ..workflows.relax import relax as run_relax

    chosen = {mode for mode, asked in (("full", cell_fully), ("lengths", cell_lengths)) if asked}
    chosen |= {opt_cell} - {"none"}
    if len(chosen) > 1:
        raise UsageError(
            f"Conflicting cell options: {', '.join(sorted(chosen))}.", hint="give one --opt-cell"
        )
    cell = chosen.pop() if chosen else "none"
    settings = RelaxSettings(fmax, steps, optimizer.upper(), cell, pressure, fix_symmetry)  # type: ignore[arg-type]
    atoms = read_structure(struct, allow_truncated=allow_truncated)
    inputs = [parse_structure(struct).path]
    run = CommandRun(common, "relax", outputs=OUTPUTS, settings=settings_dict(settings), inputs=inputs)
    if common.dry_run:
        run.check()
        dry_run_report(
            common,
            "relax",
            {
                "structure": f"{atoms.get_chemical_formula()} from {struct}",
                "model": model_record(common.calculator()),
                **settings_dict(settings),
                "writes": ", ".join(OUTPUTS),
            },
        )
        return
    with run:
        run.add_structure(struct, atoms)
        atoms.calc = common.calculator()
        run.model = model_record(atoms.calc)
        result = run_relax(
            atoms,
            fmax=fmax,
            steps=steps,
            optimizer=settings.optimizer,
            cell=settings.cell,
            pressure_gpa=pressure,
            fix_symmetry=fix_symmetry,
            out=common.out,
            prefix=common.prefix,
            quiet=common.quiet,
        )
        run.results = result.to_dict()
        for name, what in zip(OUTPUTS, ("relaxed structure", "every step", "optimizer log"), strict=True):
            run.add_output(run.path(name), what)
        common.say(
            f"energy {result.energy_ev:.6f} eV, largest force {result.fmax:.2g} eV/Å, {result.n_steps} steps"
        )
        if not allow_unconverged:
            result.require_converged()
        common.say(f"wrote {run.path('opt.extxyz')}")
