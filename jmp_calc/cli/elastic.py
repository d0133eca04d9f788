"""``jmp-calc elastic``: elastic constants of a crystal; writes tensors, figures and summary.yaml."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import click

from ..workflows.statics.elastic_settings import ElasticSettings, Ions
from .arguments import Arguments
from .command_run import CommandRun, model_record
from .dry_run import dry_run_report
from .options import Common, common_options, structure_argument

if TYPE_CHECKING:
    from ..workflows.statics.elastic_result import ElasticResult

EPILOG = """\b
Examples:
  jmp-calc elastic jmp_results/relax/opt.extxyz -o si_elastic
  jmp-calc elastic POSCAR --ions clamped --json
  jmp-calc elastic quartz.cif --max-strain 0.01 --n-strains 6 --strict

Relax the cell first (jmp-calc relax --opt-cell full --fmax 1e-3): only positions are relaxed here."""

ELASTIC = Arguments("workflows.statics.elastic", "elastic", ElasticSettings)


@click.command(epilog=EPILOG)
@structure_argument
@common_options(out="./jmp_results/elastic", dtype="float64")
@ELASTIC.option("--max-strain", argument="max_strain", type=float)
@ELASTIC.option("--n-strains", argument="n_strains", type=int)
@ELASTIC.option("--ions", argument="ions", type=click.Choice(get_args(Ions)))
@ELASTIC.option("--fmax", argument="fmax", type=float)
@ELASTIC.option("--relax-steps", argument="relax_steps", type=int)
@ELASTIC.option("--allow-unconverged", argument="allow_unconverged", is_flag=True)
@ELASTIC.option("--symprec", argument="symprec", type=float)
@click.option("--strict", is_flag=True, help="Exit with 3 when the crystal is not stable.")
@click.option("--resume", is_flag=True, default=False, help=ELASTIC.help("resume"))
@click.option("--plot/--no-plot", default=True, show_default=True, help=ELASTIC.help("plot"))
@click.option("--allow-truncated", is_flag=True, help="Drop an incomplete last frame of an (ext)xyz file.")
def elastic(
    struct: str,
    common: Common,
    strict: bool,
    resume: bool,
    plot: bool,
    allow_truncated: bool,
    **given: Any,
) -> None:
    """Elastic constants of STRUCT (any ASE file, FILE@INDEX) with clamped and with relaxed ions, and moduli.

    Exit code 3 when a relaxation does not reach --fmax; with --strict also when a strain costs no energy.
    """
    from ..io.records import STATE
    from ..io.structures import pick_structure
    from ..workflows.relax_many import JOURNAL
    from ..workflows.statics.elastic import elastic as run_elastic
    from ..workflows.statics.elastic_result import OUTPUTS

    settings = ElasticSettings(**given)
    picked = pick_structure(struct, allow_truncated=allow_truncated)
    atoms = picked.atoms
    run = CommandRun(
        common,
        "elastic",
        outputs=(*OUTPUTS, JOURNAL, STATE),
        settings=settings.to_dict(),
        inputs=[picked.path],
        resume=resume,
        resume_hint="--resume goes on",
    )
    if common.dry_run:
        from ..workflows.statics.crystal import check_crystal
        from ..workflows.statics.elastic import WHAT

        run.check()
        check_crystal(atoms, WHAT)
        facts = {
            "structure": f"{atoms.get_chemical_formula()} from {struct}",
            "model": model_record(common.calculator(atoms)),
            **settings.to_dict(),
            "strained_cells": 6 * settings.n_strains,
            "writes": ", ".join(OUTPUTS),
        }
        dry_run_report(common, "elastic", facts)
        return
    with run:
        run.add_structure(picked)
        calculator = common.calculator(atoms)
        run.model = model_record(calculator)
        run.say_if_new(resume)
        files: dict[str, Any] = dict(out=common.out, prefix=common.prefix, plot=False)
        result = run_elastic(
            atoms, calc=calculator, **settings.to_dict(), **files, resume=resume, quiet=common.quiet
        )
        run.write_result(result, _lines(result), plot=plot)
        if strict:
            result.require_stable()


def _lines(result: ElasticResult) -> list[str]:
    """The tensor, the moduli and the verdict."""
    from ..workflows.statics.elastic_result import describe

    tensor, hill = result.tensor, result.tensor.hill
    lines = [
        f"{result.space_group}; elastic constants with {result.ions} ions in the crystal's standard axes "
        "(GPa):"
    ]
    rows = result.standard_gpa.round(2) + 0.0
    lines += ["  " + " ".join(f"{value:9.2f}" for value in row) for row in rows]
    if result.relaxed is not None:
        change = abs(result.relaxed.constants_gpa - result.clamped.constants_gpa).max()
        lines.append(f"relaxing the ions changes them by up to {change:.2f} GPa")
    if hill is None:
        place, lowest = describe(tensor.softest_strain), tensor.eigenvalues_gpa[0]
        return [*lines, f"not stable: {place} has the stiffness {lowest:.3g} GPa"]
    voigt, reuss = tensor.voigt, tensor.reuss
    if reuss is not None:
        lines.append(
            f"bulk modulus {hill.bulk_gpa:.4g} GPa (Reuss {reuss.bulk_gpa:.4g}, Voigt {voigt.bulk_gpa:.4g}), "
            f"shear modulus {hill.shear_gpa:.4g} GPa (Reuss {reuss.shear_gpa:.4g}, Voigt "
            f"{voigt.shear_gpa:.4g}); stable"
        )
    return lines
