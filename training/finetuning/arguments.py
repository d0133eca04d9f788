"""Arguments of ``finetune`` and ``evaluate`` that may be given one by one beside a dataclass of settings."""

from __future__ import annotations

import dataclasses
import os
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from jmp_calc.errors import UsageError

from ..config import TrainConfig
from ..optim.schedules import within_time

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    T = TypeVar("T", bound=DataclassInstance)

Settings = TrainConfig | Callable[[TrainConfig], TrainConfig]
"""The settings of a run, or what makes them from the defaults (of a published task: from its own)."""


def combined(settings: T, given: Mapping[str, Any], name: str) -> T:
    """``settings`` with what was given one by one; None, and the default of a field, say nothing.

    UsageError where both say something and not the same; ``name`` is how the user calls the settings.
    """
    changes = {}
    for item in dataclasses.fields(settings):
        value, present, default = given.get(item.name), getattr(settings, item.name), _default(item)
        if value is None or _same(value, default):
            continue
        if not _same(present, default) and not _same(present, value):
            raise UsageError(
                f"{item.name} is said twice: {reprlib.repr(value)}, and {reprlib.repr(present)} in {name}.",
                hint="leave one of them out",
            )
        changes[item.name] = value
    return dataclasses.replace(settings, **changes)


@dataclass(frozen=True)
class Given:
    """Settings of the training that were given one by one, by name; those that are None were not."""

    training: Mapping[str, Any] = field(default_factory=dict)
    optim: Mapping[str, Any] = field(default_factory=dict)
    loss: Mapping[str, Any] = field(default_factory=dict)

    def on(self, config: TrainConfig) -> TrainConfig:
        """``config`` with them in the place of its own."""
        training, optim, loss = (
            {name: value for name, value in part.items() if value is not None}
            for part in (self.training, self.optim, self.loss)
        )
        schedule = within_time(config.optim) if "max_time" in training else config.optim
        return dataclasses.replace(
            config,
            optim=dataclasses.replace(schedule, **optim),
            loss=dataclasses.replace(config.loss, **loss),
            **training,
        )

    def beside(self, config: Settings | None) -> Settings:
        """The settings of the user together with them; UsageError where ``config`` says something else."""
        if isinstance(config, TrainConfig):
            combined(config, self.training, "config")
            combined(config.optim, self.optim, "config.optim")
            combined(config.loss, self.loss, "config.loss")
            return self.on(config)
        return self.on if config is None else lambda before: self.on(config(before))


def _default(item: dataclasses.Field[Any]) -> Any:
    return item.default_factory() if item.default_factory is not dataclasses.MISSING else item.default


def _same(a: Any, b: Any) -> bool:
    if a is b:
        return True
    if isinstance(a, (str, os.PathLike)) and isinstance(b, (str, os.PathLike)):
        return os.fspath(a) == os.fspath(b)
    return type(a) is type(b) and bool(a == b)
