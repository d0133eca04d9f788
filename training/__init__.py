"""Training, installed as ``jmp_calc.training``; here are the settings and results of its three doors.

The doors are ``jmp_calc.finetune``, ``jmp_calc.evaluate`` and ``jmp_calc.training.pretrain.pretrain``.
The names are imported when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jmp_calc.model.config import Theory

    from .config import LossConfig, OptimConfig, StageConfig, TrainConfig
    from .data.keys import LabelKeys
    from .distributed.launch import DistributedConfig
    from .evaluate import EvaluationResult
    from .finetuning.options import DataOptions, ModelOptions
    from .finetuning.result import TrainResult
    from .pretrain import PretrainResult
    from .pretraining.options import PretrainOptions
    from .records.record_set import RecordSet
    from .targets.options import TargetTask

__all__ = [
    "DataOptions",
    "DistributedConfig",
    "EvaluationResult",
    "LabelKeys",
    "LossConfig",
    "ModelOptions",
    "OptimConfig",
    "PretrainOptions",
    "PretrainResult",
    "RecordSet",
    "StageConfig",
    "TargetTask",
    "Theory",
    "TrainConfig",
    "TrainResult",
]

_HOME = {
    "DataOptions": "finetuning.options",
    "DistributedConfig": "distributed.launch",
    "EvaluationResult": "evaluate",
    "LabelKeys": "data.keys",
    "LossConfig": "config",
    "ModelOptions": "finetuning.options",
    "OptimConfig": "config",
    "PretrainOptions": "pretraining.options",
    "PretrainResult": "pretrain",
    "RecordSet": "records.record_set",
    "StageConfig": "config",
    "TargetTask": "targets.options",
    "Theory": "finetuning.theory",
    "TrainConfig": "config",
    "TrainResult": "finetuning.result",
}


def __getattr__(name: str) -> Any:
    """Import a name on first use; AttributeError for anything else."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
