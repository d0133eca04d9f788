"""``jmp-calc label``: energies, forces and stresses of structures from any teacher."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import UsageError
from ..labelling.settings import LabelSettings
from .arguments import Arguments
from .command_run import CommandRun
from .dry_run import dry_run_report
from .options import Common, common_options, plain_kwargs, structures_argument

if TYPE_CHECKING:
    from ..labelling.label import LabelResult
    from ..labelling.source import Source

LABEL = Arguments("labelling.label", "label", LabelSettings)


@click.command(
    epilog="""\b
Examples:
  jmp-calc label pool.extxyz --calculator tblite --processes 2
  jmp-calc label pool.extxyz --calculator ani2x --weights ani-2x.tar.xz --max-spread 0.25 -o ani
  jmp-calc label crystals.extxyz --calculator nequix --weights nequix-oam-1.nqx --python env/bin/python
  jmp-calc label pool.extxyz --calculator ase.calculators.vasp:Vasp --kwargs '{"xc": "PBE"}' --timeout 7200
  jmp-calc label pool.extxyz --calculator tblite --resume

docs/labelling.md has the teachers, their weights and licences."""
)
@structures_argument
@LABEL.option("--calculator", argument="calculator", required=True, default=None)
@LABEL.option("--method", argument="method")
@LABEL.option("--weights", argument="weights", type=click.Path(path_type=Path))
@LABEL.option("--head", argument="head")
@LABEL.option("--kwargs", argument="kwargs", metavar="JSON", default=None, callback=plain_kwargs)
@LABEL.option("--python", argument="python", metavar="PATH")
@LABEL.option("--processes", argument="processes", type=click.IntRange(min=1))
@LABEL.option("--timeout", argument="timeout", type=float)
@LABEL.option("--isolated/--no-isolated", argument="isolated")
@LABEL.option("--max-force", argument="max_force", type=float)
@LABEL.option("--max-spread", argument="max_spread", type=float)
@click.option("--index", default=None, help=LABEL.help("index"))
@click.option("--resume", is_flag=True, help=LABEL.help("resume"))
@LABEL.option("--retry", argument="retry", is_flag=True)
@common_options(out="./jmp_results/label", network=False, calculator=False)
def label(
    given: tuple[str, ...], common: Common, index: str | None, resume: bool, weights: Path | None, **rest: Any
) -> None:
    """Energy, forces and, of crystals, stress of STRUCT by a teacher: any ASE calculator.

    STRUCT is one or more files that ASE reads, FILE@INDEX, folders of them, or patterns in quotes.

    Writes labelled.extxyz, with the frames in their order and their info, the energy (eV), forces (eV/Å) and
    stress (eV/Å³) of the teacher, method and method_version; left_out.csv with each frame that has no labels
    and the reason; and teacher.yaml. A killed run goes on with --resume.
    """
    from ..labelling.label import OUTPUTS, RESUME_HINT, run_label
    from ..labelling.source import Source

    settings = LabelSettings(
        device=common.device,
        dtype=common.dtype,
        head=common.head,
        weights=None if weights is None else str(weights),
        **rest,
    )
    if settings.retry and not resume:
        raise UsageError("--retry asks again about what failed before.", hint="give --resume too")
    source = Source(given, index)
    run = CommandRun(
        common,
        "label",
        outputs=OUTPUTS,
        settings={"struct": list(given), "index": index or ":", **settings.to_dict()},
        inputs=[*source.paths, settings.weights],
        resume=resume,
        resume_hint=RESUME_HINT,
    )
    if common.dry_run:
        run.check()
        _dry_run(common, source, settings)
        return
    with run:
        result = run_label(
            source, settings, common.out, prefix=common.prefix, resume=resume, quiet=common.quiet
        )
        _record(run, source, result)
        result.require_some()


def _record(run: CommandRun, source: Source, result: LabelResult) -> None:
    """Say what came out, for the summary and the user."""
    from ..labelling.finish import KINDS
    from ..labelling.label import OUTPUTS

    for path in source.paths:
        run.add_input(path)
    run.model = {"name": result.facts.method, "version": result.facts.version}
    run.results = result.to_dict()
    for name, what in zip(OUTPUTS, ("labelled frames", "frames left out", "the teacher"), strict=True):
        run.add_output(run.path(name), what)
    say = run.common.say
    rate = f", {result.n_computed / result.seconds:.1f} per second" if result.n_computed else ""
    say(f"{result.n_frames} frames labelled with {result.facts.method} ({result.facts.version}){rate}")
    if result.isolated:
        say(f"isolated atoms: {', '.join(sorted(result.isolated))} ({result.n_added} of them added)")
    if result.replaced:
        keys = ", ".join(f"{key} of {count} frames" for key, count in result.replaced.items())
        say(f"labels of another method are not in it: {keys}")
    for kind, count in result.left_out.items():
        say(f"left out: {count}, {KINDS[kind]} (first: {result.examples[kind]})")
    say(f"wrote {result.path}")


def _dry_run(common: Common, source: Source, settings: LabelSettings) -> None:
    """Load the teacher and plan the input; ask nothing, write nothing."""
    from ..labelling.label import plan_of
    from ..labelling.teachers.names import NAMED

    facts, windows = plan_of(source, settings)
    counts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for window in windows:
        counts["isolated atoms added" if window.added else "frames"] += len(window.frames)
        counts["batches"] += len(window.batches)
        reasons.update(window.refused.values())
    entry = NAMED.get(settings.calculator)
    facts_shown = {
        "structures": ", ".join(source.specs),
        "method": facts.method,
        "method_version": facts.version,
        **counts,
        **{f"left out ({reason})": count for reason, count in reasons.items()},
        "processes": settings.processes,
        **({"licence": entry.licence, "citation": entry.citation} if entry else {}),
    }
    dry_run_report(common, "label", facts_shown)
