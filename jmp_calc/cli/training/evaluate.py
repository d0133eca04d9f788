"""``jmp-calc evaluate``: errors of a model on labelled structures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..arguments import Arguments
from ..command_run import CommandRun
from ..dry_run import dry_run_report
from ..options import CHEMISCOPE_OPTION, ELEMENTS_OPTION, Common, common_options

EPILOG = """\b
Examples:
  jmp-calc evaluate test.extxyz -m run/best.safetensors
  jmp-calc evaluate test.extxyz -m jmp-xs --head pbe --group-by formula -o errors
  jmp-calc evaluate test.extxyz -m run/best.safetensors --chemiscope"""


ARGUMENTS = Arguments("training.evaluate", "evaluate")


@click.command(epilog=EPILOG)
@click.argument("data", nargs=-1, required=True, type=click.Path(path_type=Path))
@common_options(out="./jmp_evaluation", calculator=False, texts=ARGUMENTS)
@ARGUMENTS.option("--forces", argument="forces", type=click.Choice(["conservative", "direct"]))
@ARGUMENTS.option("--graph", argument="graph", type=click.Choice(["official", "smooth"]))
@ARGUMENTS.option("--weights", argument="weights", type=click.Choice(["ema", "raw", "official-ft"]))
@ELEMENTS_OPTION
@ARGUMENTS.option("--index", argument="index")
@ARGUMENTS.option("--group-by", argument="group_by", type=click.Choice(["config_type", "formula"]))
@ARGUMENTS.option("--energy-key", "--energy_key", argument="energy_key")
@ARGUMENTS.option("--forces-key", "--forces_key", argument="forces_key")
@ARGUMENTS.option("--stress-key", "--stress_key", argument="stress_key")
@ARGUMENTS.option("--virials-key", "--virials_key", argument="virials_key")
@ARGUMENTS.option("--target", argument="target", metavar="KEY")
@ARGUMENTS.option("--energy-unit", argument="energy_unit")
@ARGUMENTS.option("--length-unit", argument="length_unit")
@ARGUMENTS.option("--forces-unit", argument="forces_unit")
@ARGUMENTS.option("--stress-unit", argument="stress_unit")
@ARGUMENTS.option("--stress-sign", argument="stress_sign", type=click.Choice(["tension", "pressure"]))
@ARGUMENTS.option("--allow-truncated", argument="allow_truncated", is_flag=True)
@CHEMISCOPE_OPTION
def evaluate(data: tuple[Path, ...], common: Common, chemiscope: bool, **options: Any) -> None:
    """Compare a model with the energies, forces and stresses (or scalar, class, vector) in DATA; errors in
    total and by group.

    DATA is one or more files that ASE reads, packed or not, folders of them, or patterns in quotes.

    Writes predictions.extxyz, errors.yaml (in total and by group), parity.svg (of classes confusion.svg) and
    summary.yaml.
    """
    from ...io.chemiscope import FILE, require_chemiscope
    from ...training.data.sources import sources
    from ...training.evaluate import OUTPUTS
    from ...training.evaluate import evaluate as run_evaluate

    if chemiscope:
        require_chemiscope()
    given, outputs = sources(data), (*OUTPUTS, FILE) if chemiscope else OUTPUTS
    settings = {"data": given.files, "head": common.head, "elements": common.elements, **options}
    command = CommandRun(common, "evaluate", outputs=outputs, settings=settings, inputs=given.files)
    if common.dry_run:
        command.check()
        _show(common, given.files, options, outputs)
        return
    with command as run:
        result = run_evaluate(
            given.files,
            model=common.model,
            head=common.head,
            elements=common.elements,
            device=common.device,
            dtype=common.dtype,
            say=common.say,
            **options,
        )
        for path in given.files:
            run.add_input(
                path, n_frames=sum(frame.source in (path.name, str(path)) for frame in result.frames)
            )
        run.model = {"name": common.model, "head": result.head, "dtype": common.dtype}
        for path in result.write(common.out, prefix=common.prefix):
            run.add_output(path, "evaluation")
        if chemiscope:
            path = result.write_chemiscope(common.out, prefix=common.prefix)
            run.add_output(path, "for https://chemiscope.org")
            common.say(f"map for https://chemiscope.org: {path}")
        run.results = result.to_dict()
        for line in result.lines():
            common.say(line)


def _show(common: Common, files: tuple[Path, ...], options: dict[str, Any], outputs: tuple[str, ...]) -> None:
    """What would be compared, for --dry-run."""
    from ...inference.opened import loaded_model
    from ...inference.settings import Settings
    from ...training.evaluate import labelled, reader
    from ...training.targets.compared import compared_with, for_frames

    of_model = {name: options[name] for name in ("forces", "graph", "weights")}
    settings = Settings(model=common.model, head=common.head, **of_model)
    config = loaded_model(settings).potential.config
    compared = compared_with(config, settings, options["target"])
    of_data = {
        name: value for name, value in options.items() if name not in {*of_model, "target", "group_by"}
    }
    found = labelled(files, compared, reader(**of_data))
    for_frames(compared, config, settings, found.frames, common.say)
    facts = {"frames": len(found.frames), "labels": "; ".join(found.messages), "writes": ", ".join(outputs)}
    dry_run_report(common, "evaluate", facts)
