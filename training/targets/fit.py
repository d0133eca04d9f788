"""Targets beside energies and forces: a scalar, a class or a vector per structure, as their training frames
say."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from jmp_calc.inference.settings import output_of

from ..batches.tasks import Task
from ..data.frame import Frame
from .classes import FittedClasses, fit_classes
from .options import TargetTask
from .scalars import FittedScalar, fit_scalar
from .vectors import FittedVector, fit_vector

if TYPE_CHECKING:
    from jmp_calc.model.config import HeadConfig

T = TypeVar("T")

FittedTarget = FittedScalar | FittedClasses | FittedVector
"""A task with nothing left open: its ``head``, its settings (``configured``), its frames (``encoded``), and
for the report ``facts`` and a ``constant`` prediction to compare with."""


def fit_target(frames: Sequence[Frame], task: TargetTask) -> FittedTarget:
    """What the training frames decide about a task; they all have its target. BadInputError if it cannot be
    learned."""
    if task.kind == "class":
        return fit_classes(frames, task)
    return fit_vector(frames, task) if task.kind == "vector" else fit_scalar(frames, task)


def with_target(frames: Sequence[Frame], target: str) -> tuple[Frame, ...]:
    """The frames with a finite target, with it as their only label: nothing else is trained on or audited."""
    return tuple(
        dataclasses.replace(
            frame,
            energy=None,
            forces=None,
            stress=None,
            targets=_only(frame.targets, target),
            classes=_only(frame.classes, target),
            vectors=_only(frame.vectors, target),
        )
        for frame in frames
        if _has(frame, target)
    )


def _has(frame: Frame, target: str) -> bool:
    if target in frame.classes:
        return True
    return bool(np.isfinite(frame.vectors.get(target, frame.targets.get(target, np.nan))).all())


def task_of_head(head: HeadConfig, target: str | None) -> Task:
    """What the labels are compared with: the output of ``head``, with ``target`` unless it gives energies."""
    output = output_of(head)
    return Task(head.name, target=target, target_kind="scalar" if output == "energy" else output)


def _only(labels: dict[str, T], target: str) -> dict[str, T]:
    return {target: labels[target]} if target in labels else {}
