"""From the options of ``jmp-calc finetune`` to the settings of a run: data, start model, training."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..options import Common
from .run_config import training_of_file

if TYPE_CHECKING:
    from ...training.config import TrainConfig
    from ...training.finetuning.arguments import TrainSettings
    from ...training.finetuning.options import DataOptions, ModelOptions
    from ...training.targets.options import TargetTask

_TRAINING = (
    *("epochs", "max_time", "max_steps", "batch_size", "accumulate", "max_edges_per_batch", "precision"),
    *("activation_checkpointing", "compile", "patience", "freeze", "lora_rank", "forces", "processes"),
    "save_every_s",
)
_OPTIM = ("lr", "weight_decay", "ema_decay", "warmup_steps")
_LOSS = ("energy_weight", "forces_weight", "stress_weight")


def data_options(common: Common, options: dict[str, Any]) -> DataOptions:
    """The options about data."""
    from ...training.data.keys import LabelKeys
    from ...training.finetuning.options import DataOptions
    from ...training.finetuning.recipes import finetune_recipe

    recipe = options["recipe"]
    return DataOptions(
        train=_one_or_more(options["train"]) if recipe is None else options["data_folder"],
        valid=_one_or_more(options["valid"]),
        test=_one_or_more(options["test"]),
        keys=LabelKeys(*(options[f"{name}_key"] for name in ("energy", "forces", "stress", "virials"))),
        index=options["index"],
        valid_fraction=options["valid_fraction"],
        valid_every=options["valid_every"],
        references=options["references"],
        allow_missing=tuple(options["allow_missing"]),
        allow_truncated=options["allow_truncated"],
        allow=tuple(options["allow"]),
        energy_unit=options["energy_unit"],
        length_unit=options["length_unit"],
        forces_unit=options["forces_unit"],
        stress_unit=options["stress_unit"],
        stress_sign=options["stress_sign"],
        groups=tuple(options["groups"]),
        target=_target(options),
        recipe=None if recipe is None else finetune_recipe(recipe, options["variant"]),
        split=options["split"] if options["fold"] is None else f"fold-{options['fold']}",
        test_frames=options["test_frames"],
        on_bad=options["on_bad"],
        retain=tuple(options["retain"]),
        replay=tuple(options["replay"]),
        replay_share=options["replay_share"],
        n_train=options["n_train"],
        seed=common.seed,
    )


def _one_or_more(paths: tuple[Path, ...]) -> Path | tuple[Path, ...] | None:
    return (paths[0] if len(paths) == 1 else tuple(paths)) if paths else None


def _target(options: dict[str, Any]) -> TargetTask | None:
    from ...training.targets.options import TargetTask

    if options["target"] is None:
        return None
    return TargetTask(
        options["target"],
        options["target_kind"],
        options["pooling"],
        unit=options["target_unit"] or TargetTask.unit,
        class_weights=options["class_weights"] or TargetTask.class_weights,
    )


def model_options(common: Common, options: dict[str, Any]) -> ModelOptions:
    """The options about the start model."""
    from ...training.finetuning.options import SCRATCH, ModelOptions
    from ...training.finetuning.theory import read_theory

    scratch = options["from_scratch"] and not common.model.startswith(SCRATCH)
    return ModelOptions(
        model=SCRATCH + common.model if scratch else common.model,
        head=common.head or ModelOptions.head,
        head_name=options["head_name"],
        keep_heads=options["keep_heads"],
        committee=options["committee"] or ModelOptions.committee,
        graph=options["graph"],
        level_of_theory=options["level_of_theory"],
        theory=read_theory(options["theory"]) if options["theory"] else ModelOptions.theory,
        dtype=common.dtype,
    )


def train_settings(common: Common, options: dict[str, Any]) -> TrainSettings:
    """The settings: those of the file of ``--config``, then those of options; of a recipe, what changes its
    own."""
    from ...training.config import TrainConfig
    from ...training.finetuning.arguments import Given

    file = training_of_file()
    training = {name: options[name] for name in _TRAINING} | {"seed": common.seed}
    optim = {name: options[name] for name in _OPTIM} | {
        "clip_norm": options["clip"],
        "method": options["optimizer"],
    }
    loss = {name: options[name] for name in _LOSS} | {"scalar": options["target_loss"]}

    def settings(before: TrainConfig) -> TrainConfig:
        config = Given(training, optim, loss).on(file or before)
        if options["ema"]:
            return config
        return dataclasses.replace(config, optim=dataclasses.replace(config.optim, ema_decay=None))

    return settings if options["recipe"] else settings(TrainConfig())
