"""``jmp-calc ts``: a transition state from a guess, by Sella; structures, a figure and summary.yaml."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import click

from ..workflows.paths.ts_settings import Coordinates, SaddleHessian, TSSettings
from .arguments import Arguments
from .command_run import CommandRun, model_record
from .dry_run import dry_run_report
from .options import Common, common_options, structure_argument

if TYPE_CHECKING:
    from ase import Atoms

    from ..workflows.paths.ts_result import TSResult

EPILOG = """\b
Examples:
  jmp-calc neb initial.extxyz final.extxyz -o hop
  jmp-calc ts hop/saddle.extxyz -o hop_ts          # from the highest image of a band
  jmp-calc ts guess.xyz --coordinates internal -o ts
  jmp-calc ts guess.xyz --coordinates internal -o ts --resume --steps 1000

It needs Sella: pip install "jmp-calc[sella]"."""

TS = Arguments("workflows.paths.ts", "ts", TSSettings)


@click.command(epilog=EPILOG)
@structure_argument
@common_options(out="./jmp_results/ts", dtype="float64")
@TS.option("--fmax", argument="fmax", type=float)
@TS.option("--steps", argument="steps", type=int)
@TS.option("--coordinates", argument="coordinates", type=click.Choice(get_args(Coordinates)))
@TS.option("--hessian", argument="hessian", type=click.Choice(get_args(SaddleHessian)))
@TS.option("--check/--no-check", argument="check")
@TS.option("--connect/--no-connect", argument="connect")
@TS.option("--tolerance", "tolerance_cm1", argument="tolerance_cm1", type=float)
@click.option("--resume", is_flag=True, default=False, help=TS.help("resume"))
@click.option("--plot/--no-plot", default=True, show_default=True, help=TS.help("plot"))
@click.option(
    "--allow-unconverged",
    is_flag=True,
    help="Exit with 0 also when the force limit was not reached, or it is no transition state.",
)
@click.option("--allow-truncated", is_flag=True, help="Drop an incomplete last frame of an (ext)xyz file.")
def ts(
    struct: str,
    common: Common,
    resume: bool,
    plot: bool,
    allow_unconverged: bool,
    allow_truncated: bool,
    **settings: Any,
) -> None:
    """Transition state near STRUCT (any ASE file, FILE@INDEX), by Sella.

    Exit code 3 when the force limit is not reached in --steps steps, or when what was found has another
    number of imaginary modes than one; the files are written all the same.
    """
    from ..io.structures import pick_structure
    from ..workflows.paths.ts import ts as run_ts
    from ..workflows.paths.ts_result import OUTPUTS

    checked = TSSettings(**settings)
    picked = pick_structure(struct, allow_truncated=allow_truncated)
    run = CommandRun(
        common,
        "ts",
        outputs=OUTPUTS,
        settings=checked.to_dict(),
        inputs=[picked.path],
        resume=resume,
        resume_hint="--resume goes on",
    )
    if common.dry_run:
        run.check()
        _dry_run(struct, picked.atoms, common, checked)
        return
    with run:
        run.add_structure(picked)
        calculator = common.calculator(picked.atoms)
        run.model = model_record(calculator)
        run.say_if_new(resume)
        result = run_ts(
            picked.atoms,
            calc=calculator,
            **checked.to_dict(),
            resume=resume,
            out=common.out,
            prefix=common.prefix,
            plot=False,
            quiet=common.quiet,
        )
        run.write_result(result, _lines(result), plot=plot)
        if not allow_unconverged:
            result.require_saddle()


def _lines(result: TSResult) -> list[str]:
    """What one must know of the transition state."""
    how = "converged" if result.converged else "not converged"
    lines = [f"{how} after {result.n_steps} steps, largest force {result.history[-1].fmax:.2g} eV/Å"]
    if result.order is not None:
        lines.append(f"imaginary modes: {result.order}")
    lines += [f"imaginary: {value:.1f} cm-1" for value in result.imaginary_cm1]
    if result.ends:
        sides = " and ".join(f"{value:.4f} eV" for value in (result.barrier_ev, result.barrier_back_ev))
        lines.append(f"above its two sides by {sides}")
    return lines


def _dry_run(struct: str, atoms: Atoms, common: Common, settings: TSSettings) -> None:
    """Say which atoms move, and where second derivatives come from."""
    from ..workflows.paths.sella_extra import require_sella
    from ..workflows.paths.ts import hessian_function
    from ..workflows.paths.ts_result import OUTPUTS
    from ..workflows.vibrations.settings import VibSettings
    from ..workflows.vibrations.vib import vibrating

    require_sella()
    atoms.calc = common.calculator(atoms)
    facts = {
        "structure": f"{atoms.get_chemical_formula()} from {struct}",
        "model": model_record(atoms.calc),
        **settings.to_dict(),
        "hessian": "iterative" if hessian_function(atoms, settings) is None else "autograd",
        "moving_atoms": len(vibrating(atoms, VibSettings())),
        "writes": ", ".join(OUTPUTS),
    }
    dry_run_report(common, "ts", facts)
