"""``jmp-calc finetune``: train a model on labelled structures and write run/best.safetensors and a report."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from ...errors import UsageError
from ..command_run import CommandRun
from ..config import CommandWithSections
from ..options import Common, common_options
from .conflicts import check_conflicts
from .distributed import distributed_options
from .dry_run import show_finetune
from .options import finetune_options
from .run_config import options_of_run, training_of_file
from .settings import data_options, model_options, train_config, with_given

if TYPE_CHECKING:
    from ...training.config import TrainConfig
    from ...training.distributed.launch import DistributedConfig
    from ...training.finetuning.options import DataOptions, ModelOptions
    from ...training.finetuning.prepare import Prepared

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
@common_options(out="run", calculator=False)
def finetune(
    common: Common,
    train: Path | None,
    train_option: Path | None,
    distributed: DistributedConfig,
    **options: Any,
) -> None:
    """Fine-tune a model on TRAIN: energies, forces and, where present, stresses; or a scalar, class or vector
    with --target.

    Works on every file that ASE reads (extxyz, traj, db, npz, ...), packed or not. --head NAME chooses the
    old head that the new one starts from (default: the one with the smallest force error; scratch: new
    weights).
    """
    from ...training.distributed.launch import started
    from ...training.finetune import OUTPUTS, run
    from ...training.finetuning.earlier import file_and_head
    from ...training.finetuning.report import next_line
    from ...training.run.folder import has_state
    from ...training.run.log import RunLog, silent
    from ...training.validation.loggers import LOGGERS, require_installed

    if train is not None and _is_from_file("train_option"):
        train_option = None  # the command line wins
    given = [path for path in (train, train_option, options["recipe"]) if path is not None]
    if len(given) != 1:
        raise UsageError(
            "No training file was given." if not given else "The training file was given twice.",
            hint="jmp-calc finetune train.extxyz, or --recipe NAME --data FOLDER",
        )
    check_conflicts(common, options)
    data, start = data_options(train or train_option, common, options), model_options(common, options)
    earlier = [file_and_head(text)[0] for text in (*data.retain, *data.replay)]
    command = CommandRun(
        common,
        "finetune",
        outputs=OUTPUTS,
        settings={"data": data, "start": start},
        inputs=(data.train, data.valid, data.test, *earlier),
        resume=options["resume"],
        resume_hint="--resume goes on with it",
    )
    if common.dry_run:
        command.check()
        prepared, data, config = _prepared(data, start, common, options, silent)
        show_finetune(common, prepared, data, start, config, distributed)
        return
    loggers = [name for name in LOGGERS if options[name]]
    require_installed(loggers)
    with started(distributed, common.device) as world:
        resume = world.from_first(world.is_first and options["resume"] and has_state(common.out, common.say))
        training = functools.partial(
            run, device=common.device, resume=resume, override=options["override"], world=world
        )
        if not world.is_first:
            prepared, data, config = _prepared(data, start, common, options, silent)
            prepared.audit.raise_if_refused()
            training(prepared, data, start, config, common.out, say=silent)
            return
        with command, RunLog(common.out, common.say, resumed=resume) as say:
            prepared, data, config = _prepared(data, start, common, options, say)
            command.settings = {"data": data, "start": start, "training": config}
            for path in (data.train, data.valid, data.test, *earlier):
                if path is not None and Path(path).is_file():
                    command.add_input(path)
            prepared.audit.raise_if_refused()
            result = training(prepared, data, start, config, common.out, loggers=loggers, say=say)
            command.results = result.to_dict()
            for path in result.outputs:
                command.add_output(path, "fine-tuning")
            say(f"next: {next_line(result.best, prepared.target, config.final_forces)}")


def _prepared(
    data: DataOptions,
    start: ModelOptions,
    common: Common,
    options: dict[str, Any],
    say: Callable[[str], None],
) -> tuple[Prepared, DataOptions, TrainConfig]:
    """The data, read; where they come from; and the settings of the run."""
    from ...training.finetuning.prepare import prepare, prepare_recipe

    if data.recipe is not None:
        return prepare_recipe(
            data, start, lambda published: with_given(training_of_file() or published, common, options), say
        )
    config = train_config(common, options)
    return prepare(data, start, config, say), data, config


def _is_from_file(option: str) -> bool:
    return click.get_current_context().get_parameter_source(option) is ParameterSource.DEFAULT_MAP
