"""The options of ``jmp-calc finetune``: about data, published recipes, training and the start model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .distributed import PRECISIONS
from .unit_options import unit_options


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


def finetune_options(function: Any) -> Any:
    """Adds all of them to a command, in this order."""
    return _data_options(_recipe_options(_training_options(_model_options(function))))


def _data_options(function: Any) -> Any:
    options = [
        click.argument("train", required=False, type=click.Path(path_type=Path)),
        click.option("--train", "train_option", hidden=True, type=click.Path(path_type=Path)),
        click.option("--valid", type=click.Path(path_type=Path), help="Validation frames."),
        click.option(
            "--test", type=click.Path(path_type=Path), help="Test frames, evaluated before and after."
        ),
        click.option(
            "--valid-fraction",
            type=float,
            default=None,
            help="Share of TRAIN set aside for validation, in contiguous blocks.  [default: 0.1]",
        ),
        click.option(
            "--valid-every",
            type=click.IntRange(min=2),
            default=None,
            help="Every N-th frame for validation instead.",
        ),
        click.option("--index", default=":", show_default=True, help="Frames of TRAIN, as a slice."),
        click.option(
            "--group",
            "groups",
            multiple=True,
            help="Only frames of this config_type or with these elements (Si, Cu-O); may be repeated.",
        ),
        click.option("--energy-key", help="Name of the energy in the file."),
        click.option("--forces-key", help="Name of the forces."),
        click.option("--stress-key", help="Name of the stress."),
        click.option("--virials-key", help="Name of the virials."),
        click.option(
            "--target",
            default=None,
            metavar="KEY",
            help="Train on this scalar, class or vector of every structure instead of energies and forces.",
        ),
        click.option(
            "--target-kind",
            type=click.Choice(["scalar", "class", "vector"]),
            default=None,
            help="What the target is.  [default: class if the labels are text or booleans, else scalar]",
        ),
        click.option(
            "--class-weights",
            type=click.Choice(["equal", "balanced"]),
            default=None,
            help="Whether every frame or every class counts alike in the loss of classes.  [default: equal]",
        ),
        click.option("--target-unit", default=None, help="Unit of the target, to be written into files."),
        click.option(
            "--pooling",
            type=click.Choice(["sum", "mean", "max"]),
            default=None,
            help="How atoms give the target.  [default: sum if a sum over elements explains it, else mean]",
        ),
        unit_options,
        click.option(
            "--E0s",
            "references",
            default="auto",
            show_default=True,
            help="Reference energies: auto, isolated, lstsq, a YAML file {C: -1029.5, ...} in eV, or a file "
            "of atoms.",
        ),
        click.option(
            "--allow-missing",
            multiple=True,
            type=click.Choice(["energy", "forces"]),
            help="Train although frames lack this label.",
        ),
        click.option("--allow-truncated", is_flag=True, help="Drop an incomplete last frame."),
        click.option(
            "--allow", multiple=True, metavar="CODE", help="Accept this finding of the audit of the data."
        ),
        click.option(
            "--n-train", type=int, default=None, help="Train on a random subset of N frames (see --seed)."
        ),
        click.option(
            "--retain",
            multiple=True,
            metavar="FILE[:HEAD]",
            help="Measure what is forgotten: errors on these earlier data under an old head; may be "
            "repeated.",
        ),
        click.option(
            "--replay",
            multiple=True,
            metavar="FILE[:HEAD]",
            help="Train on these earlier data too, under an old head, against forgetting; may be repeated.",
        ),
        click.option(
            "--replay-share",
            type=float,
            default=None,
            help="Share of the structures of a step that are replayed.  [default: 0.2]",
        ),
    ]
    return _apply(options, function)


def _recipe_options(function: Any) -> Any:
    options = [
        click.option("--recipe", help="A published task instead of TRAIN, see jmp-calc recipes list."),
        click.option(
            "--data",
            "data_folder",
            type=click.Path(path_type=Path),
            help="Folder with the data set of the recipe, see jmp-calc data list.",
        ),
        click.option(
            "--variant",
            type=click.Choice(["default", "paper", "code"]),
            default="default",
            show_default=True,
            help="Whose settings, where the paper and its code disagree.",
        ),
        click.option("--split", default=None, help="Another split of the data set than the recipe's."),
        click.option(
            "--fold",
            type=click.IntRange(0, 4),
            default=None,
            help="Fold of MatBench; short for --split fold-N.",
        ),
        click.option(
            "--test-frames",
            type=click.IntRange(min=1),
            default=None,
            help="Test on a random subset of this size.  [default: all]",
        ),
        click.option(
            "--on-bad",
            type=click.Choice(["fail", "skip"]),
            default="fail",
            show_default=True,
            help="What to do with bad frames of the data set.",
        ),
    ]
    return _apply(options, function)


def _training_options(function: Any) -> Any:
    options = [
        click.option("--epochs", type=int, default=None, help="Passes over the data.  [default: 100]"),
        click.option("--max-steps", type=int, default=None, help="Optimizer steps after which the run ends."),
        click.option(
            "--max-time",
            type=Duration(),
            default=None,
            help="Wall time (600, 10m, 2h); the learning rate reaches its end within it.",
        ),
        click.option(
            "--lr", type=float, default=None, help="Peak learning rate.  [default: by size of the network]"
        ),
        click.option(
            "--batch-size",
            type=int,
            default=None,
            help="Most structures per batch.  [default: 4 to 32, by number of frames]",
        ),
        click.option(
            "--accumulate", type=int, default=None, help="Batches per optimizer step.  [default: 1]"
        ),
        click.option("--max-edges-per-batch", type=int, default=None, help="Most edges per batch."),
        click.option(
            "--precision",
            type=click.Choice(PRECISIONS),
            default=None,
            help="Of matrix products in training; see docs/distributed.md.  [default: 32-true]",
        ),
        click.option(
            "--activation-checkpointing",
            type=click.Choice(["auto", "on", "off"]),
            default=None,
            help="Compute again instead of keeping in memory; slower.  [default: auto]",
        ),
        click.option("--energy-weight", type=float, default=None, help="Weight of the energy per atom."),
        click.option("--forces-weight", type=float, default=None, help="Weight of the forces."),
        click.option("--stress-weight", type=float, default=None, help="Weight of the stress."),
        click.option(
            "--target-loss",
            type=click.Choice(["l1", "l2", "huber"]),
            default=None,
            help="Loss of a target, in units of its standard deviation.  [default: l1]",
        ),
        click.option("--weight-decay", type=float, default=None),
        click.option("--clip", type=float, default=None, help="Largest norm of the gradient."),
        click.option("--ema-decay", type=float, default=None, help="Decay of the averaged weights."),
        click.option("--ema/--no-ema", default=True, help="Average the weights over steps."),
        click.option("--warmup-steps", type=int, default=None),
        click.option(
            "--patience", type=int, default=None, help="Stop after N validations without improvement."
        ),
        click.option(
            "--freeze",
            default=None,
            help="none, embedding, backbone, or N: embedding and first N blocks.  [default: none]",
        ),
        click.option(
            "--lora-rank",
            type=int,
            default=None,
            help="Train updates of this rank (LoRA) instead of the weights of the backbone.",
        ),
        click.option(
            "--processes",
            type=int,
            default=None,
            help="CPU processes that share each batch; 2 are nearly twice as fast as 1 for jmp-xs.",
        ),
        click.option(
            "--save-every",
            "save_every_s",
            type=Duration(),
            default=None,
            help="Time between saved states when validations are further apart.  [default: 2m]",
        ),
        click.option(
            "--tensorboard", is_flag=True, help="Errors and losses for TensorBoard too, in OUT/tensorboard."
        ),
        click.option(
            "--wandb", is_flag=True, help="The same for Weights & Biases; its WANDB_ variables say where."
        ),
        click.option(
            "--forces",
            type=click.Choice(["conservative", "direct"]),
            default=None,
            help="Slope of the energy, or a network of their own.  [default: conservative]",
        ),
    ]
    return _apply(options, function)


def _model_options(function: Any) -> Any:
    options = [
        click.option(
            "--from-scratch", is_flag=True, help="Only the architecture of the model, with new weights."
        ),
        click.option("--head-name", default="finetuned", show_default=True, help="Name of the new head."),
        click.option(
            "--keep-heads", is_flag=True, help="Keep the old heads (they no longer fit the backbone)."
        ),
        click.option(
            "--graph",
            type=click.Choice(["smooth", "official"]),
            default="smooth",
            show_default=True,
            help="Graphs for official weights.",
        ),
        click.option(
            "--level-of-theory", default="as in the training data", help="Written into the model file."
        ),
        click.option("--resume", is_flag=True, help="Go on with the run in the output folder."),
        click.option("--override", is_flag=True, help="Resume although settings or data have changed."),
    ]
    return _apply(options, function)


def _apply(options: list[Any], function: Any) -> Any:
    for option in reversed(options):
        function = option(function)
    return function
