"""``jmp-calc check-data``: what is in labelled files and what is wrong with it, without a training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..arguments import Arguments
from ..command_run import CommandRun
from ..dry_run import dry_run_report
from ..options import Common, common_options
from .unit_options import NAMES, label_units, unit_options

EPILOG = """\b
Examples:
  jmp-calc check-data train.extxyz
  jmp-calc check-data train.extxyz --valid valid.extxyz --test test.extxyz -o report
  jmp-calc check-data runs/*.traj --energy-key dft_energy --forces-key dft_forces"""

ARGUMENTS = Arguments("training.audit.check_data", "check_data")
KEYS = ("energy", "forces", "stress", "virials")


def _key_options(function: Any) -> Any:
    for name in reversed(KEYS):
        text = f"Name of the {name} in the files (found automatically if none is given)."
        function = click.option(f"--{name}-key", help=text)(function)
    return function


@click.command("check-data", epilog=EPILOG)
@click.argument("data", nargs=-1, required=True, type=click.Path(path_type=Path))
@common_options(out="./jmp_results/check_data", network=False, calculator=False, machine=False)
@click.option("--valid", multiple=True, type=click.Path(path_type=Path), help=ARGUMENTS.help("valid"))
@click.option("--test", multiple=True, type=click.Path(path_type=Path), help=ARGUMENTS.help("test"))
@ARGUMENTS.option("--index", argument="index")
@_key_options
@unit_options
@click.option("--allow", multiple=True, metavar="CODE", help=ARGUMENTS.help("allow"))
@ARGUMENTS.option("--allow-truncated", argument="allow_truncated", is_flag=True)
def check_data(
    data: tuple[Path, ...],
    common: Common,
    valid: tuple[Path, ...],
    test: tuple[Path, ...],
    index: str,
    allow: tuple[str, ...],
    allow_truncated: bool,
    **options: Any,
) -> None:
    """Units, signs, copies, outliers and contradictions of the labels in DATA, as finetune looks for them.

    Writes data.html, one file to read, and summary.yaml. Exit code 4 when a training would refuse the data.
    """
    from ...training.audit.audit import check_codes
    from ...training.audit.check_data import OUTPUTS, REPORT
    from ...training.audit.check_data import check_data as run_check
    from ...training.data.keys import LabelKeys
    from ...training.data.sources import sources

    check_codes(allow)
    parts = {"data": sources(data), "valid": sources(valid or None), "test": sources(test or None)}
    files = [path for part in parts.values() for path in part.files]
    keys = {name: options[f"{name}_key"] for name in KEYS}
    settings: dict[str, Any] = {name: list(map(str, part.files)) for name, part in parts.items() if part}
    units = {name: options[name] for name in NAMES if options[name]}
    settings |= {"index": index, "allow": list(allow), **{k: v for k, v in keys.items() if v}, **units}
    run = CommandRun(common, "check-data", outputs=OUTPUTS, settings=settings, inputs=files)
    given_units = label_units(options)
    if common.dry_run:
        run.check()
        facts = {**settings, "writes": ", ".join(OUTPUTS)}
        dry_run_report(common, "check-data", facts)
        return
    with run:
        result = run_check(
            parts["data"].files,
            valid=parts["valid"].files or None,
            test=parts["test"].files or None,
            index=index,
            keys=LabelKeys(**keys),
            units=given_units,
            allow=allow,
            allow_truncated=allow_truncated,
        )
        for path in files:
            run.add_input(path)
        run.results = result.to_dict()
        for path in result.write(common.out, prefix=common.prefix):
            run.add_output(path, "report")
        for message in result.messages:
            common.say(message)
        for finding in result.audit.findings:
            common.say(f"{finding.severity} {finding.code}: {finding.message}")
        common.say(f"wrote {run.path(REPORT)}")
        result.require_pass()
