"""One optimizer step of a recipe on a small set of the real layout, and what it did to the weights."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from jmp_calc import finetune
from jmp_calc.model.potential import Potential
from jmp_calc.training import DataOptions, TrainResult
from jmp_calc.training.finetuning.recipe_frames import force_rms, read_recipe_frames
from jmp_calc.training.finetuning.recipes import finetune_recipe
from tests.training.helpers.small_sets import small_splits, write_small_set


@dataclass
class Witness:
    """Sees the weights before and after every step of the optimizer."""

    rates: list[tuple[float, int]] = field(default_factory=list)
    """Learning rate and number of weights of every group, in the last step."""
    weights: int = 0
    """Trainable ones."""
    without_gradient: int = 0
    unmoved: int = 0
    """Weights in arrays that have a gradient and did not change at all."""
    started_at: float = math.nan
    """CPU seconds of this process at the last evaluation of a network in training."""
    stepped_at: float = math.nan
    """The same after the last step."""
    _before: list[torch.Tensor] = field(default_factory=list)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Inside the block all optimizers are seen."""
        hooks = [
            register_module_forward_pre_hook(self._start),
            register_optimizer_step_pre_hook(self._look),
            register_optimizer_step_post_hook(self._compare),
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _start(self, module: torch.nn.Module, *_: Any) -> None:
        if isinstance(module, Potential) and module.training:
            self.started_at = time.process_time()

    def _look(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        self._before = [p.detach().clone() for p in _parameters(optimizer)]

    def _compare(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        self.stepped_at = time.process_time()
        self.rates = [
            (group["lr"], sum(p.numel() for p in group["params"])) for group in optimizer.param_groups
        ]
        now = _parameters(optimizer)
        self.weights = sum(p.numel() for p in now)
        self.without_gradient = sum(p.numel() for p in now if p.grad is None)
        self.unmoved = sum(
            p.numel() for p, old in zip(now, self._before) if p.grad is not None and torch.equal(p, old)
        )
        self._before = []


@dataclass(frozen=True)
class OneStep:
    """What ``one_step`` found."""

    result: TrainResult
    witness: Witness
    step_s: float
    """CPU seconds of forward, backward and optimizer."""
    run_s: float
    """CPU seconds of all: reading, audit, evaluations before and after, one step, writing the models."""


def one_step(name: str, model: Path, n_blocks: int, folder: Path) -> OneStep:
    """The recipe ``name`` on ``model`` (``n_blocks`` blocks) as published, except that it ends after one
    step."""
    recipe = finetune_recipe(name)
    write_small_set(folder / "data", recipe)
    with small_splits():
        scale = force_rms(read_recipe_frames(recipe, folder / "data").train) if recipe.with_forces else 1.0
        config = dataclasses.replace(recipe.train_config(n_blocks, scale), max_steps=1)
        witness, began = Witness(), time.process_time()
        with witness.watching():
            result = finetune(
                folder / "data",
                recipe=name,
                model=str(model),
                config=config,
                out=folder / "run",
                data=DataOptions(test_frames=1),
                device="cpu",
                say=lambda line: None,
            )
    return OneStep(result, witness, witness.stepped_at - witness.started_at, time.process_time() - began)


def _parameters(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"]]
