"""``jmp-calc relax``: relax a structure and write opt.extxyz, traj.extxyz, opt.log, summary.yaml; or many at
once (``relax_many``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import click

from ..errors import UsageError
from ..workflows.relax_settings import CellMode, OptimizerName, RelaxSettings
from .arguments import Arguments
from .command_run import CommandRun, model_record
from .dry_run import dry_run_report
from .options import Common, common_options, structure_argument, write_option

if TYPE_CHECKING:
    from ase import Atoms

    from ..workflows.relax_result import RelaxResult

EPILOG = """\b
Examples:
  jmp-calc relax POSCAR
  jmp-calc relax si.cif --opt-cell full --pressure 5 -o si_5gpa
  jmp-calc relax run.traj@-1 --optimizer FIRE --fmax 0.001
  jmp-calc relax molecules.extxyz@: -o relaxed"""

RELAX = Arguments("workflows.relax", "relax", RelaxSettings)
RELAX_MANY = Arguments("workflows.relax_many", "relax_many")


@click.command(epilog=EPILOG)
@structure_argument
@common_options(out="./jmp_results/relax")
@RELAX.option("--fmax", argument="fmax", type=float)
@RELAX.option("--steps", argument="steps", type=int)
@RELAX.option(
    "--optimizer", argument="optimizer", type=click.Choice(get_args(OptimizerName), case_sensitive=False)
)
@RELAX.option("--opt-cell", argument="cell", type=click.Choice(get_args(CellMode)))
@click.option("--opt-cell-fully", "cell_fully", is_flag=True, hidden=True, help="Same as --opt-cell full.")
@click.option(
    "--opt-cell-lengths", "cell_lengths", is_flag=True, hidden=True, help="Same as --opt-cell lengths."
)
@RELAX.option("--pressure", argument="pressure_gpa", type=float)
@RELAX.option("--fix-symmetry", argument="fix_symmetry", is_flag=True)
@RELAX.option("--symprec", argument="symprec", type=float)
@RELAX.option("--guard/--no-guard", argument="guard")
@click.option(
    "--allow-unconverged", is_flag=True, help="Exit with 0 also when the force limit was not reached."
)
@RELAX_MANY.option("--together", argument="together", type=click.IntRange(min=1))
@click.option("--resume", is_flag=True, help="Of several structures: " + RELAX_MANY.help("resume"))
@click.option("--allow-truncated", is_flag=True, help="Drop an incomplete last frame of an (ext)xyz file.")
@write_option("opt")
def relax(
    struct: str,
    common: Common,
    write: tuple[str, ...],
    opt_cell: str,
    cell_fully: bool,
    cell_lengths: bool,
    pressure: float,
    allow_unconverged: bool,
    together: int,
    resume: bool,
    allow_truncated: bool,
    **given: Any,
) -> None:
    """Relax the atoms of STRUCT (any ASE file, FILE@INDEX) and, on request, its cell.

    Exit code 3 when the force limit is not reached in --steps steps, or when the relaxation ended above its
    start; 7 when the guard stopped it. The files are written all the same, opt.extxyz with the structure of
    lowest energy (enthalpy under pressure).

    Several structures, FILE@: or FILE@0:100, are relaxed side by side in batches: relaxed.extxyz and
    relax.csv have a row for each; exit code 3 when some failed or did not converge, which are named.
    """
    from ..io.files import parse_structure
    from ..io.structures import pick_structure
    from ..io.write import check_cell, write_as, written_name
    from ..workflows.relax_result import OUTPUTS

    settings = RelaxSettings(cell=_cell(opt_cell, cell_fully, cell_lengths), pressure_gpa=pressure, **given)
    if isinstance(parse_structure(struct).index, slice):
        from .relax_many import Several, relax_several

        if write:
            raise UsageError("--write is for one structure.", hint="relaxed.extxyz has all")
        several = Several(struct, together, resume, allow_unconverged, allow_truncated)
        relax_several(common, several, settings)
        return
    if resume:
        raise UsageError("--resume is for several structures.", hint="FILE@: names all of a file")
    picked = pick_structure(struct, allow_truncated=allow_truncated)
    check_cell(picked.atoms, write)
    inputs = [picked.path]
    also = [written_name("opt", name) for name in write]
    run = CommandRun(common, "relax", outputs=(*OUTPUTS, *also), settings=settings.to_dict(), inputs=inputs)
    if common.dry_run:
        run.check()
        facts = {
            "structure": f"{picked.atoms.get_chemical_formula()} from {struct}",
            "model": model_record(common.calculator(picked.atoms)),
            **settings.to_dict(),
            "writes": ", ".join([*OUTPUTS, *also]),
        }
        dry_run_report(common, "relax", facts)
        return
    with run:
        run.add_structure(picked)
        result = _relaxed(run, picked.atoms, settings)
        for form, name in zip(write, also, strict=True):
            write_as(run.path(name), [result.trajectory[result.step]], form)
            run.add_output(run.path(name), "relaxed structure")
        if result.climbed or not allow_unconverged:
            result.require_converged()
        common.say(f"wrote {run.path('opt.extxyz')}")


def _relaxed(run: CommandRun, atoms: Atoms, settings: RelaxSettings) -> RelaxResult:
    """Relax, record and say what came out."""
    from ..workflows.relax import relax as run_relax
    from ..workflows.relax_result import OUTPUTS

    common, calculator = run.common, run.common.calculator(atoms)
    run.model = model_record(calculator)
    result = run_relax(
        atoms, calc=calculator, **settings.to_dict(), out=common.out, prefix=common.prefix, quiet=common.quiet
    )
    run.results = result.to_dict()
    for name, what in zip(OUTPUTS, ("relaxed structure", "every step", "optimizer log"), strict=True):
        run.add_output(run.path(name), what)
    for line in _lines(result):
        common.say(line)
    return result


def _cell(opt_cell: str, fully: bool, lengths: bool) -> CellMode:
    """The one mode that the options ask for."""
    chosen: set[Any] = {mode for mode, asked in (("full", fully), ("lengths", lengths)) if asked}
    chosen |= {opt_cell} - {"none"}
    if len(chosen) > 1:
        raise UsageError(
            f"Conflicting cell options: {', '.join(sorted(chosen))}.", hint="give one --opt-cell"
        )
    return chosen.pop() if chosen else "none"


def _lines(result: RelaxResult) -> list[str]:
    """What one must know of the structure kept."""
    springs = result.constraint_energy_ev
    energy = f"energy {result.energy_ev:.6f} eV" + (f", of the springs {springs:+.6f} eV" if springs else "")
    lines = [f"{energy}, largest force {result.fmax:.2g} eV/Å, {result.n_steps} steps"]
    if result.step != result.n_steps:
        lines.append(f"kept is the structure of step {result.step}, the lowest")
    before, after = result.space_groups
    if after is not None:
        lines.append(f"space group {after}, " + ("kept" if before == after else f"at the start {before}"))
    if result.stress_gpa is not None:
        a, b, c, alpha, beta, gamma = result.atoms.cell.cellpar()
        cell = f"cell {a:.4f} {b:.4f} {c:.4f} Å, {alpha:.2f} {beta:.2f} {gamma:.2f}°"
        first, last = result.trajectory[0].get_volume(), result.atoms.get_volume()
        lines.append(f"{cell}; volume {last:.3f} Å³ ({100 * (last / first - 1):+.2f} %)")
        reached = "" if result.pressure_gpa is None else f"pressure {result.pressure_gpa:.3g} GPa, "
        lines.append(f"{reached}largest stress left {result.stress_left_gpa:.2g} GPa")
    return lines
