"""``jmp-calc sample``: structures worth labelling, from a seed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import UsageError
from .arguments import Arguments
from .command_run import CommandRun, model_record
from .dry_run import dry_run_report
from .options import CALCULATOR, Common, common_options

if TYPE_CHECKING:
    from ..sampling.run import SampleResult
    from ..sampling.settings import SampleSettings

EPILOG = """\b
Examples:
  jmp-calc sample molecules -n 10000 --atoms 10-30 --processes 2 -o molecules
  jmp-calc sample molecules -n 10000 --start 10000 --seed 3 --exclude holdout.smi
  jmp-calc sample crystals -n 20000 --atoms 1-20 -o crystals
  jmp-calc sample crystals -n 5000 --like known.cif --like relaxed.extxyz
  jmp-calc sample crystals -n 5000 --like known.cif --relax jmp-xs --head pbe-u
  jmp-calc sample POSCAR md.traj -n 500 --md jmp-xs --temperature 300-1200
  jmp-calc sample molecules --share dimer=0 --share pair=0.3 --elements H,C,N,O

Sample i depends on the seed and on i alone: --start and --count cut one set into shards. A run that was
stopped goes on when the same command is given again."""

MOST_REASONS = 6
"""Reasons of refused attempts that are printed."""
SAMPLE = Arguments("sampling.sample", "sample")


@click.command(epilog=EPILOG)
@click.argument("what", nargs=-1, required=True, metavar="molecules|crystals|FILE...")
@common_options(out="./jmp_results/sample", calculator=False, network=False)
@SAMPLE.option("-n", "--count", argument="count", type=click.IntRange(min=1))
@SAMPLE.option("--start", argument="start", type=click.IntRange(min=0))
@SAMPLE.option("--seed", argument="seed", type=click.IntRange(min=0))
@SAMPLE.option("--atoms", argument="atoms", metavar="LEAST-MOST")
@SAMPLE.option("--elements", "symbols", argument="elements", metavar="H,C,...")
@SAMPLE.option("--share", "shares", argument="shares", metavar="KIND=NUMBER", multiple=True, default=())
@SAMPLE.option("--exclude", argument="exclude", type=click.Path(exists=True, dir_okay=False))
@SAMPLE.option("--like", argument="like", metavar="FILE", multiple=True, default=())
@click.option(
    "--md",
    "--relax",
    "model",
    default=None,
    metavar="MODEL",
    help="Relax half of the crystals for a few steps, or heat half of FILE, with this model.",
)
@CALCULATOR.option("--head", argument="head")
@SAMPLE.option("--temperature", argument="temperature", metavar="LOW-HIGH", default="100-1500")
@SAMPLE.option("--processes", argument="processes", type=click.IntRange(min=1))
def sample(what: tuple[str, ...], common: Common, processes: int, **given: Any) -> None:
    """Draw molecules or crystals worth labelling, or distorted copies of the structures in FILE.

    Molecules need RDKit (pip install "jmp-calc[sample]"). What was drawn and what was left out is printed
    and stands in summary.yaml.
    """
    from ..sampling.run import OUTPUTS, sample_set

    settings, inputs = _settings(what, common, given)
    run = CommandRun(
        common, "sample", outputs=OUTPUTS, settings=settings.to_dict(), inputs=inputs, redoes=True
    )
    if common.dry_run:
        run.check()
        dry_run_report(common, "sample", settings.to_dict())
        return
    with run:
        for path in inputs:
            run.add_input(path)
        if settings.calc is not None:
            run.model = model_record(settings.calc)
        result = sample_set(
            settings, processes=processes, out=common.out, prefix=common.prefix, quiet=common.quiet
        )
        run.results = result.to_dict()
        run.add_output(run.path(OUTPUTS[0]), "samples")
        for line in _lines(result):
            common.say(line)
        common.say(f"wrote {run.path(OUTPUTS[0])}")


def _settings(
    what: tuple[str, ...], common: Common, given: dict[str, Any]
) -> tuple[SampleSettings, list[Path]]:
    """What the options ask for, and the files that it is read from."""
    from ..io.files import find_structures, parse_structure
    from ..io.reader import UNLABELLED_SUFFIXES
    from ..sampling.sample import read_own
    from ..sampling.settings import (
        CRYSTALS,
        MOLECULES,
        STRUCTURES,
        SampleSettings,
        read_atoms,
        read_elements,
        read_temperatures,
    )

    drawn = what[0] if what[0] in (MOLECULES, CRYSTALS) and len(what) == 1 else None
    specs = () if drawn else find_structures(what, UNLABELLED_SUFFIXES)
    files = [parse_structure(spec).path for spec in specs]
    like = find_structures(given.pop("like"), UNLABELLED_SUFFIXES)
    files += [parse_structure(spec).path for spec in like]
    atoms, elements, exclude = given.pop("atoms"), given.pop("symbols"), given.pop("exclude")
    settings = SampleSettings(
        what=drawn or STRUCTURES,
        seed=common.seed,
        atoms=None if atoms is None else read_atoms(atoms),
        elements=None if elements is None else read_elements(elements),
        shares=dict(_share(text) for text in given.pop("shares")),
        temperature=read_temperatures(given.pop("temperature")),
        exclude=exclude,
        like=read_own(like),
        structures=() if drawn else read_own(specs),
        calc=common.network() if common.model else None,
        **given,
    )
    return settings, [*files, *([] if exclude is None else [Path(exclude)])]


def _share(text: str) -> tuple[str, float]:
    """Kind and number of ``KIND=NUMBER``."""
    kind, _, number = text.partition("=")
    try:
        return kind.strip(), float(number)
    except ValueError as error:
        raise UsageError(f"'{text}' is no share.", hint="write --share KIND=NUMBER") from error


def _lines(result: SampleResult) -> list[str]:
    """What was drawn, and what was left out."""
    total = max(len(result.frames), 1)
    kinds = ", ".join(f"{kind} {100 * count / total:.1f} %" for kind, count in result.kinds.items())
    of = {"molecules": "molecular graphs", "crystals": "compositions and prototypes"}
    lines = [
        f"{len(result.frames)} frames, {sum(map(len, result.frames))} atoms, {result.distinct} distinct "
        f"{of.get(result.settings.what, 'structures')}",
        f"kinds: {kinds}",
        f"left out: {result.near_copies} near copies, {result.missing} without a sample",
    ]
    if result.refused:
        told = list(result.refused.items())
        reasons = ", ".join(f"{reason} {count}" for reason, count in told[:MOST_REASONS])
        if len(told) > MOST_REASONS:
            reasons += f", {len(told) - MOST_REASONS} other reasons (summary.yaml)"
        lines.append(f"attempts that another one followed: {reasons}")
    return lines
