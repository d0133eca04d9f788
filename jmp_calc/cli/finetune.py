"""``jmp-calc finetune``: train a model on labelled structures and write run/best.safetensors and a report."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from ..errors import UsageError
from .common import CommandRun, Common, common_options
from .config import CommandWithSections
from .distributed import PRECISIONS, distributed_options
from .dry_run import show_finetune
from .run_config import options_of_run, training_of_file

if TYPE_CHECKING:
    from ..training.config import TrainConfig
    from ..training.distributed import DistributedConfig
    from ..training.prepare import DataOptions, Prepared
    from ..training.start import ModelOptions

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
}


_READ_BY_RECIPE = ("valid", "test", "valid_fraction", "valid_every", "groups", "energy_key", "forces_key", "stress_key",
                   "virials_key", "energy_unit", "length_unit", "allow_missing", "allow_truncated", "warmup_steps",
                   "target", "target_kind", "class_weights", "target_unit", "pooling")
_OF_ENERGIES = ("energy_key", "forces_key", "stress_key", "virials_key", "energy_unit", "allow_missing", "energy_weight",
                "forces_weight", "stress_weight", "forces")
_OF_SCALARS = ("target_kind", "class_weights", "target_unit", "pooling", "target_loss")


class FinetuneCommand(CommandWithSections):
    """Accepts the option names of ``mace_run_train`` beside ours, and the config.yaml of an earlier run."""

    def options_of_sections(self, context: click.Context, content: dict[Any, Any], path: Path) -> dict[Any, Any]:
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


class Duration(click.ParamType):
    """Seconds, or a number with s, m or h."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds as a float."""
        text = str(value).strip().lower()
        unit = {"s": 1.0, "m": 60.0, "h": 3600.0}.get(text[-1:])
        try:
            seconds = float(text if unit is None else text[:-1]) * (unit or 1.0)
        except ValueError:
            seconds = -1.0
        if not seconds > 0:
            self.fail(f"{value!r} is not a positive time; write 600, 10m or 2h", param, ctx)
        return seconds


def _data_options(function: Any) -> Any:
    options = [
        click.argument("train", required=False, type=click.Path(path_type=Path)),
        click.option("--train", "train_option", hidden=True, type=click.Path(path_type=Path)),
        click.option("--valid", type=click.Path(path_type=Path), help="Validation frames."),
        click.option("--test", type=click.Path(path_type=Path), help="Test frames, evaluated before and after."),
        click.option("--valid-fraction", type=float, default=None,
                     help="Share of TRAIN set aside for validation, in contiguous blocks.  [default: 0.1]"),
        click.option("--valid-every", type=int, default=None, help="Every N-th frame for validation instead."),
        click.option("--index", default=":", show_default=True, help="Frames of TRAIN, as a slice."),
        click.option("--group", "groups", multiple=True,
                     help="Only frames of this config_type or with these elements (Si, Cu-O); may be repeated."),
        click.option("--energy-key", help="Name of the energy in the file."),
        click.option("--forces-key", help="Name of the forces."),
        click.option("--stress-key", help="Name of the stress."),
        click.option("--virials-key", help="Name of the virials."),
        click.option("--target", default=None, metavar="KEY",
                     help="Train on this scalar, class or vector of every structure instead of energies and forces."),
        click.option("--target-kind", type=click.Choice(["scalar", "class", "vector"]), default=None,
                     help="What the target is.  [default: class if the labels are text or booleans, else scalar]"),
        click.option("--class-weights", type=click.Choice(["equal", "balanced"]), default=None,
                     help="Whether every frame or every class counts alike in the loss of classes.  [default: equal]"),
        click.option("--target-unit", default=None, help="Unit of the target, to be written into files."),
        click.option("--pooling", type=click.Choice(["sum", "mean", "max"]), default=None,
                     help="How atoms give the target.  [default: sum if a sum over elements explains it, else mean]"),
        click.option("--energy-unit", help="Unit of energies that are not in eV: hartree, kcal/mol, ..."),
        click.option("--length-unit", help="Unit of lengths that are not in Å: bohr, nm."),
        click.option("--E0s", "references", default="auto", show_default=True,
                     help="Reference energies: auto, isolated, lstsq, or a YAML file {C: -1029.5, ...} in eV."),
        click.option("--allow-missing", multiple=True, type=click.Choice(["energy", "forces"]),
                     help="Train although frames lack this label."),
        click.option("--allow-truncated", is_flag=True, help="Drop an incomplete last frame."),
        click.option("--allow", multiple=True, metavar="CODE", help="Accept this finding of the audit of the data."),
        click.option("--n-train", type=int, default=None, help="Train on a random subset of N frames (see --seed)."),
        click.option("--retain", multiple=True, metavar="FILE[:HEAD]",
                     help="Measure what is forgotten: errors on these earlier data under an old head; may be repeated."),
        click.option("--replay", multiple=True, metavar="FILE[:HEAD]",
                     help="Train on these earlier data too, under an old head, against forgetting; may be repeated."),
        click.option("--replay-share", type=float, default=None,
                     help="Share of the structures of a step that are replayed.  [default: 0.2]"),
    ]
    return _apply(options, function)


def _recipe_options(function: Any) -> Any:
    options = [
        click.option("--recipe", help="A published task instead of TRAIN, see jmp-calc recipes list."),
        click.option("--data", "data_folder", type=click.Path(path_type=Path),
                     help="Folder with the data set of the recipe, see jmp-calc data list."),
        click.option("--variant", type=click.Choice(["default", "paper", "code"]), default="default", show_default=True,
                     help="Whose settings, where the paper and its code disagree."),
        click.option("--split", default=None, help="Another split of the data set than the recipe's."),
        click.option("--fold", type=click.IntRange(0, 4), default=None, help="Fold of MatBench; short for --split fold-N."),
        click.option("--test-frames", type=click.IntRange(min=1), default=None,
                     help="Test on a random subset of this size.  [default: all]"),
        click.option("--on-bad", type=click.Choice(["fail", "skip"]), default="fail", show_default=True,
                     help="What to do with bad frames of the data set."),
    ]
    return _apply(options, function)


def _training_options(function: Any) -> Any:
    options = [
        click.option("--epochs", type=int, default=None, help="Passes over the data.  [default: 100]"),
        click.option("--max-steps", type=int, default=None, help="Optimizer steps after which the run ends."),
        click.option("--max-time", type=Duration(), default=None,
                     help="Wall time (600, 10m, 2h); the learning rate reaches its end within it."),
        click.option("--lr", type=float, default=None, help="Peak learning rate.  [default: by size of the network]"),
        click.option("--batch-size", type=int, default=None,
                     help="Most structures per batch.  [default: 4 to 32, by number of frames]"),
        click.option("--accumulate", type=int, default=None, help="Batches per optimizer step.  [default: 1]"),
        click.option("--max-edges-per-batch", type=int, default=None, help="Most edges per batch."),
        click.option("--precision", type=click.Choice(PRECISIONS), default=None,
                     help="Of matrix products in training; see docs/distributed.md.  [default: 32-true]"),
        click.option("--activation-checkpointing", type=click.Choice(["auto", "on", "off"]), default=None,
                     help="Compute again instead of keeping in memory; slower.  [default: auto]"),
        click.option("--energy-weight", type=float, default=None, help="Weight of the energy per atom."),
        click.option("--forces-weight", type=float, default=None, help="Weight of the forces."),
        click.option("--stress-weight", type=float, default=None, help="Weight of the stress."),
        click.option("--target-loss", type=click.Choice(["l1", "l2", "huber"]), default=None,
                     help="Loss of a target, in units of its standard deviation.  [default: l1]"),
        click.option("--weight-decay", type=float, default=None),
        click.option("--clip", type=float, default=None, help="Largest norm of the gradient."),
        click.option("--ema-decay", type=float, default=None, help="Decay of the averaged weights."),
        click.option("--ema/--no-ema", default=True, help="Average the weights over steps."),
        click.option("--warmup-steps", type=int, default=None),
        click.option("--patience", type=int, default=None, help="Stop after N validations without improvement."),
        click.option("--freeze", default=None,
                     help="none, embedding, backbone, or N: embedding and first N blocks.  [default: none]"),
        click.option("--lora-rank", type=int, default=None,
                     help="Train updates of this rank (LoRA) instead of the weights of the backbone."),
        click.option("--processes", type=int, default=None,
                     help="CPU processes that share each batch; 2 are nearly twice as fast as 1 for jmp-xs."),
        click.option("--save-every", "save_every_s", type=Duration(), default=None,
                     help="Time between saved states when validations are further apart.  [default: 2m]"),
        click.option("--tensorboard", is_flag=True, help="Errors and losses for TensorBoard too, in OUT/tensorboard."),
        click.option("--wandb", is_flag=True, help="The same for Weights & Biases; its WANDB_ variables say where."),
        click.option("--forces", type=click.Choice(["conservative", "direct"]), default=None,
                     help="Slope of the energy, or a network of their own.  [default: conservative]"),
    ]
    return _apply(options, function)


def _model_options(function: Any) -> Any:
    options = [
        click.option("--from-scratch", is_flag=True, help="Only the architecture of the model, with new weights."),
        click.option("--head-name", default="finetuned", show_default=True, help="Name of the new head."),
        click.option("--keep-heads", is_flag=True, help="Keep the old heads (they no longer fit the backbone)."),
        click.option("--graph", type=click.Choice(["smooth", "official"]), default="smooth", show_default=True,
                     help="Graphs for official weights."),
        click.option("--level-of-theory", default="as in the training data", help="Written into the model file."),
        click.option("--resume", is_flag=True, help="Go on with the run in the output folder."),
        click.option("--override", is_flag=True, help="Resume although settings or data have changed."),
    ]
    return _apply(options, function)


def _apply(options: list[Any], function: Any) -> Any:
    for option in reversed(options):
        function = option(function)
    return function


@click.command(cls=FinetuneCommand, epilog=EPILOG)
@_data_options
@_recipe_options
@_training_options
@_model_options
@distributed_options
@common_options(out="run", calculator=False)
def finetune(
    common: Common, train: Path | None, train_option: Path | None, distributed: DistributedConfig, **options: Any
) -> None:
    """Fine-tune a model on TRAIN: energies, forces and, where present, stresses; or a scalar, class or vector with --target.

    Works on every file that ASE reads (extxyz, traj, db, npz, ...), packed or not. --head NAME chooses the old head
    that the new one starts from (default: the one with the smallest force error; scratch: new weights).
    """
    from ..training.distributed import started
    from ..training.finetune import OUTPUTS, run
    from ..training.loggers import LOGGERS, require_installed
    from ..training.report import next_line
    from ..training.runfolder import RunLog, has_state, silent

    if train is not None and _is_from_file("train_option"):
        train_option = None  # the command line wins
    given = [path for path in (train, train_option, options["recipe"]) if path is not None]
    if len(given) != 1:
        raise UsageError("no training file was given" if not given else "the training file was given twice",
                         hint="jmp-calc finetune train.extxyz, or --recipe NAME --data FOLDER")
    _check_conflicts(common, options)
    data, start = data_options(train or train_option, common, options), model_options(common, options)
    if common.dry_run:
        prepared, data, config = _prepared(data, start, common, options, silent)
        show_finetune(common, prepared, data, start, config, distributed)
        return
    loggers = [name for name in LOGGERS if options[name]]
    require_installed(loggers)
    with started(distributed, common.device) as world:
        resume = world.from_first(world.is_first and options["resume"] and has_state(common.out, common.say))
        training = functools.partial(run, device=common.device, resume=resume, override=options["override"], world=world)
        if not world.is_first:
            prepared, data, config = _prepared(data, start, common, options, silent)
            prepared.audit.raise_if_refused()
            training(prepared, data, start, config, common.out, say=silent)
            return
        with (
            CommandRun(common, "finetune", outputs=OUTPUTS, settings={"data": data, "start": start},
                       resume=options["resume"], resume_hint="--resume goes on with it") as command,
            RunLog(common.out, common.say, resumed=resume) as say,
        ):
            prepared, data, config = _prepared(data, start, common, options, say)
            command.settings = {"data": data, "start": start, "training": config}
            earlier = (item.path for item in (*prepared.retained, *prepared.replayed))
            for path in (data.train, data.valid, data.test, *earlier):
                if path is not None and Path(path).is_file():
                    command.add_input(path)
            prepared.audit.raise_if_refused()
            result = training(prepared, data, start, config, common.out, loggers=loggers, say=say)
            command.results = result.to_dict()
            for path in result.outputs:
                command.add_output(path, "fine-tuning")
            say(f"next: {next_line(result.best, prepared.scalar)}")


def _prepared(
    data: DataOptions, start: ModelOptions, common: Common, options: dict[str, Any], say: Callable[[str], None]
) -> tuple[Prepared, DataOptions, TrainConfig]:
    """The data, read; where they come from; and the settings of the run."""
    from ..training.prepare import prepare, prepare_recipe

    if data.recipe is not None:
        return prepare_recipe(
            data, start, lambda published: with_given(training_of_file() or published, common, options), say)
    config = train_config(common, options)
    return prepare(data, start, config, say), data, config


def _is_from_file(option: str) -> bool:
    return click.get_current_context().get_parameter_source(option) is ParameterSource.DEFAULT_MAP


def _check_conflicts(common: Common, options: dict[str, Any]) -> None:
    _check_scalar(options)
    if options["recipe"] is None:
        for name in ("data_folder", "split", "fold", "test_frames"):
            if options[name] is not None:
                raise UsageError(f"--{name.replace('_folder', '').replace('_', '-')} has no meaning without --recipe",
                                 hint="jmp-calc recipes list")
    elif options["data_folder"] is None:
        raise UsageError("the folder of the data set is missing", where=f"--recipe {options['recipe']}",
                         hint="add --data FOLDER; jmp-calc data list says what it must hold")
    else:
        own = [name for name in _READ_BY_RECIPE if options[name]]
        if own or options["index"] != ":":
            raise UsageError(f"--recipe and --{(own or ['index'])[0].replace('_', '-')} contradict each other",
                             hint="the recipe says which frames and labels are used")
    pairs = [
        (options["split"] is not None and options["fold"] is not None, "--split and --fold"),
        (options["from_scratch"] and options["freeze"] not in (None, "none"), "--from-scratch and --freeze"),
        (options["lora_rank"] is not None and options["freeze"] not in (None, "none"), "--lora-rank and --freeze"),
        (options["from_scratch"] and options["lora_rank"] is not None, "--from-scratch and --lora-rank"),
        (options["from_scratch"] and common.head not in (None, "scratch"), "--from-scratch and --head"),
        (options["from_scratch"] and options["keep_heads"], "--from-scratch and --keep-heads"),
        (options["from_scratch"] and options["retain"], "--from-scratch and --retain"),
        (options["from_scratch"] and options["replay"], "--from-scratch and --replay"),
        (options["target"] is not None and options["replay"], "--target and --replay"),
        (options["valid"] is not None and options["valid_fraction"] is not None, "--valid and --valid-fraction"),
        (options["valid"] is not None and options["valid_every"] is not None, "--valid and --valid-every"),
        (options["valid_every"] is not None and options["valid_fraction"] is not None,
         "--valid-every and --valid-fraction"),
        (options["resume"] and common.overwrite, "--resume and --overwrite"),
        (not options["ema"] and options["ema_decay"] is not None, "--no-ema and --ema-decay"),
        (options["stress_key"] is not None and options["virials_key"] is not None, "--stress-key and --virials-key"),
    ]
    for conflict, names in pairs:
        if conflict:
            raise UsageError(f"{names} contradict each other", hint="leave one of them out")
    if options["replay_share"] is not None and not options["replay"]:
        raise UsageError("--replay-share has no meaning without --replay", hint="add --replay FILE or leave it out")
    if options["override"] and not options["resume"]:
        raise UsageError("--override has no meaning without --resume", hint="add --resume or leave it out")
    if common.prefix:
        raise UsageError("a run has fixed file names", where="--prefix", hint="choose the folder with -o DIR")


def _check_scalar(options: dict[str, Any]) -> None:
    """UsageError for options of energies in a run on a scalar, and the other way round."""
    from ..training.finetune_recipes import finetune_recipe

    recipe = options["recipe"]
    scalar = finetune_recipe(recipe, options["variant"]).scalar_task if recipe else options["target"]
    wrong = [name for name in (_OF_ENERGIES if scalar else _OF_SCALARS) if options[name]]
    if scalar and options["references"] != "auto":
        wrong.append("E0s")
    kind = options["target_kind"]
    if kind in ("class", "vector"):
        wrong += [name for name in (("target_loss", "target_unit") if kind == "class" else ("target_loss",)) if options[name]]
    if kind in ("scalar", "vector") and options["class_weights"]:
        wrong.append("class_weights")
    if wrong and not (recipe and wrong[0] in _READ_BY_RECIPE):
        what = f"{recipe or '--target'} trains on a {kind or 'scalar'}"
        reason = what if scalar else "it is about --target, which is not given"
        raise UsageError(f"--{wrong[0].replace('_', '-')} has no meaning here: {reason}", hint="leave it out")


def data_options(train: Path | None, common: Common, options: dict[str, Any]) -> DataOptions:
    """The options about data."""
    from ..training.finetune_recipes import finetune_recipe
    from ..training.labels import LabelKeys
    from ..training.prepare import DataOptions
    from ..training.scalars import ScalarTask

    if options["recipe"] is not None:
        return DataOptions(
            options["data_folder"], recipe=finetune_recipe(options["recipe"], options["variant"]),
            split=options["split"] if options["fold"] is None else f"fold-{options['fold']}",
            test_frames=options["test_frames"], on_bad=options["on_bad"],
            references=options["references"], allow=tuple(options["allow"]), seed=common.seed, **_earlier(options),
        )
    assert train is not None

    keys = LabelKeys(*(options[f"{name}_key"] for name in ("energy", "forces", "stress", "virials")))
    scalar = None
    if options["target"] is not None:
        scalar = ScalarTask(options["target"], options["target_kind"], options["pooling"],
                            unit=options["target_unit"] or ScalarTask.unit,
                            class_weights=options["class_weights"] or ScalarTask.class_weights)
    fraction = options["valid_fraction"]
    return DataOptions(
        train, options["valid"], options["test"], keys, options["index"],
        DataOptions.valid_fraction if fraction is None else fraction, options["valid_every"],
        options["references"], tuple(options["allow_missing"]), options["allow_truncated"],
        tuple(options["allow"]), options["energy_unit"], options["length_unit"], tuple(options["groups"]),
        scalar=scalar, seed=common.seed, **_earlier(options),
    )


def _earlier(options: dict[str, Any]) -> dict[str, Any]:
    """Fields of DataOptions about earlier data and the size of the training set."""
    share = {} if options["replay_share"] is None else {"replay_share": options["replay_share"]}
    return {"retain": tuple(options["retain"]), "replay": tuple(options["replay"]), "n_train": options["n_train"], **share}


def model_options(common: Common, options: dict[str, Any]) -> ModelOptions:
    """The options about the start model."""
    from ..training.finetune_recipes import finetune_recipe
    from ..training.start import SCRATCH, ModelOptions

    scratch = options["from_scratch"] and not common.model.startswith(SCRATCH)
    chosen = ModelOptions(
        model=SCRATCH + common.model if scratch else common.model, head=options["head_name"],
        init_head=common.head or "auto", keep_heads=options["keep_heads"], graph=options["graph"],
        level_of_theory=options["level_of_theory"], dtype=common.dtype,
    )
    if options["recipe"] is None:
        return chosen
    return chosen.for_recipe(finetune_recipe(options["recipe"], options["variant"]))


def train_config(common: Common, options: dict[str, Any]) -> TrainConfig:
    """The options about training; those not given keep the defaults of TrainConfig."""
    from ..training.config import TrainConfig

    config = training_of_file() or TrainConfig()
    return with_given(config if options["target"] is None else config.for_scalar(), common, options)


def with_given(config: TrainConfig, common: Common, options: dict[str, Any]) -> TrainConfig:
    """``config`` with the settings that were given on the command line."""
    from ..training.schedules import within_time

    def given(*names: str) -> dict[str, Any]:
        return {name: options[name] for name in names if options[name] is not None}

    optim = given("lr", "weight_decay", "ema_decay", "warmup_steps")
    if options["clip"] is not None:
        optim["clip_norm"] = options["clip"]
    if not options["ema"]:
        optim["ema_decay"] = None
    if options["max_time"] is not None:
        config = dataclasses.replace(config, optim=within_time(config.optim))
    loss = given("energy_weight", "forces_weight", "stress_weight")
    if options["target_loss"] is not None:
        loss["scalar"] = options["target_loss"]
    return dataclasses.replace(
        config, loss=dataclasses.replace(config.loss, **loss),
        optim=dataclasses.replace(config.optim, **optim), seed=common.seed,
        **given("epochs", "max_time", "max_steps", "batch_size", "accumulate", "max_edges_per_batch", "precision",
                "activation_checkpointing", "patience", "freeze", "lora_rank", "forces", "processes", "save_every_s"),
    )
