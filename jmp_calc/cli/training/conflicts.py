"""Options of ``jmp-calc finetune`` that only the command line has, and that contradict each other there.

What contradicts in a run from Python too is refused by the library.
"""

from __future__ import annotations

from typing import Any

from ...errors import UsageError
from ..options import Common

_OF_ENERGIES = ("energy_weight", "forces_weight", "stress_weight", "forces")
_OF_TARGETS = ("target_kind", "class_weights", "target_unit", "pooling", "target_loss")


def refuse_prefix(common: Common) -> None:
    """UsageError for a prefix of the output files of a run."""
    if common.prefix:
        raise UsageError(
            "A run has fixed file names.", where="--prefix", hint="choose the folder with -o DIR"
        )


def check_conflicts(common: Common, options: dict[str, Any]) -> None:
    """UsageError naming the first two options that cannot be given together, or one that lacks another."""
    refuse_prefix(common)
    if options["recipe"] is None:
        for name in ("data_folder", "fold"):
            if options[name] is not None:
                raise UsageError(
                    f"--{name.removesuffix('_folder')} has no meaning without --recipe.",
                    hint="jmp-calc recipes list",
                )
    pairs = [
        (options["split"] is not None and options["fold"] is not None, "--split and --fold"),
        (not options["ema"] and options["ema_decay"] is not None, "--no-ema and --ema-decay"),
        (options["recipe"] and options["train"], "--recipe and TRAIN"),
        (options["recipe"] and options["target"], "--recipe and --target"),
    ]
    for conflict, names in pairs:
        if conflict:
            raise UsageError(f"{names} contradict each other.", hint="leave one of them out")
    _check_target(options)


def _check_target(options: dict[str, Any]) -> None:
    """UsageError for details of a target in a run that has none, or another kind of it."""
    from ...training.finetuning.recipes import finetune_recipe

    recipe = options["recipe"]
    target = finetune_recipe(recipe, options["variant"]).target_task if recipe else options["target"]
    # Also those that are given as they are by default, which the settings of the library cannot tell.
    of_energies = [name for name in _OF_ENERGIES if options[name] is not None]
    if target and of_energies:
        reason = f"{recipe or '--target'} trains on a {options['target_kind'] or 'scalar'}"
        raise UsageError(f"{_flag(of_energies[0])} has no meaning here: {reason}.", hint="leave it out")
    given = [name for name in _OF_TARGETS if options[name]]
    if options["recipe"] and given and given != ["target_loss"]:
        raise UsageError(
            f"--recipe and {_flag(given[0])} contradict each other.",
            hint="the recipe says which frames and labels are used",
        )
    if given and not options["target"] and not options["recipe"]:
        reason = "it is about --target, which is not given"
        raise UsageError(f"{_flag(given[0])} has no meaning here: {reason}.", hint="leave it out")
    if options["target_loss"] and options["target_kind"] in ("class", "vector"):
        reason = f"--target trains on a {options['target_kind']}"
        raise UsageError(f"--target-loss has no meaning here: {reason}.", hint="leave it out")


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
