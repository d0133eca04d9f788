"""``jmp-calc relax FILE@:``: many structures at once; writes relaxed.extxyz, relax.csv, summary.yaml."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .command_run import CommandRun, model_record
from .dry_run import dry_run_report
from .options import Common

if TYPE_CHECKING:
    from ..workflows.relax_many import RelaxManyResult
    from ..workflows.relax_settings import RelaxSettings


@dataclass(frozen=True)
class Several:
    """The options that are of several structures."""

    struct: str
    together: int
    resume: bool
    allow_unconverged: bool
    allow_truncated: bool


def relax_several(common: Common, several: Several, settings: RelaxSettings) -> None:
    """Relax, write, say which were not relaxed.

    Raises:
        NotConvergedError: some failed, or did not converge and had to.
    """
    from ..io.files import parse_structure
    from ..io.structures import iter_named
    from ..workflows.relax_many import JOURNAL, MANY_OUTPUTS, ManyRun

    path = parse_structure(several.struct).path
    frames = list(iter_named([several.struct], allow_truncated=several.allow_truncated))
    run = CommandRun(
        common,
        "relax",
        outputs=MANY_OUTPUTS,
        settings={**settings.to_dict(), **asdict(several)},
        inputs=[path],
        resume=several.resume,
        resume_hint="--resume goes on with it",
    )
    if common.dry_run:
        run.check()
        facts = {
            "structures": f"{len(frames)} from {several.struct}",
            "atoms": f"{min(map(len, frames))} to {max(map(len, frames))}",
            "model": model_record(common.calculator(frames[0].atoms)),
            **settings.to_dict(),
            "together": several.together,
            "writes": ", ".join(MANY_OUTPUTS),
        }
        dry_run_report(common, "relax", facts)
        return
    with run:
        run.add_input(path, n_frames=len(frames))
        calculator = common.calculator()
        run.model = model_record(calculator)
        found = ManyRun(frames, settings, calculator, several.together)
        result = found.result(run.path(JOURNAL), quiet=common.quiet)
        run.model = model_record(calculator)
        run.results = result.to_dict()
        written = [*result.write(common.out, prefix=common.prefix), run.path(JOURNAL)]
        for output, what in zip(
            written, ("relaxed structures", "a row for each", "for --resume"), strict=True
        ):
            run.add_output(output, what)
        _say(run, written[0], result)
        result.require_converged(allow_unconverged=several.allow_unconverged)


def _say(run: CommandRun, written: Path, result: RelaxManyResult) -> None:
    counts, common = result.counts, run.common
    steps = [row.outcome.values.get("n_steps") for row in result.rows]
    taken = sorted(count for count in steps if isinstance(count, int))
    spread = f", {taken[0]} to {taken[-1]} steps" if taken else ""
    common.say(f"{counts['ok']} of {len(result.rows)} structures relaxed{spread}")
    for row in result.failed[:20]:
        common.say(f"{row.outcome.status}: {row.name} ({row.formula}): {row.outcome.error}")
    common.say(f"wrote {written}")
