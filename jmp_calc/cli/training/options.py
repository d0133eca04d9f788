"""The options of ``jmp-calc finetune``, under the headings of its help.

Texts and defaults stand at the arguments of ``finetune`` and at the fields of its settings.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..arguments import Arguments, Fields, InSection
from .distributed import PRECISIONS

FINETUNE = Arguments("training.finetune", "finetune")
DATA = Fields("training.finetuning.options", "DataOptions")
START = Fields("training.finetuning.options", "ModelOptions")
TARGET = Fields("training.targets.options", "TargetTask")
TRAIN = Fields("training.config", "TrainConfig")
OPTIM = Fields("training.config", "OptimConfig")
LOSS = Fields("training.config", "LossConfig")
PATH = click.Path(path_type=Path)


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
    parts = (_data, _labels, _target, _training, _model, _run, _published)
    for part in reversed(parts):
        for option in reversed(part()):
            function = option(function)
    return function


def _under(section: str) -> dict[str, Any]:
    return {"cls": InSection, "section": section}


def _data() -> list[Any]:
    here = _under("Data")
    return [
        click.argument("train", nargs=-1, type=PATH),
        click.option(
            "--train", "train_option", hidden=True, multiple=True, type=PATH, help="Same as TRAIN.", **here
        ),
        FINETUNE.option("--valid", argument="valid", multiple=True, type=PATH, **here),
        FINETUNE.option("--test", argument="test", multiple=True, type=PATH, **here),
        FINETUNE.option("--valid-fraction", argument="valid_fraction", type=float, **here),
        DATA.option("--valid-every", field="valid_every", type=click.IntRange(min=2), **here),
        DATA.option("--index", field="index", default=":", **here),
        DATA.option("--group", "groups", field="groups", multiple=True, **here),
        DATA.option("--n-train", field="n_train", type=int, **here),
        DATA.option("--allow", field="allow", multiple=True, metavar="CODE", **here),
        DATA.option("--allow-truncated", field="allow_truncated", is_flag=True, **here),
        DATA.option("--retain", field="retain", multiple=True, metavar="FILE[:HEAD]", **here),
        DATA.option("--replay", field="replay", multiple=True, metavar="FILE[:HEAD]", **here),
        DATA.option("--replay-share", field="replay_share", type=float, **here),
    ]


def _labels() -> list[Any]:
    here = _under("Labels")
    return [
        FINETUNE.option("--energy-key", argument="energy_key", **here),
        FINETUNE.option("--forces-key", argument="forces_key", **here),
        FINETUNE.option("--stress-key", argument="stress_key", **here),
        FINETUNE.option("--virials-key", argument="virials_key", **here),
        FINETUNE.option("--energy-unit", argument="energy_unit", **here),
        FINETUNE.option("--length-unit", argument="length_unit", **here),
        FINETUNE.option("--forces-unit", argument="forces_unit", **here),
        FINETUNE.option("--stress-unit", argument="stress_unit", **here),
        FINETUNE.option(
            "--stress-sign", argument="stress_sign", type=click.Choice(["tension", "pressure"]), **here
        ),
        FINETUNE.option("--E0s", "references", argument="references", default="auto", **here),
        DATA.option(
            "--allow-missing",
            field="allow_missing",
            multiple=True,
            type=click.Choice(["energy", "forces"]),
            **here,
        ),
    ]


def _target() -> list[Any]:
    here = _under("Target (instead of energies and forces)")
    kinds, pooling = click.Choice(["scalar", "class", "vector"]), click.Choice(["sum", "mean", "max"])
    return [
        FINETUNE.option("--target", argument="target", metavar="KEY", **here),
        TARGET.option("--target-kind", field="kind", type=kinds, **here),
        TARGET.option(
            "--class-weights", field="class_weights", type=click.Choice(["equal", "balanced"]), **here
        ),
        TARGET.option("--target-unit", field="unit", **here),
        TARGET.option("--pooling", field="pooling", type=pooling, **here),
        LOSS.option("--target-loss", field="scalar", type=click.Choice(["l1", "l2", "huber"]), **here),
    ]


def _training() -> list[Any]:
    here = _under("Training")
    modes = click.Choice(["auto", "on", "off"])
    return [
        FINETUNE.option("--epochs", argument="epochs", type=int, **here),
        FINETUNE.option("--max-steps", argument="max_steps", type=int, **here),
        FINETUNE.option("--max-time", argument="max_time", type=Duration(), **here),
        FINETUNE.option("--lr", argument="lr", type=float, **here),
        FINETUNE.option("--batch-size", argument="batch_size", type=int, **here),
        FINETUNE.option("--forces", argument="forces", type=click.Choice(["conservative", "direct"]), **here),
        LOSS.option("--energy-weight", field="energy_weight", type=float, **here),
        LOSS.option("--forces-weight", field="forces_weight", type=float, **here),
        LOSS.option("--stress-weight", field="stress_weight", type=float, **here),
        TRAIN.option("--freeze", field="freeze", **here),
        TRAIN.option("--lora-rank", field="lora_rank", type=int, **here),
        TRAIN.option("--patience", field="patience", type=int, **here),
        OPTIM.option("--optimizer", field="method", type=click.Choice(["adamw", "soap"]), **here),
        OPTIM.option("--weight-decay", field="weight_decay", type=float, **here),
        OPTIM.option("--warmup-steps", field="warmup_steps", type=int, **here),
        OPTIM.option("--clip", field="clip_norm", type=float, **here),
        OPTIM.option("--ema-decay", field="ema_decay", type=float, **here),
        click.option("--ema/--no-ema", default=True, help="Average the weights over steps.", **here),
        TRAIN.option("--accumulate", field="accumulate", type=int, **here),
        TRAIN.option("--max-edges-per-batch", field="max_edges_per_batch", type=int, **here),
        TRAIN.option("--precision", field="precision", type=click.Choice(PRECISIONS), **here),
        TRAIN.option("--activation-checkpointing", field="activation_checkpointing", type=modes, **here),
        TRAIN.option("--compile", field="compile", type=modes, **here),
        TRAIN.option("--processes", field="processes", type=int, **here),
    ]


def _model() -> list[Any]:
    here = _under("Model")
    return [
        FINETUNE.option("--head-name", argument="head_name", **here),
        click.option(
            "--from-scratch",
            is_flag=True,
            help="Only the architecture of the model, with new weights.",
            **here,
        ),
        START.option("--keep-heads", field="keep_heads", is_flag=True, **here),
        START.option("--committee", field="committee", type=click.IntRange(min=1), **here),
        START.option(
            "--graph",
            field="graph",
            type=click.Choice(["smooth", "official"]),
            default="smooth",
            **here,
        ),
        START.option("--level-of-theory", field="level_of_theory", **here),
        START.option("--theory", field="theory", metavar="FIELD=TEXT,...", **here),
    ]


def _run() -> list[Any]:
    here = _under("Run")
    return [
        FINETUNE.option("--resume", argument="resume", is_flag=True, **here),
        FINETUNE.option("--override", argument="override", is_flag=True, **here),
        TRAIN.option("--save-every", "save_every_s", field="save_every_s", type=Duration(), **here),
        click.option(
            "--tensorboard",
            is_flag=True,
            help="Errors and losses for TensorBoard too, in OUT/tensorboard.",
            **here,
        ),
        click.option(
            "--wandb",
            is_flag=True,
            help="The same for Weights & Biases; its WANDB_ variables say where.",
            **here,
        ),
    ]


def _published() -> list[Any]:
    here = _under("Published tasks")
    return [
        FINETUNE.option("--recipe", argument="recipe", **here),
        click.option(
            "--data",
            "data_folder",
            type=PATH,
            help="Folder with the data set of the recipe, see jmp-calc data list.",
            **here,
        ),
        click.option(
            "--variant",
            type=click.Choice(["default", "paper", "code"]),
            default="default",
            show_default=True,
            help="Whose settings, where the paper and its code disagree.",
            **here,
        ),
        DATA.option("--split", field="split", **here),
        click.option(
            "--fold",
            type=click.IntRange(0, 4),
            default=None,
            help="Fold of MatBench; short for --split fold-N.",
            **here,
        ),
        DATA.option("--test-frames", field="test_frames", type=click.IntRange(min=1), **here),
        DATA.option("--on-bad", field="on_bad", type=click.Choice(["fail", "skip"]), default="fail", **here),
    ]
