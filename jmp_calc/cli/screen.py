"""``jmp-calc screen``: the same task for thousands of structures; a row for each, resumable."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

import click
from click.core import ParameterSource

from ..errors import UsageError
from ..screening.settings import SETTINGS, ScreenSettings, Task, task_settings
from .arguments import Arguments
from .command_run import CommandRun, model_record
from .dry_run import dry_run_report
from .options import Common, common_options, structures_argument

if TYPE_CHECKING:
    from ..screening.engines import Engine
    from ..screening.screen import ScreenResult, Source

SCREEN = Arguments("screening.screen", "screen", ScreenSettings)
PRECISE = ("eos", "elastic", "phonons")
"""Tasks whose own commands compute in float64: they fit small differences of energies and forces."""
MEANINGS = {".csv": "a row for each structure", ".db": "ASE database", ".extxyz": "structures with results"}


def _parsed(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> dict[str, Any]:
    """NAME=VALUE by name; UsageError for anything else."""
    import yaml

    found: dict[str, Any] = {}
    for text in given:
        name, sign, value = text.partition("=")
        if not (name.strip() and sign):
            raise UsageError(f"--set {text!r} is not NAME=VALUE.", hint="such as --set fmax=0.001")
        try:
            plain = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise UsageError(f"The value of --set {text!r} cannot be read.") from error
        found[name.strip().replace("-", "_")] = _number(plain)
    return found


def _number(value: Any) -> Any:
    """Words that are numbers as such: YAML takes 1e-4 for a word."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


@click.command(
    epilog="""\b
Examples:
  jmp-calc screen molecules.extxyz cifs/ --task relax --set fmax=0.005 --processes 4 -o campaign
  jmp-calc screen cifs/ --task eos -m jmp-xs --resume --retry -o moduli
  jmp-calc screen "pool/*.db" --task singlepoint --dask tcp://scheduler:8786

--set takes the settings of the task by their names in Python (docs/screening.md). Tasks that fit small
differences (eos, elastic, phonons) are computed in float64 unless --dtype says otherwise."""
)
@structures_argument
@common_options(out="./jmp_results/screen")
@SCREEN.option("--task", argument="task", type=click.Choice(get_args(Task)))
@click.option(
    "--set",
    "chosen",
    multiple=True,
    metavar="NAME=VALUE",
    callback=_parsed,
    help="A setting of the task, such as cell=full; may be repeated.",
)
@SCREEN.option("--batch", argument="batch", type=click.IntRange(min=1))
@SCREEN.option("--processes", argument="processes", type=click.IntRange(min=1))
@click.option(
    "--dask",
    metavar="ADDRESS",
    default=None,
    help="Compute on the cluster of a Dask scheduler, tcp://HOST:PORT, or on a local one: local.",
)
@click.option("--index", default=None, help=SCREEN.help("index"))
@click.option("--resume", is_flag=True, default=False, help=SCREEN.help("resume"))
@SCREEN.option("--retry", argument="retry", is_flag=True)
@click.option("--plot/--no-plot", default=True, show_default=True, help=SCREEN.help("plot"))
def screen(
    given: tuple[str, ...],
    common: Common,
    task: str,
    chosen: dict[str, Any],
    dask: str | None,
    index: str | None,
    resume: bool,
    plot: bool,
    **rest: Any,
) -> None:
    """One task for every structure of STRUCT: files that ASE reads, FILE@INDEX, folders, patterns in quotes.

    Writes screen.csv, screen.db (ASE database) and screen.extxyz with a row for each structure. What fails is
    a row too, and the others are finished; exit code 3 then. A killed campaign goes on with --resume: what
    was computed is not computed again, and the numbers are the same.
    """
    from ..screening.screen import JOURNAL, OUTPUTS, RESUME_HINT, Source, run_screen

    known = cast(Task, task)
    chosen = _seeded(known, chosen, common)
    settings = ScreenSettings(task=known, settings=task_settings(known, chosen), **rest)
    if settings.retry and not resume:
        raise UsageError("--retry computes again what failed before.", hint="give --resume too")
    source = Source.of(given, index)
    engine, common = _engine(dask, settings.processes), _in_precision(common, known)
    run = CommandRun(
        common,
        "screen",
        outputs=OUTPUTS,
        settings={"struct": list(given), "index": index or ":", "dask": dask, **settings.to_dict()},
        inputs=source.paths,
        resume=resume,
        resume_hint=RESUME_HINT,
    )
    if common.dry_run:
        run.check()
        _dry_run(common, source, settings, dask)
        return
    with run:
        for path in source.paths:
            if Path(path).is_file():
                run.add_input(path)
        calculator = common.calculator()
        run.model = model_record(calculator)
        result = run_screen(source, settings, calculator, run.path(JOURNAL), engine, quiet=common.quiet)
        run.results = result.to_dict()
        for written in result.write(common.out, prefix=common.prefix, plot=plot):
            run.add_output(written, MEANINGS.get(written.suffix, "figure"))
        run.add_output(run.path(JOURNAL), "for --resume")
        _say(run, result)
        result.require_some()


def _seeded(task: Task, chosen: dict[str, Any], common: Common) -> dict[str, Any]:
    """The settings with the seed of --seed, of tasks that draw random numbers; UsageError for two seeds."""
    if not hasattr(SETTINGS[task], "seed"):
        return chosen
    if "seed" not in chosen:
        return {**chosen, "seed": common.seed}
    source = click.get_current_context().get_parameter_source("seed")
    if source is not ParameterSource.DEFAULT and chosen["seed"] != common.seed:
        raise UsageError(f"--seed {common.seed} and --set seed={chosen['seed']} contradict each other.")
    return chosen


def _in_precision(common: Common, task: Task) -> Common:
    """The options with the precision that the task needs, where none was asked for."""
    source = click.get_current_context().get_parameter_source("dtype")
    chosen = source is not ParameterSource.DEFAULT
    return common if chosen or task not in PRECISE else replace(common, dtype="float64")


def _engine(dask: str | None, processes: int) -> Engine:
    from ..screening.engines import Dask
    from ..screening.screen import engine_of

    return engine_of(processes) if dask is None else Dask(dask, processes)


def _say(run: CommandRun, result: ScreenResult) -> None:
    from ..screening.screen import TABLE

    common, table = run.common, run.path(TABLE)
    counts = ", ".join(f"{count} {status}" for status, count in result.counts.items() if count)
    rate = f"; {result.n_computed} computed in {result.seconds:.1f} s" if result.n_computed else ""
    common.say(f"{result.settings.task} of {len(result.rows)} structures: {counts}{rate}")
    for row in result.failed[:20]:
        common.say(f"{row.outcome.status}: {row.name} ({row.formula or 'unread'}): {row.outcome.error}")
    if len(result.failed) > 20:
        common.say(f"… {len(result.failed)} in all, see {table.name}")
    common.say(f"wrote {table}")


def _dry_run(common: Common, source: Source, settings: ScreenSettings, dask: str | None) -> None:
    """Read everything and load the model; compute and write nothing."""
    from ..screening.plan import Unit

    units = list(source.planned(settings.unit))
    whole = [unit for unit in units if isinstance(unit, Unit)]
    faults = [unit[1] for unit in units if not isinstance(unit, Unit)]
    sizes = [place.n_atoms for unit in whole for place in unit.places]
    facts: dict[str, Any] = {
        "structures": len(sizes),
        "atoms": f"{min(sizes)} to {max(sizes)}" if sizes else "none",
        "orders to workers": len(whole),
        **{f"cannot be read: {fault.spec}": fault.error.fact for fault in faults},
        **settings.to_dict(),
        "dask": dask,
        "model": model_record(common.calculator()),
    }
    dry_run_report(common, "screen", facts)
