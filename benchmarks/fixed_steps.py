"""One fine-tuning in a fixed number of steps, so that a busy machine changes nothing but its time; and what it
started from."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rows import Clock

if TYPE_CHECKING:
    from jmp_calc.training import DataOptions, ModelOptions, TrainConfig, TrainResult


def in_steps(
    name: str, out: Path, data: DataOptions, start: ModelOptions, config: TrainConfig
) -> tuple[TrainResult, dict[str, Any]]:
    """Train for all ``max_steps`` in ``out`` (going on with an earlier part); the result, and its numbers for a
    row.

    Ends the program if the run was stopped before, so that it is not recorded.
    """
    from jmp_calc import finetune

    clock = Clock()
    result = finetune(out=out, data=data, start=start, config=config, device="cpu", resume=has_begun(out))
    if config.max_steps is None or result.n_steps < config.max_steps:
        raise SystemExit(f"{name}: stopped after {result.n_steps} of {config.max_steps} steps, not recorded")
    return result, {
        "model": result.start.model,
        "start_sha256": start_identity(result.start.model),
        "init_head": result.init_head or "new weights",
        "optimizer": result.config.optim.method,
        "lr": result.config.optim.lr,
        "ema_decay": result.config.optim.ema_decay,
        "seed": config.seed,
        "processes": config.processes,
        "compile": config.compile,
        "epochs": result.n_epochs,
        "steps": result.n_steps,
        "train_s": result.train_s,
        "busy_cores": clock.cores(),
        **errors_and_curve(result),
    }


def has_begun(out: Path) -> bool:
    """Whether there is a run to resume, be it one that was stopped before its first saved state."""
    from jmp_calc.training.run.folder import BEGUN_FILES

    return any((out / name).is_file() for name in BEGUN_FILES)


def errors_and_curve(result: TrainResult) -> dict[str, Any]:
    """Errors before and after, and the validation error against steps and seconds."""
    parts = {
        "valid_before": result.before,
        "valid": result.valid,
        "test_before": result.test_before,
        "test": result.test,
    }
    numbers: dict[str, Any] = {key: errors.to_dict() for key, errors in parts.items() if errors is not None}
    if result.constant_mae:
        numbers["constant_mae"] = result.constant_mae["test"]
    if len(result.test_by_group) > 1:
        numbers["test_by_group"] = {name: errors.to_dict() for name, errors in result.test_by_group.items()}
    numbers["curve_step"] = [line.step for line in result.history]
    numbers["curve_s"] = [line.elapsed_s for line in result.history]
    for key, column in (
        ("curve_valid_forces_mae_mev_per_a", "valid_forces_mae_mev_per_a"),
        ("curve_valid_mae", "valid_scalar_mae"),
    ):
        curve = [getattr(line, column) for line in result.history]
        if None not in curve:
            numbers[key] = curve
    return numbers


@lru_cache
def start_identity(model: str) -> str:
    """SHA-256 of the file of a start model; of ``scratch:NAME``, of which nothing but the architecture is used,
    of that."""
    from jmp_calc.training.finetuning.options import SCRATCH
    from jmp_calc.zoo.names import resolve

    loaded = resolve(model.removeprefix(SCRATCH))
    if not model.startswith(SCRATCH):
        return loaded.sha256
    config = loaded.potential.config
    head = next(head for head in config.heads if head.kind == "energy")
    architecture = {
        "backbone": dataclasses.asdict(config.backbone),
        "policy": dataclasses.asdict(config.policy),
        "head": [head.hidden, head.num_layers, head.bias],
        "lone_atom": config.subtract_lone_atom,
        "repulsion": config.pair_repulsion,
    }
    return hashlib.sha256(json.dumps(architecture, sort_keys=True).encode()).hexdigest()
