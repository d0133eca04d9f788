"""``jmp-calc adsorb``: the best place of a molecule on a slab; structures, table, figure, summary.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from ..workflows.statics.adsorb_settings import AdsorbSettings, Orientations
from .arguments import Arguments
from .command_run import CommandRun, model_record
from .dry_run import dry_run_report
from .options import Common, common_options, structure_argument

if TYPE_CHECKING:
    from ase import Atoms

    from ..workflows.statics.adsorb_result import AdsorbResult

EPILOG = """\b
Examples:
  jmp-calc adsorb slab.traj CO -o co
  jmp-calc adsorb slab.traj methanol.xyz --sites "ontop bridge" --turns 3 --fix-bottom 0.5
  jmp-calc energies adsorption co/best.extxyz --slab slab.traj --adsorbate CO.xyz"""

ADSORB = Arguments("workflows.statics.adsorb", "adsorb", AdsorbSettings)
SHOWN = 5
"""Candidates that are named on the screen; all are in the table."""


@click.command(epilog=EPILOG)
@structure_argument
@click.argument("adsorbate")
@common_options(out="./jmp_results/adsorb", dtype="float64")
@ADSORB.option("--sites", argument="sites")
@ADSORB.option("--orientations", argument="orientations", type=click.Choice(get_args(Orientations)))
@ADSORB.option("--turns", argument="turns", type=int)
@ADSORB.option("--fix-bottom", argument="fix_bottom", type=float)
@ADSORB.option("--relax/--no-relax", argument="relax")
@ADSORB.option("--fmax", argument="fmax", type=float)
@ADSORB.option("--steps", argument="steps", type=int)
@click.option("--resume", is_flag=True, default=False, help=ADSORB.help("resume"))
@click.option("--plot/--no-plot", default=True, show_default=True, help=ADSORB.help("plot"))
@click.option("--allow-truncated", is_flag=True, help="Drop an incomplete last frame of an (ext)xyz file.")
def adsorb(
    struct: str,
    adsorbate: str,
    common: Common,
    resume: bool,
    plot: bool,
    allow_truncated: bool,
    **settings: Any,
) -> None:
    """Best place of ADSORBATE on the slab STRUCT: all sites and orientations relaxed and ranked.

    STRUCT is any ASE file (FILE@INDEX). ADSORBATE is one too, or the name of a molecule (CO, H2O, CH3OH:
    ASE's G2 set) or of an element.
    """
    from ..io.structures import pick_structure
    from ..workflows.statics.adsorb import adsorb as run_adsorb
    from ..workflows.statics.adsorb_result import OUTPUTS

    checked = AdsorbSettings(**settings)
    slab = pick_structure(struct, allow_truncated=allow_truncated)
    file = pick_structure(adsorbate, allow_truncated=allow_truncated) if _is_file(adsorbate) else None
    molecule: Atoms | str = adsorbate if file is None else file.atoms
    inputs = [slab.path, *([] if file is None else [file.path])]
    run = CommandRun(
        common,
        "adsorb",
        outputs=OUTPUTS,
        settings=checked.to_dict(),
        inputs=inputs,
        resume=resume,
        resume_hint="--resume goes on",
    )
    if common.dry_run:
        run.check()
        _dry_run(f"{adsorbate} on {struct}", slab.atoms, molecule, common, checked)
        return
    with run:
        for picked in (slab, *(() if file is None else (file,))):
            run.add_structure(picked)
        calculator = common.calculator(slab.atoms)
        run.model = model_record(calculator)
        result = run_adsorb(
            slab.atoms,
            molecule,
            calc=calculator,
            **checked.to_dict(),
            resume=resume,
            out=common.out,
            prefix=common.prefix,
            plot=False,
            quiet=common.quiet,
        )
        run.results = result.to_dict()
        for path in result.write(common.out, prefix=common.prefix, plot=plot):
            run.add_output(path, path.stem.replace("_", " "))
        for line in _lines(result):
            common.say(line)
        common.say(f"wrote {common.out}")


def _is_file(word: str) -> bool:
    """Whether a word names a file and not a molecule: no molecule has a point, a slash or an index."""
    return any(sign in word for sign in "./@") or Path(word).is_file()


def _lines(result: AdsorbResult) -> list[str]:
    """What one must know of the ranking."""
    lines = [f"{len(result.rows)} candidates, {len(result.distinct)} distinct ends"]
    for row in result.distinct[:SHOWN]:
        doubts = [
            *(["the molecule came apart or reacted"] if row.intact is False else []),
            *(["it left the surface"] if row.bound is False else []),
            *([row.error] if row.error else []),
        ]
        where = "" if row.site is None else f"on {row.site.name}"
        start = f"from {row.start.site.name}, {row.start.down} down"
        lines.append(
            f"{row.adsorption_ev:+.4f} eV {where} ({start})" + "".join(f"; {doubt}" for doubt in doubts)
        )
    failed = sum(row.adsorption_ev is None for row in result.rows)
    if failed:
        lines.append(f"{failed} candidates failed: the reasons are in adsorb.csv")
    return lines


def _dry_run(
    what: str, slab: Atoms, adsorbate: Atoms | str, common: Common, settings: AdsorbSettings
) -> None:
    """Say which sites there are and how many candidates."""
    from ..workflows.statics.adsorb import gas_of, planned
    from ..workflows.statics.adsorb_result import OUTPUTS
    from ..workflows.statics.sites import sites_of

    face, candidates = planned(slab, gas_of(adsorbate), settings)
    calculator = common.calculator(slab)
    calculator.decide_head(candidates[0].atoms)
    facts = {
        "structures": what,
        "model": model_record(calculator),
        **settings.to_dict(),
        "surface": [f"{site.name}: {len(site.places)} in the cell" for site in sites_of(face)],
        "candidates": len(candidates),
        "writes": ", ".join(OUTPUTS),
    }
    dry_run_report(common, "adsorb", facts)
