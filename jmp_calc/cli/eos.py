"""``jmp-calc eos``: the equation of state of a crystal; writes its points, a figure and summary.yaml."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import click

from ..workflows.statics.eos_settings import EosForm, EosRelax, EosSettings
from .arguments import Arguments
from .command_run import CommandRun, model_record
from .dry_run import dry_run_report
from .options import Common, common_options, structure_argument

if TYPE_CHECKING:
    from pathlib import Path

    from ..workflows.statics.eos_result import EosResult

EPILOG = """\b
Examples:
  jmp-calc eos jmp_results/relax/opt.extxyz -o cu_eos
  jmp-calc eos quartz.cif --relax shape --min-volume 0.9 --max-volume 1.1 --n-volumes 11
  jmp-calc eos POSCAR --form vinet --json

Relax the cell first (jmp-calc relax --opt-cell full): the volumes are relative to that of STRUCT."""

EOS = Arguments("workflows.statics.eos", "eos", EosSettings)


@click.command(epilog=EPILOG)
@structure_argument
@common_options(out="./jmp_results/eos", dtype="float64")
@EOS.option("--min-volume", argument="min_volume", type=float)
@EOS.option("--max-volume", argument="max_volume", type=float)
@EOS.option("--n-volumes", argument="n_volumes", type=int)
@EOS.option("--form", "--eos-type", "form", argument="form", type=click.Choice(get_args(EosForm)))
@EOS.option("--relax", argument="relax", type=click.Choice(get_args(EosRelax)))
@EOS.option("--fmax", argument="fmax", type=float)
@EOS.option("--relax-steps", argument="relax_steps", type=int)
@EOS.option("--allow-unconverged", argument="allow_unconverged", is_flag=True)
@EOS.option("--symprec", argument="symprec", type=float)
@click.option("--resume", is_flag=True, default=False, help=EOS.help("resume"))
@click.option("--plot/--no-plot", default=True, show_default=True, help=EOS.help("plot"))
@click.option("--allow-truncated", is_flag=True, help="Drop an incomplete last frame of an (ext)xyz file.")
def eos(struct: str, common: Common, resume: bool, plot: bool, allow_truncated: bool, **given: Any) -> None:
    """Equation of state of STRUCT (any ASE file, FILE@INDEX): energies at several volumes, bulk modulus.

    Exit code 3 when a relaxation does not reach --fmax, or when the minimum is not among the volumes; the
    files are written in the second case.
    """
    from ..io.records import STATE
    from ..io.structures import pick_structure
    from ..workflows.relax_many import JOURNAL
    from ..workflows.statics.eos import WHAT
    from ..workflows.statics.eos import eos as run_eos
    from ..workflows.statics.eos_result import OUTPUTS

    settings = EosSettings(**given)
    picked = pick_structure(struct, allow_truncated=allow_truncated)
    atoms = picked.atoms
    run = CommandRun(
        common,
        "eos",
        outputs=(*OUTPUTS, JOURNAL, STATE),
        settings=settings.to_dict(),
        inputs=[picked.path],
        resume=resume,
        resume_hint="--resume goes on",
    )
    if common.dry_run:
        from ..workflows.statics.crystal import check_crystal

        run.check()
        check_crystal(atoms, WHAT)
        facts = {
            "structure": f"{atoms.get_chemical_formula()} from {struct}",
            "model": model_record(common.calculator(atoms)),
            **settings.to_dict(),
            "volumes_a3": [round(float(v), 4) for v in settings.scales * atoms.get_volume()],
            "writes": ", ".join(OUTPUTS),
        }
        dry_run_report(common, "eos", facts)
        return
    with run:
        run.add_structure(picked)
        calculator = common.calculator(atoms)
        run.model = model_record(calculator)
        run.say_if_new(resume)
        files: dict[str, Any] = dict(out=common.out, prefix=common.prefix, plot=False)
        result = run_eos(
            atoms, calc=calculator, **settings.to_dict(), **files, resume=resume, quiet=common.quiet
        )
        run.write_result(result, _lines(result), plot=plot, what=_what)
        result.require_minimum()


def _what(path: Path) -> str:
    """What a file holds."""
    held = {".dat": "volumes and energies", ".extxyz": "structures at each volume"}
    return held.get(path.suffix, "equation of state")


def _lines(result: EosResult) -> list[str]:
    """What one must know of the curve."""
    fit, n_atoms = result.fit, len(result.frames[0])
    if fit is None:
        return []
    others = [other.bulk_modulus_gpa for other in result.fits.values() if other is not None]
    lines = [
        f"bulk modulus {fit.bulk_modulus_gpa:.4g} GPa ({min(others):.4g} to {max(others):.4g} by other "
        f"forms), its derivative {fit.bulk_modulus_derivative:.3g}",
        f"volume {fit.volume_a3:.4f} Å³ ({fit.volume_a3 / n_atoms:.4f} per atom), energy "
        f"{fit.energy_ev:.6f} eV",
    ]
    mismatch = result.pressure_mismatch_gpa
    stress = "" if mismatch is None else f", stress and curve differ by {mismatch:.2g} GPa"
    lines.append(f"the curve misses the energies by {1e3 * fit.residual_ev / n_atoms:.2g} meV/atom{stress}")
    return lines
