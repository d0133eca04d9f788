"""From the options of ``jmp-calc finetune`` to the settings of a run: data, start model, training."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..options import Common
from .run_config import training_of_file

if TYPE_CHECKING:
    from ...training.config import TrainConfig
    from ...training.finetuning.options import DataOptions, ModelOptions


def data_options(train: Path | None, common: Common, options: dict[str, Any]) -> DataOptions:
    """The options about data."""
    from ...training.data.keys import LabelKeys
    from ...training.finetuning.options import DataOptions
    from ...training.finetuning.recipes import finetune_recipe
    from ...training.targets.options import TargetTask

    if options["recipe"] is not None:
        return DataOptions(
            options["data_folder"],
            recipe=finetune_recipe(options["recipe"], options["variant"]),
            split=options["split"] if options["fold"] is None else f"fold-{options['fold']}",
            test_frames=options["test_frames"],
            on_bad=options["on_bad"],
            references=options["references"],
            allow=tuple(options["allow"]),
            seed=common.seed,
            **_earlier(options),
        )
    assert train is not None

    keys = LabelKeys(*(options[f"{name}_key"] for name in ("energy", "forces", "stress", "virials")))
    target = None
    if options["target"] is not None:
        target = TargetTask(
            options["target"],
            options["target_kind"],
            options["pooling"],
            unit=options["target_unit"] or TargetTask.unit,
            class_weights=options["class_weights"] or TargetTask.class_weights,
        )
    fraction = options["valid_fraction"]
    return DataOptions(
        train,
        options["valid"],
        options["test"],
        keys,
        options["index"],
        DataOptions.valid_fraction if fraction is None else fraction,
        options["valid_every"],
        options["references"],
        tuple(options["allow_missing"]),
        options["allow_truncated"],
        tuple(options["allow"]),
        energy_unit=options["energy_unit"],
        length_unit=options["length_unit"],
        forces_unit=options["forces_unit"],
        stress_unit=options["stress_unit"],
        stress_sign=options["stress_sign"] or DataOptions.stress_sign,
        groups=tuple(options["groups"]),
        target=target,
        seed=common.seed,
        **_earlier(options),
    )


def _earlier(options: dict[str, Any]) -> dict[str, Any]:
    """Fields of DataOptions about earlier data and the size of the training set."""
    share = {} if options["replay_share"] is None else {"replay_share": options["replay_share"]}
    return {
        "retain": tuple(options["retain"]),
        "replay": tuple(options["replay"]),
        "n_train": options["n_train"],
        **share,
    }


def model_options(common: Common, options: dict[str, Any]) -> ModelOptions:
    """The options about the start model."""
    from ...training.finetuning.options import SCRATCH, ModelOptions
    from ...training.finetuning.recipes import finetune_recipe

    scratch = options["from_scratch"] and not common.model.startswith(SCRATCH)
    chosen = ModelOptions(
        model=SCRATCH + common.model if scratch else common.model,
        head=options["head_name"],
        init_head=common.head or "auto",
        keep_heads=options["keep_heads"],
        graph=options["graph"],
        level_of_theory=options["level_of_theory"],
        dtype=common.dtype,
    )
    if options["recipe"] is None:
        return chosen
    return chosen.for_recipe(finetune_recipe(options["recipe"], options["variant"]))


def train_config(common: Common, options: dict[str, Any]) -> TrainConfig:
    """The options about training; those not given keep the defaults of TrainConfig."""
    from ...training.config import TrainConfig

    config = training_of_file() or TrainConfig()
    return with_given(config if options["target"] is None else config.for_target(), common, options)


def with_given(config: TrainConfig, common: Common, options: dict[str, Any]) -> TrainConfig:
    """``config`` with the settings that were given on the command line."""
    from ...training.optim.schedules import within_time

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
        config,
        loss=dataclasses.replace(config.loss, **loss),
        optim=dataclasses.replace(config.optim, **optim),
        seed=common.seed,
        **given(
            "epochs",
            "max_time",
            "max_steps",
            "batch_size",
            "accumulate",
            "max_edges_per_batch",
            "precision",
            "activation_checkpointing",
            "patience",
            "freeze",
            "lora_rank",
            "forces",
            "processes",
            "save_every_s",
        ),
    )
