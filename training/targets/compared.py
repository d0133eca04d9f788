"""Which head is compared with which labels, and whether it knows the frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from jmp_calc.errors import ModelError, UsageError
from jmp_calc.inference.head_choice import HeadChoice
from jmp_calc.inference.settings import (
    Settings,
    asked_name,
    check_covered,
    choose_head,
    output_of,
    warn_of_uncovered,
)
from jmp_calc.io.progress import Say

from ..batches.tasks import Task
from ..data.frame import Frame
from .fit import task_of_head

if TYPE_CHECKING:
    from jmp_calc.inference.settings import Output
    from jmp_calc.model.config import HeadConfig, ModelConfig


@dataclass(frozen=True, eq=False)
class Compared:
    """What labels a head is compared with."""

    head: HeadConfig
    task: Task
    """With the key of the labels, unless they are energies, forces and stresses."""

    @property
    def gives(self) -> Output:
        """What the head gives."""
        return output_of(self.head)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, if the head gives one."""
        from jmp_calc.inference.predict import class_names

        return class_names(self.head) if self.gives == "class" else ()


def compared_with(config: ModelConfig, settings: Settings, target: str | None) -> Compared:
    """The head, and for one without energies the key of its labels; UsageError if nobody says which they
    are. Of two default heads the one for molecules, until the frames are known (``for_frames``)."""
    named = [head for head in config.heads if head.name == asked_name(config, settings)]
    gives: Output = output_of(named[0]) if named else "energy"
    if target is not None and gives == "energy":  # refused if the head was named, else another one is meant
        others = {output_of(head) for head in config.heads} - {"energy"}
        gives = others.pop() if len(others) == 1 else "scalar"
    head = choose_head(config, settings, gives=gives, kind="molecules")
    if gives != "energy" and target is None and head.target is None:
        raise UsageError(
            f"Head {head.name!r} does not say which {gives} it gives.",
            where=settings.model,
            hint="name the key of the labels with --target",
        )
    return Compared(head, task_of_head(head, target or head.target))


def for_frames(
    compared: Compared, config: ModelConfig, settings: Settings, frames: Sequence[Frame], say: Say
) -> Compared:
    """The same with the head for these frames; ModelError, naming the frame, where two default heads would be
    needed."""
    choice = HeadChoice(config, settings, compared.gives)
    for frame in frames:
        try:
            told = choice.decide(frame)
        except ModelError as error:
            raise ModelError(error.fact, where=frame.where, hint=error.hint) from error
        if told is not None:
            say(told)
    return Compared(choice.certain, task_of_head(choice.certain, compared.task.target))


def check_elements(
    config: ModelConfig, head: HeadConfig, frames: Sequence[Frame], settings: Settings
) -> None:
    """ModelError, naming the frame, for an element that the head was not trained on; a warning if any is
    accepted."""
    if settings.elements == "any":
        warn_of_uncovered(head, {int(z) for frame in frames for z in np.unique(frame.numbers)})
        return
    for frame in frames:
        try:
            check_covered(config, head, np.unique(frame.numbers), settings.model)
        except ModelError as error:
            raise ModelError(error.fact, where=frame.where, hint=error.hint) from error
