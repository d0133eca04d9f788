"""Settings of the training that may be given one by one beside the dataclass of all of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..combined import combined
from ..config import TrainConfig
from ..optim.schedules import within_time

TrainSettings = TrainConfig | Callable[[TrainConfig], TrainConfig]
"""The settings of a run, or what makes them from the defaults (of a published task: from its own)."""


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

    def beside(self, config: TrainSettings | None) -> TrainSettings:
        """The settings of the user together with them; UsageError where ``config`` says something else."""
        if isinstance(config, TrainConfig):
            combined(config, self.training, "config")
            combined(config.optim, self.optim, "config.optim")
            combined(config.loss, self.loss, "config.loss")
            return self.on(config)
        return self.on if config is None else lambda before: self.on(config(before))
