"""``jmp-calc analyse``: what a trajectory says; writes tables, a figure and summary.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..analysis.settings import AnalyseSettings
from .arguments import Arguments
from .command_run import CommandRun
from .dry_run import dry_run_report
from .options import Common, common_options, structure_argument

if TYPE_CHECKING:
    from ..analysis.result import Analysis

EPILOG = """\b
Examples:
  jmp-calc analyse jmp_results/md/traj.extxyz -o analysis
  jmp-calc analyse run/traj.extxyz --discard 0.3 --r-max 8
  jmp-calc analyse XDATCAR@1000: --frame-fs 2

Units: Å, ps, cm⁻¹, cm²/s; the tables name them in their headers."""

ANALYSE = Arguments("analysis.analyse", "analyse", AnalyseSettings)


@click.command(epilog=EPILOG)
@structure_argument
@common_options(out="./jmp_results/analyse", calculator=False, network=False, machine=False)
@click.option(
    "--table", type=click.Path(path_type=Path), default=None, help=ANALYSE.help("table"), metavar="FILE"
)
@ANALYSE.option("--discard", argument="discard", type=float)
@ANALYSE.option("--frame-fs", argument="frame_fs", type=float)
@ANALYSE.option("--r-max", argument="r_max", type=float)
@ANALYSE.option("--bins", argument="bins", type=int)
@ANALYSE.option("--blocks", argument="blocks", type=int)
@click.option("--plot/--no-plot", default=True, show_default=True, help="Draw analysis.svg and .png.")
def analyse(struct: str, common: Common, table: Path | None, plot: bool, **given: Any) -> None:
    """Radial distribution, diffusion, vibrational spectrum and averages of a trajectory STRUCT (FILE,
    FILE@START:STOP:STEP)."""
    from ..analysis.analyse import analyse as run_analyse
    from ..analysis.analyse import table_beside
    from ..analysis.result import OUTPUTS
    from ..io.files import check_file, parse_structure

    settings = AnalyseSettings(**given)
    path = check_file(parse_structure(struct).path)
    table = table_beside(struct) if table is None else check_file(table)
    run = CommandRun(common, "analyse", outputs=OUTPUTS, settings=settings.to_dict(), inputs=[path, table])
    if common.dry_run:
        run.check()
        facts = {"trajectory": struct, "table": table, **settings.to_dict(), "writes": ", ".join(OUTPUTS)}
        dry_run_report(common, "analyse", facts)
        return
    with run:
        run.add_input(path)
        if table is not None:
            run.add_input(table)
        result = run_analyse(struct, table=table, **settings.to_dict())
        run.write_result(result, lines(result), plot=plot, what=_what)


WRITTEN = {
    "rdf.dat": "radial distribution functions",
    "msd.dat": "mean square displacements",
    "vacf.dat": "velocity autocorrelation",
    "spectrum.dat": "density of states",
}


def _what(path: Path) -> str:
    """What a file holds."""
    return WRITTEN.get(path.name.rpartition("-")[2], "figure")


def lines(result: Analysis) -> list[str]:
    """What one must know of the trajectory."""
    found = [f"{result.n_frames} frames, {result.from_ps:g} to {result.to_ps:g} ps"]
    for name, value in result.msd.diffusion.items():
        if value.diffusive:
            error = value.standard_error_cm2_per_s
            found.append(f"{name} diffuses with {value.cm2_per_s:.3g} ± {error:.1g} cm²/s")
        else:
            found.append(
                f"{name}: no diffusion that can be told (displacements grow as t^{value.exponent:.2f})"
            )
    peak = None if result.rdf is None else result.rdf.highest_at()
    if peak is not None:
        found.append(f"g(r) is highest at {peak:.2f} Å")
    for name, mean in result.averages.items():
        doubt = "" if mean.converged else " (error still grows with the blocks: run longer)"
        quantity, _, unit = name.rpartition("_")
        found.append(f"{quantity} {mean.mean:.6g} ± {mean.standard_error:.2g} {unit}{doubt}")
    return found
