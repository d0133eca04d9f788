"""``jmp-calc finetune``: train a model on labelled structures and write run/best.safetensors and a report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from ...errors import UsageError
from ..arguments import format_sections
from ..command_run import CommandRun
from ..config import CommandWithSections
from ..options import Common, common_options
from .conflicts import check_conflicts
from .distributed import distributed_options
from .dry_run import show_finetune
from .options import FINETUNE, finetune_options
from .run_config import options_of_run
from .settings import data_options, model_options, train_settings

if TYPE_CHECKING:
    from ...training.distributed.launch import DistributedConfig
    from ...training.finetuning.result import TrainResult

EPILOG = """\b
Examples:
  jmp-calc finetune train.extxyz
  jmp-calc finetune train.extxyz --valid valid.extxyz --test test.extxyz -m jmp-xs -o run --max-time 10m
  jmp-calc finetune vasp.traj --epochs 200 --E0s e0s.yaml --freeze 1
  jmp-calc finetune train.extxyz -o run --resume
  jmp-calc finetune --config run/config.yaml -o again
  jmp-calc finetune --recipe rmd17-aspirin --data ~/data/rmd17 -m jmp-l -o run
  jmp-calc finetune --recipe matbench-dielectric --data ~/data/matbench --fold 0 -m jmp-l -o run
  jmp-calc finetune train.extxyz --target band_gap --target-unit eV -o run
  jmp-calc finetune train.extxyz --replay bulk.xyz:pbe --retain held-out-bulk.xyz:pbe -o run
  jmp-calc finetune train.extxyz --target is_metal --target-kind class --class-weights balanced -o run

Keys: the ones you name, else REF_energy, REF_forces, REF_stress, REF_virials, else energy, forces, stress.
Stress has ASE's sign (positive = tension); stress = -virials / volume.
MACE's spellings work too (--energy_key, --max_num_epochs, --foundation_model, ...)."""

MACE_SPELLINGS = {
    "--max_num_epochs": "--epochs", "--foundation_model": "--model", "--train_file": "--train",
    "--valid_file": "--valid", "--test_file": "--test", "--default_dtype": "--dtype", "--clip_grad": "--clip",
    "--work_dir": "--out",
}  # fmt: skip


class FinetuneCommand(CommandWithSections):
    """Accepts the option names of ``mace_run_train`` beside ours, and the config.yaml of an earlier run."""

    def options_of_sections(
        self, context: click.Context, content: dict[Any, Any], path: Path
    ) -> dict[Any, Any]:
        """The sections that ``finetune`` writes, as options."""
        return options_of_run(context, content, path)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Options under headings."""
        shared = {"model": "Model", "head": "Model", "dtype": "Model", "seed": "Training"}
        format_sections(self, ctx, formatter, shared, rest="Run")

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Translate ``--snake_case`` before click sees it."""
        return super().parse_args(ctx, [_ours(arg) for arg in args])


def _ours(arg: str) -> str:
    name, equals, value = arg.partition("=")
    if not name.startswith("--") or "_" not in name:
        return arg
    return MACE_SPELLINGS.get(name, name.replace("_", "-")) + equals + value


@click.command(cls=FinetuneCommand, epilog=EPILOG)
@finetune_options
@distributed_options
@common_options(out="run", calculator=False, texts=FINETUNE)
def finetune(
    common: Common,
    train: tuple[Path, ...],
    train_option: tuple[Path, ...],
    distributed: DistributedConfig,
    **options: Any,
) -> None:
    """Fine-tune a model on TRAIN: energies, forces and, where present, stresses; or a scalar, class or vector
    with --target.

    TRAIN is one or more files that ASE reads (extxyz, traj, db, npz, ...), packed or not, folders of them, or
    patterns in quotes. A new head starts from an old one (--head: by default the one with the smallest force
    error; scratch: new weights).
    """
    from ...training.distributed.launch import started
    from ...training.finetune import finetune as run_finetune
    from ...training.finetuning.options import input_files
    from ...training.finetuning.prepare import prepare
    from ...training.finetuning.report import OUTPUTS
    from ...training.run.folder import RESUME_HINT, Restart
    from ...training.run.log import silent
    from ...training.validation.loggers import LOGGERS

    options["train"] = _train(train, train_option)
    check_conflicts(common, options)
    Restart(options["resume"], options["override"], common.overwrite)  # refuses what contradicts
    data, start = data_options(common, options), model_options(common, options)
    settings, read = train_settings(common, options), input_files(data)
    command = CommandRun(
        common,
        "finetune",
        outputs=OUTPUTS,
        settings={"data": data, "start": start},
        inputs=read,
        resume=options["resume"],
        resume_hint=RESUME_HINT,
        trains=True,
    )
    if common.dry_run:
        command.check()
        show_finetune(common, prepare(data, start, settings, silent), distributed)
        return
    with started(distributed, common.device) as world, command.of(world.is_first) as folder:
        for path in read if world.is_first else ():
            command.add_input(path)
        result = run_finetune(
            out=folder,
            config=settings,
            data=data,
            start=start,
            device=common.device,
            resume=options["resume"],
            override=options["override"],
            overwrite=common.overwrite,
            loggers=[name for name in LOGGERS if options[name]],
            distributed=world,
            say=common.say,
        )
        if world.is_first:
            _record(command, result)


def _train(given: tuple[Path, ...], option: tuple[Path, ...]) -> tuple[Path, ...]:
    """The training files, which may be named in two ways; the command line wins over a file of settings."""
    if given and option and not _is_from_file("train_option"):
        raise UsageError("The training files were given twice.", hint="jmp-calc finetune train.extxyz")
    return given or option


def _record(command: CommandRun, result: TrainResult) -> None:
    """What summary.yaml says about a run that has ended."""
    command.settings = {"data": result.data, "start": result.start, "training": result.config}
    command.results = result.to_dict()
    if result.data.recipe is not None and Path(str(result.data.train)).is_file():  # it may have been moved
        command.add_input(str(result.data.train))
    for path in result.outputs:
        command.add_output(path, "fine-tuning")


def _is_from_file(option: str) -> bool:
    return click.get_current_context().get_parameter_source(option) is ParameterSource.DEFAULT_MAP
