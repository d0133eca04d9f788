"""``jmp-calc evaluate``: errors of a model on labelled structures."""

from __future__ import annotations

from pathlib import Path

import click

from ..command_run import CommandRun
from ..dry_run import dry_run_report
from ..options import ELEMENTS_OPTION, Common, common_options
from .unit_options import label_units, unit_options

EPILOG = """\b
Examples:
  jmp-calc evaluate test.extxyz -m run/best.safetensors
  jmp-calc evaluate test.extxyz -m jmp-xs --head pbe --group-by formula -o errors"""


@click.command(epilog=EPILOG)
@click.argument("data", type=click.Path(path_type=Path))
@common_options(out="./jmp_evaluation", calculator=False)
@click.option(
    "--forces", type=click.Choice(["conservative", "direct"]), default="conservative", show_default=True
)
@click.option(
    "--graph", type=click.Choice(["official", "smooth"]), default=None, help="Default: the file's own."
)
@click.option(
    "--weights",
    type=click.Choice(["ema", "raw", "official-ft"]),
    default="ema",
    show_default=True,
    help="Weight set of an official checkpoint.",
)
@ELEMENTS_OPTION
@click.option("--index", default=":", show_default=True, help="Frames, as a slice.")
@click.option(
    "--group-by", type=click.Choice(["config_type", "formula"]), default="config_type", show_default=True
)
@click.option("--energy-key", "--energy_key", help="Name of the energy in the file.")
@click.option("--forces-key", "--forces_key", help="Name of the forces.")
@click.option("--stress-key", "--stress_key", help="Name of the stress (ASE's sign).")
@click.option("--virials-key", "--virials_key", help="Name of the virials (stress = -virials / volume).")
@click.option(
    "--target",
    default=None,
    metavar="KEY",
    help="Key of the labels of a head of scalars, classes or vectors.  [default: as in its training data]",
)
@unit_options
@click.option("--allow-truncated", is_flag=True, help="Drop an incomplete last frame.")
def evaluate(
    data: Path,
    common: Common,
    forces: str,
    graph: str | None,
    weights: str,
    index: str,
    group_by: str,
    energy_key: str | None,
    forces_key: str | None,
    stress_key: str | None,
    virials_key: str | None,
    target: str | None,
    allow_truncated: bool,
    energy_unit: str | None,
    length_unit: str | None,
    forces_unit: str | None,
    stress_unit: str | None,
    stress_sign: str | None,
) -> None:
    """Compare a model with the energies, forces and stresses (or scalar, class, vector) in DATA; errors in
    total and by group."""
    from ...training.data.keys import LabelKeys
    from ...training.data.labels import read_labelled
    from ...training.evaluate import OUTPUTS, target_of_model
    from ...training.evaluate import evaluate as run_evaluate
    from ...training.validation.confusion import confusion_text

    keys = LabelKeys(energy_key, forces_key, stress_key, virials_key)
    units = label_units(
        {
            "energy_unit": energy_unit,
            "length_unit": length_unit,
            "forces_unit": forces_unit,
            "stress_unit": stress_unit,
            "stress_sign": stress_sign,
        }
    )
    settings = {
        "data": data,
        "head": common.head,
        "forces": forces,
        "graph": graph,
        "weights": weights,
        "elements": common.elements,
        "index": index,
        "group_by": group_by,
        "keys": keys,
        "units": units,
        "target": target,
    }
    command = CommandRun(common, "evaluate", outputs=OUTPUTS, settings=settings, inputs=[data])
    if common.dry_run:
        command.check()
        key, kind = target_of_model(common.model, common.head, weights, target)
        found = read_labelled(
            data,
            keys=keys,
            index=index,
            allow_truncated=allow_truncated,
            require=(),
            units=units,
            target=key,
            target_kind=kind,
        )
        dry_run_report(
            common,
            "evaluate",
            {"frames": len(found.frames), "labels": "; ".join(found.messages), "writes": ", ".join(OUTPUTS)},
        )
        return
    with command as run:
        result = run_evaluate(
            data,
            model=common.model,
            head=common.head,
            forces=forces,
            graph=graph,
            weights=weights,
            elements=common.elements,
            keys=keys,
            target=target,
            index=index,
            allow_truncated=allow_truncated,
            energy_unit=units.energy,
            length_unit=units.length,
            forces_unit=units.forces,
            stress_unit=units.stress,
            stress_sign=units.stress_sign,
            group_by=group_by,
            device=common.device,
            dtype=common.dtype,
            say=common.say,
        )
        run.add_input(data, n_frames=len(result.frames))
        run.model = {"name": common.model, "head": result.head, "dtype": common.dtype}
        for path in result.write(common.out):
            run.add_output(path, "evaluation")
        run.results = result.to_dict()
        groups = result.by_group if len(result.by_group) > 1 else {}  # a single one is all
        width = max(len(name) for name in ("all", *groups))
        for name, errors in groups.items():
            common.say(f"{name:{width}s}  {errors.n_structures:6d}  {errors}")
        common.say(f"{'all':{width}s}  {result.errors.n_structures:6d}  {result.errors}")
        if result.classes:
            common.say(confusion_text(result.confusion, result.classes))
