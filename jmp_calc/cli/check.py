"""``jmp-calc check``: the physics battery on a model or any ASE calculator; writes a report."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from ..errors import UsageError
from ..workflows.battery.settings import CHECKS, CheckSettings
from .arguments import Arguments
from .command_run import CommandRun, model_record
from .dry_run import dry_run_report
from .options import Common, common_options, plain_kwargs

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator

CHECK = Arguments("workflows.battery.check", "check", CheckSettings)
EPILOG = f"""\b
Examples:
  jmp-calc check jmp-xs -o report
  jmp-calc check run/best.safetensors --head pbe --only forces --only scans
  jmp-calc check --calculator ase.calculators.emt:EMT
  jmp-calc check jmp-xs --dtype float32

Checks: {", ".join(CHECKS)}."""

OF_MODELS = frozenset(
    ["head", "device", "dtype", "elements", "compile", "compiled", "uncertainty", "committee", "dispersion"]
    + ["dispersion_functional"]
)
"""Options that mean nothing to a calculator of a factory."""


@click.command(epilog=EPILOG)
@click.argument("model_given", required=False, metavar="[MODEL]")
@common_options(out="./jmp_results/check", dtype="float64")
@click.option("--calculator", metavar="MODULE:FACTORY", help="Check the ASE calculator that this returns.")
@click.option("--kwargs", metavar="JSON", callback=plain_kwargs, help="Arguments of that factory.")
@CHECK.option("--only", argument="only", multiple=True, type=click.Choice(CHECKS), metavar="CHECK")
@CHECK.option("--precision", argument="precision", type=click.Choice(["auto", "float32", "float64"]))
def check(
    model_given: str | None,
    common: Common,
    calculator: str | None,
    kwargs: dict[str, Any],
    only: tuple[str, ...],
    precision: Any,
) -> None:
    """Measure on MODEL (default: jmp-xs), or on any ASE calculator, what every potential must obey.

    Writes check.html, one file to read, its figure check.svg and summary.yaml. Exit code 5 when a check
    fails.
    """
    from ..workflows.battery.check import check as run_check
    from ..workflows.battery.check import precision_of
    from ..workflows.battery.result import OUTPUTS, REPORT

    settings = CheckSettings(only=only, precision=precision, seed=common.seed)
    common = _of(model_given, common, calculator, kwargs)
    asked = {**settings.to_dict(), **({"factory": calculator, "kwargs": kwargs} if calculator else {})}
    run = CommandRun(common, "check", outputs=OUTPUTS, settings=asked)
    if common.dry_run:
        run.check()
        made = _made(common, calculator, kwargs)
        facts = {
            "model": model_record(made),
            "checks": ", ".join(settings.chosen),
            "precision": precision_of(made, settings),
            "writes": ", ".join(OUTPUTS),
        }
        dry_run_report(common, "check", facts)
        return
    with run:
        made = _made(common, calculator, kwargs)
        run.model = model_record(made)
        result = run_check(made, **settings.to_dict(), say=common.say, quiet=common.quiet)
        run.results = result.to_dict()
        for path in result.write(common.out, prefix=common.prefix):
            run.add_output(path, "report" if path.suffix == ".html" else "figure")
        common.say(f"wrote {run.path(REPORT)}")
        result.require_pass()


def _of(given: str | None, common: Common, calculator: str | None, kwargs: dict[str, Any]) -> Common:
    """The options with the model that was named; UsageError for two subjects."""
    from click.core import ParameterSource

    source = click.get_current_context().get_parameter_source("model")
    named = given is not None, source not in (ParameterSource.DEFAULT, ParameterSource.DEFAULT_MAP)
    if sum((*named, calculator is not None)) > 1:
        raise UsageError("Several things to check were named.", hint="give MODEL, or --calculator, once")
    if kwargs and calculator is None:
        raise UsageError("--kwargs without --calculator has no meaning.", hint="give the factory too")
    if calculator is not None:
        _refuse_of_models()
        return replace(common, model="")
    return common if given is None else replace(common, model=given)


def _refuse_of_models() -> None:
    """UsageError for options that say how a model computes: a factory says it itself."""
    from click.core import ParameterSource

    context = click.get_current_context()
    for parameter in context.command.params:
        source = context.get_parameter_source(str(parameter.name))
        if parameter.name in OF_MODELS and source is ParameterSource.COMMANDLINE:
            raise UsageError(
                f"{parameter.opts[-1]} says how a model of ours computes, and --calculator names another.",
                hint="leave it out, or give it to the factory with --kwargs",
            )


def _made(common: Common, calculator: str | None, kwargs: dict[str, Any]) -> Calculator:
    """The calculator to check."""
    if calculator is None:
        return common.calculator()
    from ..labelling.teachers.ase_calculators import calculator_of

    return calculator_of(calculator, kwargs)  # type: ignore[no-any-return]
