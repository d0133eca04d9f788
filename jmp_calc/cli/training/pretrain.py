"""``jmp-calc pretrain``: train one backbone on several data sets from a recipe."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..command_run import CommandRun
from ..options import Common, common_options
from .conflicts import refuse_prefix
from .distributed import PRECISIONS, distributed_options
from .dry_run import show_pretrain
from .options import TRAIN

if TYPE_CHECKING:
    from ...training.config import CompileChoice, Precision
    from ...training.distributed.launch import DistributedConfig

EPILOG = """\b
Examples:
  jmp-calc pretrain jmp-xs --data data -o runs/jmp-xs
  jmp-calc pretrain mixture.toml --data data -o runs/mine --set train.max_time=3600
  jmp-calc pretrain jmp-xs --data data -o runs/cold \\
    --set mixture.temperature=1 --set train.loss.structure_wise=false
  jmp-calc pretrain jmp-xs --data data -o runs/jmp-xs --resume
  jmp-calc pretrain jmp-xs --data data --shards shards -o runs/stage1 --stage-minutes 90
  jmp-calc pretrain jmp-xs --data data --shards shards -o runs/stage2 --stage-minutes 90 \\
    --stage-from runs/stage1/jmp_xs_stage.pt

The recipe decides the network and the seeds (--set train.seed=7 --set mixture.seed=7 for others).
The ablations of the JMP paper are settings: mixture.temperature (1, 2, inf), train.loss.structure_wise,
train.optim.weight_decay, train.edge_dropout, model.dropout, train.optim.ema_decay (none: off),
train.optim.pcgrad, energy_margin and forces_margin of a set (threshold loss), a recipe with one set only.
A run that is stopped (Ctrl-C, SIGTERM, time limit of the queue) goes on with --resume."""


@click.command(epilog=EPILOG)
@click.argument("recipe")
@click.option("--data", type=click.Path(path_type=Path), help="Folder with the files of the recipe.")
@click.option(
    "--pack", type=click.Path(path_type=Path), help="A mixture.npz of an earlier run instead of --data."
)
@click.option(
    "--shards",
    type=click.Path(path_type=Path),
    help="Folder of the frames that every stage makes for itself; what it lacks is sampled and labelled.",
)
@click.option(
    "--teachers",
    type=click.Path(path_type=Path),
    help="YAML file: interpreter, weights and processes of the teachers that label on this machine.",
)
@click.option(
    "--stage-from",
    type=click.Path(path_type=Path),
    help="The run is a stage of a chain and starts from this NAME_stage.pt of the stage before.",
)
@click.option(
    "--stage-minutes",
    type=float,
    default=None,
    help="The run is a stage of a chain and trains for so many minutes at a constant rate.",
)
@click.option("--stage-steps", type=click.IntRange(min=1), default=None, help="The same by steps.")
@click.option("--last", is_flag=True, help="This stage is the last: the rate decays as the recipe says.")
@click.option(
    "--set", "changes", multiple=True, metavar="TABLE.KEY=VALUE", help="Replace a setting of the recipe."
)
@click.option(
    "--valid-frames",
    type=click.IntRange(min=1),
    default=None,
    help="Most validation frames per set while training; the report has all.  [default: all]",
)
@click.option(
    "--workers",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Processes that prepare batches for a GPU.",
)
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default=None,
    help="Of matrix products in training; see docs/distributed.md.  [default: that of the recipe]",
)
@TRAIN.option("--compile", "compile_choice", field="compile", type=click.Choice(["auto", "on", "off"]))
@click.option("--resume", is_flag=True, help="Go on with the run in the output folder.")
@click.option("--override", is_flag=True, help="Resume although settings or data have changed.")
@distributed_options
@common_options(out="pretraining", calculator=False, network=False)
def pretrain(
    recipe: str,
    common: Common,
    data: Path | None,
    pack: Path | None,
    shards: Path | None,
    teachers: Path | None,
    stage_from: Path | None,
    stage_minutes: float | None,
    stage_steps: int | None,
    last: bool,
    changes: tuple[str, ...],
    valid_frames: int | None,
    workers: int,
    precision: Precision | None,
    compile_choice: CompileChoice | None,
    resume: bool,
    override: bool,
    distributed: DistributedConfig,
) -> None:
    """Pre-train the network of RECIPE (a name, or a TOML file) and write a model with all its heads."""
    from ...training.config import config_to_dict
    from ...training.distributed.launch import started
    from ...training.pretrain import pretrain as run_pretrain
    from ...training.pretraining.chain import StageOptions
    from ...training.pretraining.options import PretrainOptions
    from ...training.pretraining.recipe import load_recipe, outputs, staged
    from ...training.run.folder import RESUME_HINT, Restart
    from ...training.run.log import silent

    refuse_prefix(common)
    Restart(resume, override, common.overwrite)  # refuses what contradicts, before anything is read
    loaded = load_recipe(recipe, changes)
    loaded = staged(loaded, StageOptions(stage_from, stage_minutes, stage_steps, last))
    given = {"precision": precision, "compile": compile_choice}
    changed: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    loaded = dataclasses.replace(loaded, train=dataclasses.replace(loaded.train, **changed))
    settings = {"recipe": recipe, "changes": list(changes), "training": config_to_dict(loaded.train)}
    if loaded.stage is not None:
        settings["stage"] = {"number": loaded.stage.number, "start": stage_from, "last": last}
    options = PretrainOptions(
        data,
        pack,
        common.device,
        common.dtype,
        workers,
        shards=shards,
        teachers=teachers,
        valid_frames=valid_frames,
    )
    options.check()
    command = CommandRun(
        common,
        "pretrain",
        outputs=outputs(loaded),
        settings=settings,
        inputs=[pack, teachers, stage_from],
        resume=resume,
        resume_hint=RESUME_HINT,
    )
    if common.dry_run:
        command.check()
        show_pretrain(common, loaded, options, distributed)
        return
    with started(distributed, common.device) as world, command.of(world.is_first) as folder:
        result = run_pretrain(
            loaded,
            folder,
            options,
            resume=resume,
            override=override,
            overwrite=common.overwrite,
            distributed=world,
            say=common.say if world.is_first else silent,
        )
        if world.is_first:
            command.results = result.to_dict()
            for name in outputs(loaded):
                if (common.out / name).exists():
                    command.add_output(common.out / name, "pre-training")
