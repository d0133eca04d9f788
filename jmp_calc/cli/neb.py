"""``jmp-calc neb``: a nudged elastic band between two structures; writes band, saddle, figure and
summary.yaml."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import click

from ..workflows.paths.settings import BandOptimizer, Interpolation, NEBSettings
from .arguments import Arguments
from .command_run import CommandRun, model_record
from .dry_run import dry_run_report
from .options import Common, common_options

if TYPE_CHECKING:
    from ase import Atoms

    from ..workflows.paths.result import NEBResult

EPILOG = """\b
Examples:
  jmp-calc neb initial.extxyz final.extxyz -o hop
  jmp-calc neb initial.extxyz final.extxyz -o hop --resume --steps 1000
  jmp-calc vib hop/saddle.extxyz --no-relax --fmax 0.05      # one imaginary mode: a saddle"""

NEB = Arguments("workflows.paths.neb", "neb", NEBSettings)


@click.command(epilog=EPILOG)
@click.argument("initial")
@click.argument("final")
@common_options(out="./jmp_results/neb")
@NEB.option("--images", argument="images", type=int)
@NEB.option("--climb/--no-climb", argument="climb")
@NEB.option("--interpolation", argument="interpolation", type=click.Choice(get_args(Interpolation)))
@NEB.option("--spring", argument="spring", type=float)
@NEB.option(
    "--optimizer", argument="optimizer", type=click.Choice(get_args(BandOptimizer), case_sensitive=False)
)
@NEB.option("--fmax", argument="fmax", type=float)
@NEB.option("--steps", argument="steps", type=int)
@NEB.option("--relax-ends/--no-relax-ends", argument="relax_ends")
@NEB.option("--ends-fmax", argument="ends_fmax", type=float)
@NEB.option("--ends-steps", argument="ends_steps", type=int)
@click.option("--resume", is_flag=True, default=False, help=NEB.help("resume"))
@click.option("--plot/--no-plot", default=True, show_default=True, help=NEB.help("plot"))
@click.option(
    "--allow-unconverged", is_flag=True, help="Exit with 0 also when the force limit was not reached."
)
@click.option("--allow-truncated", is_flag=True, help="Drop an incomplete last frame of an (ext)xyz file.")
def neb(
    initial: str,
    final: str,
    common: Common,
    resume: bool,
    plot: bool,
    allow_unconverged: bool,
    allow_truncated: bool,
    **settings: Any,
) -> None:
    """Path of least energy from INITIAL to FINAL (any ASE files, FILE@INDEX), and its barrier.

    Both have the same atoms in the same order and the same cell. Exit code 3 when the force limit is not
    reached in --steps steps; the files are written all the same, and --resume goes on.
    """
    from ..io.structures import pick_structure
    from ..workflows.paths.result import OUTPUTS, STATE

    checked = NEBSettings(**settings)
    ends = [pick_structure(spec, allow_truncated=allow_truncated) for spec in (initial, final)]
    run = CommandRun(
        common,
        "neb",
        outputs=OUTPUTS,
        settings=checked.to_dict(),
        inputs=[end.path for end in ends],
        resume=resume,
        resume_hint="--resume goes on",
    )
    if common.dry_run:
        run.check()
        _dry_run([initial, final], [end.atoms for end in ends], common, checked)
        return
    with run:
        for end in ends:
            run.add_structure(end)
        if resume and not run.path(STATE).exists():
            common.say("there is no band to go on with: this is a new one")
        result = _result(run, [end.atoms for end in ends], checked, resume)
        for path in result.write(common.out, prefix=common.prefix, plot=plot):
            run.add_output(path, path.stem.replace("_", " "))
        run.add_output(run.path(STATE), "state")
        common.say(f"wrote {common.out}")
        if not allow_unconverged:
            result.require_converged()


def _result(run: CommandRun, ends: list[Atoms], settings: NEBSettings, resume: bool) -> NEBResult:
    """Relax the band, record and say what came out."""
    from ..workflows.paths.neb import neb as run_neb

    common, calculator = run.common, run.common.calculator(ends[0])
    run.model = model_record(calculator)
    result = run_neb(
        *ends,
        calc=calculator,
        **settings.to_dict(),
        resume=resume,
        out=common.out,
        prefix=common.prefix,
        plot=False,
        quiet=common.quiet,
    )
    run.results = result.to_dict()
    common.say(f"barrier {result.barrier_ev:.4f} eV, back {result.barrier_back_ev:.4f} eV")
    common.say(f"reaction energy {result.reaction_ev:.4f} eV, highest image {result.saddle}")
    how = "converged" if result.converged else "not converged"
    common.say(f"{how} after {result.n_steps} steps, largest force {result.fmax:.2g} eV/Å")
    return result


def _dry_run(specs: list[str], ends: list[Atoms], common: Common, settings: NEBSettings) -> None:
    """Check both ends against each other, and say what a step takes."""
    import numpy as np

    from ..workflows.paths.ends import matching
    from ..workflows.paths.result import OUTPUTS

    calculator = common.calculator(ends[0])
    first, last = matching(ends[0], ends[1], calculator)
    moved = np.linalg.norm(last.positions - first.positions, axis=1)
    facts = {
        "structures": f"{first.get_chemical_formula()} from {specs[0]} to {specs[1]}",
        "model": model_record(calculator),
        **settings.to_dict(),
        "largest_move_a": float(moved.max()),
        "atom_that_moves_most": int(moved.argmax()),
        "structures_per_step": settings.images,
        "writes": ", ".join(OUTPUTS),
    }
    dry_run_report(common, "neb", facts)
