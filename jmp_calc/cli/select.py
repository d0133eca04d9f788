"""``jmp-calc select``: of a pool of structures those that a model should be trained on next."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..sampling.select import SelectSettings
from .arguments import Arguments
from .command_run import CommandRun, model_record
from .dry_run import dry_run_report
from .options import Common, common_options, structures_argument, uncertainty_options

if TYPE_CHECKING:
    from ..io.structures import NamedFrame
    from ..sampling.select import Selection

OUTPUTS = ("selected.extxyz", "pool.csv", "select.svg")
SELECT = Arguments("sampling.select", "select", SelectSettings)


@click.command(
    epilog="""\b
Examples:
  jmp-calc select md/traj.extxyz -m run/best.safetensors -n 50
  jmp-calc select pool/*.extxyz -m run/best.safetensors -n 100 --known train.extxyz --max-uncertainty 200
  jmp-calc select pool.extxyz -m a.safetensors --uncertainty committee --committee b.safetensors -n 20

Then label what was selected and train on it: docs/active_learning.md has the whole loop."""
)
@structures_argument
@common_options(out="./jmp_results/select")
@uncertainty_options
@SELECT.option("-n", "--n", "n", argument="n", type=click.IntRange(min=1))
@SELECT.option("--max-uncertainty", "max_uncertainty_mev", argument="max_uncertainty_mev", type=float)
@click.option(
    "--index", default=None, help="Frames of every file of the pool: :, 0:1000 or ::10 (default: all)."
)
@click.option(
    "--known",
    multiple=True,
    default=(),
    metavar="FILE",
    help=SELECT.help("known"),
)
def select(
    given: tuple[str, ...],
    common: Common,
    n: int,
    max_uncertainty_mev: float | None,
    index: str | None,
    known: tuple[str, ...],
) -> None:
    """Pick the structures of a pool that a model should be trained on next: uncertain ones, and diverse.

    STRUCT is one or more files that ASE reads, FILE@INDEX, folders of them, or patterns in quotes.

    Writes selected.extxyz, in the order of picking, with select_rank, select_std_mev (meV per atom) and
    jmp_file; and pool.csv with the uncertainty of every structure and the reason of those left out. The
    uncertainty is that of the last layer unless --uncertainty says otherwise.
    """
    import dataclasses

    from ..io.files import find_structures, parse_structure
    from ..io.reader import UNLABELLED_SUFFIXES
    from ..io.structures import iter_named

    settings = SelectSettings(n=n, max_uncertainty_mev=max_uncertainty_mev)
    common = dataclasses.replace(common, uncertainty=common.uncertainty or "last-layer")
    specs = find_structures(given, UNLABELLED_SUFFIXES)
    labelled = find_structures(known, UNLABELLED_SUFFIXES) if known else ()
    chosen = {"uncertainty": common.uncertainty, "index": index or ":", **dataclasses.asdict(settings)}
    run = CommandRun(
        common,
        "select",
        outputs=OUTPUTS,
        settings={"struct": list(given), "known": list(known), **chosen},
        inputs=[parse_structure(spec).path for spec in (*specs, *labelled)],
        redoes=True,
    )
    if common.dry_run:
        run.check()
    pool = list(iter_named(specs, index=index))
    seen = list(iter_named(labelled))
    if common.dry_run:
        facts = {"pool": len(pool), "known": len(seen), **chosen}
        facts |= {"model": model_record(common.calculator(pool[0].atoms)), "writes": ", ".join(OUTPUTS)}
        dry_run_report(common, "select", facts)
        return
    with run:
        for spec in (*specs, *labelled):
            run.add_input(parse_structure(spec).path)
        _select(run, common, settings, pool, seen)


def _select(
    run: CommandRun,
    common: Common,
    settings: SelectSettings,
    pool: Sequence[NamedFrame],
    seen: Sequence[NamedFrame],
) -> None:
    """Select, write and say what came out."""
    from ..sampling.select import select as run_select

    calculator = common.calculator(pool[0].atoms)
    run.model = model_record(calculator)
    result = run_select(
        [frame.atoms for frame in pool],
        calc=calculator,
        n=settings.n,
        known=[frame.atoms for frame in seen],
        max_uncertainty_mev=settings.max_uncertainty_mev,
        quiet=common.quiet,
    )
    _write(run, pool, result)
    run.results = {**result.to_dict(), "units": {"select_std_mev": "meV per atom"}}
    found = run.results
    common.say(
        f"{found['n_selected']} of {found['n_pool']} structures: uncertainty "
        f"{found['selected_std_mev_per_atom']['median']:.3g} meV/atom in the middle, of the pool "
        f"{found['pool_std_mev_per_atom']['median']:.3g}"
    )
    if result.left_out:
        reason = next(iter(result.left_out.values()))
        common.say(f"left out: {len(result.left_out)} (first: {reason})")
    if len(result.picked) < settings.n:
        common.say(f"the pool has no {settings.n} structures to select")
    common.say(f"wrote {run.path('selected.extxyz')}")


def _write(run: CommandRun, pool: Sequence[NamedFrame], result: Selection) -> None:
    """The frames, the table of the pool, and the picture."""
    from ..io.uncertainty_plots import plot_selection
    from ..workflows.common import write_frames

    for number, frame in zip(result.picked, result.frames, strict=True):
        frame.info["jmp_file"] = f"{pool[number].spec}, frame {pool[number].number}"
    write_frames(run.path("selected.extxyz"), result.frames)
    run.add_output(run.path("selected.extxyz"), "selected structures")
    _write_table(run.path("pool.csv"), pool, result)
    run.add_output(run.path("pool.csv"), "uncertainty of every structure of the pool")
    plot_selection(result.std_mev, list(result.picked), [run.path("select.svg")])
    if run.path("select.svg").exists():
        run.add_output(run.path("select.svg"), "uncertainty of the pool and of what was selected")


def _write_table(path: Path, pool: Sequence[NamedFrame], result: Selection) -> None:
    import csv
    import io

    from ..io.summary import write_text_atomic

    rank = {number: place for place, number in enumerate(result.picked)}
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("file", "frame", "formula", "n_atoms", "std_mev_per_atom", "rank", "left_out"))
    for number, (frame, std) in enumerate(zip(pool, result.std_mev.tolist(), strict=True)):
        shown = "" if std != std else f"{std:.4f}"
        facts = frame.spec, frame.number, frame.atoms.get_chemical_formula(), len(frame), shown
        rows.writerow((*facts, rank.get(number, ""), result.left_out.get(number, "")))
    write_text_atomic(path, text.getvalue())
