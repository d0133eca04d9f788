"""Options of ``jmp-calc finetune`` that contradict each other or have no meaning together."""

from __future__ import annotations

from typing import Any

from ...errors import UsageError
from ..options import Common

_READ_BY_RECIPE = ("valid", "test", "valid_fraction", "valid_every", "groups", "energy_key", "forces_key",
                   "stress_key",
                   "virials_key", "energy_unit", "length_unit", "forces_unit", "stress_unit", "stress_sign",
                   "allow_missing", "allow_truncated",
                   "warmup_steps",
                   "target", "target_kind", "class_weights", "target_unit", "pooling")  # fmt: skip
_OF_ENERGIES = (
    "energy_key",
    "forces_key",
    "stress_key",
    "virials_key",
    "energy_unit",
    "forces_unit",
    "stress_unit",
    "stress_sign",
    "allow_missing",
    "energy_weight",
    "forces_weight",
    "stress_weight",
    "forces",
)
_OF_TARGETS = ("target_kind", "class_weights", "target_unit", "pooling", "target_loss")


def check_conflicts(common: Common, options: dict[str, Any]) -> None:
    """UsageError naming the first two options that cannot be given together, or one that lacks another."""
    _check_target(options)
    if options["recipe"] is None:
        for name in ("data_folder", "split", "fold", "test_frames"):
            if options[name] is not None:
                raise UsageError(
                    f"--{name.replace('_folder', '').replace('_', '-')} has no meaning without --recipe.",
                    hint="jmp-calc recipes list",
                )
    elif options["data_folder"] is None:
        raise UsageError(
            "The folder of the data set is missing.",
            where=f"--recipe {options['recipe']}",
            hint="add --data FOLDER; jmp-calc data list says what it must hold",
        )
    else:
        own = [name for name in _READ_BY_RECIPE if options[name]]
        if own or options["index"] != ":":
            raise UsageError(
                f"--recipe and --{(own or ['index'])[0].replace('_', '-')} contradict each other.",
                hint="the recipe says which frames and labels are used",
            )
    pairs = [
        (options["split"] is not None and options["fold"] is not None, "--split and --fold"),
        (
            options["lora_rank"] is not None and options["freeze"] not in (None, "none"),
            "--lora-rank and --freeze",
        ),
        (options["from_scratch"] and options["retain"], "--from-scratch and --retain"),
        (options["from_scratch"] and options["replay"], "--from-scratch and --replay"),
        (options["target"] is not None and options["replay"], "--target and --replay"),
        (
            options["valid"] is not None and options["valid_fraction"] is not None,
            "--valid and --valid-fraction",
        ),
        (options["valid"] is not None and options["valid_every"] is not None, "--valid and --valid-every"),
        (
            options["valid_every"] is not None and options["valid_fraction"] is not None,
            "--valid-every and --valid-fraction",
        ),
        (options["resume"] and common.overwrite, "--resume and --overwrite"),
        (not options["ema"] and options["ema_decay"] is not None, "--no-ema and --ema-decay"),
        (
            options["stress_key"] is not None and options["virials_key"] is not None,
            "--stress-key and --virials-key",
        ),
    ]
    for conflict, names in pairs:
        if conflict:
            raise UsageError(f"{names} contradict each other.", hint="leave one of them out")
    if options["replay_share"] is not None and not options["replay"]:
        raise UsageError(
            "--replay-share has no meaning without --replay.", hint="add --replay FILE or leave it out"
        )
    if options["override"] and not options["resume"]:
        raise UsageError("--override has no meaning without --resume.", hint="add --resume or leave it out")
    if common.prefix:
        raise UsageError(
            "A run has fixed file names.", where="--prefix", hint="choose the folder with -o DIR"
        )


def _check_target(options: dict[str, Any]) -> None:
    """UsageError for options of energies in a run on a target, and the other way round."""
    from ...training.finetuning.recipes import finetune_recipe

    recipe = options["recipe"]
    target = finetune_recipe(recipe, options["variant"]).target_task if recipe else options["target"]
    wrong = [name for name in (_OF_ENERGIES if target else _OF_TARGETS) if options[name]]
    if target and options["references"] != "auto":
        wrong.append("E0s")
    kind = options["target_kind"]
    if kind in ("class", "vector"):
        wrong += [
            name
            for name in (("target_loss", "target_unit") if kind == "class" else ("target_loss",))
            if options[name]
        ]
    if kind in ("scalar", "vector") and options["class_weights"]:
        wrong.append("class_weights")
    if wrong and not (recipe and wrong[0] in _READ_BY_RECIPE):
        what = f"{recipe or '--target'} trains on a {kind or 'scalar'}"
        reason = what if target else "it is about --target, which is not given"
        raise UsageError(
            f"--{wrong[0].replace('_', '-')} has no meaning here: {reason}.", hint="leave it out"
        )
