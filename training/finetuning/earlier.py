"""Earlier data of a start model: labelled frames under one of its old heads, to be retained or replayed in
fine-tuning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from jmp_calc.errors import BadInputError, UsageError

from ..audit.labels import refuse_not_finite
from ..batches.tasks import Task
from ..data.copies import EXACT, find_matches
from ..data.frame import Frame
from ..data.keys import LabelKeys
from ..data.label_units import LabelUnits
from ..data.labels import read_labelled
from .fitted_energies import missing_energies
from .old_heads import energy_heads, force_errors, knowing
from .options import file_and_head

if TYPE_CHECKING:
    from jmp_calc.model.config import ModelConfig
    from jmp_calc.model.potential import Potential

MAX_EDGES = 200_000
"""Main edges of the frames that the zero of the energies is found from."""


@dataclass(frozen=True, eq=False)
class EarlierSet:
    """Labelled frames of what a start model knows already."""

    path: Path
    frames: tuple[Frame, ...]
    head: str | None
    """Old head of the start model; None: the one with the smallest force error on a few of the frames."""
    messages: tuple[str, ...] = ()
    """How the labels were read."""

    @property
    def name(self) -> str:
        """Name of the file."""
        return self.path.name


@dataclass(frozen=True, eq=False)
class EarlierTask:
    """Such frames with their old head and the energies that its references lack on them."""

    frames: tuple[Frame, ...]
    task: Task
    """Its references are fitted to the start model, so that only a change of the energies counts and not
    their zero."""
    direct: bool
    """Whether the forces are those of the direct head."""


def read_earlier(
    text: str,
    *,
    keys: LabelKeys = LabelKeys(),
    units: LabelUnits = LabelUnits(),
) -> EarlierSet:
    """Read ``FILE`` or ``FILE:HEAD``, with keys and units as in ``read_labelled``.

    BadInputError if a frame has no energy or a label that is not finite, or if there is no frame.
    """
    path, head = file_and_head(text)
    found = read_labelled(path, keys=keys, require=("energy",), units=units)
    if not found.frames:
        raise BadInputError("There are no labelled structures of more than one atom.", where=path)
    refuse_not_finite(found.frames)
    return EarlierSet(Path(path), found.frames, head, found.messages)


def refuse_known(retained: Sequence[EarlierSet], frames: Sequence[Frame]) -> None:
    """BadInputError if a retained frame is one of the ``frames`` that are trained on."""
    for item in retained:
        matches = find_matches(item.frames, frames, EXACT)
        if matches:
            first = item.frames[matches[0].a], frames[matches[0].b]
            raise BadInputError(
                f"{len(matches)} retained frames are trained on as well: {first[0].where} is "
                f"{first[1].where}.",
                where=item.name,
                hint="retain frames that the training never sees",
            )


def without_held_out(item: EarlierSet, held_out: Sequence[Frame]) -> EarlierSet:
    """The frames to replay that are none of the ``held_out`` ones, by which the new head is judged, with a
    message about the others.

    BadInputError if none is left.
    """
    known = {match.a for match in find_matches(item.frames, held_out, EXACT)}
    if not known:
        return item
    if len(known) == len(item.frames):
        raise BadInputError(
            f"All {len(known)} frames to replay are validation or test frames too.",
            where=item.name,
            hint="replay frames by which the new head is not judged",
        )
    message = f"{len(known)} frames are validation or test frames too and are left out"
    frames = tuple(frame for number, frame in enumerate(item.frames) if number not in known)
    return replace(item, frames=frames, messages=(*item.messages, message))


def possible_heads(item: EarlierSet, config: ModelConfig) -> list[str]:
    """Names of the old heads that the frames may be under: the one that was named, or all that know the
    elements.

    UsageError if the head does not exist, does not know the elements, or cannot be chosen for want of forces.
    """
    elements = {int(z) for frame in item.frames for z in np.unique(frame.numbers)}
    heads = energy_heads(config, direct=False)
    known = [head.name for head in knowing(heads, elements)]
    named = None if item.head is None else config.present_name(item.head)
    if named is not None and named not in known:
        reason = (
            "does not know all the elements" if named in {head.name for head in heads} else "does not exist"
        )
        raise UsageError(
            f"The old head {item.head!r} {reason}.",
            where=item.name,
            hint=f"choose one of {', '.join(known) or 'another model'}",
        )
    if not known:
        raise UsageError(
            "No old head of the start model knows all the elements.",
            where=item.name,
            hint="leave the other frames out, or choose another model",
        )
    if item.head is None and len(known) > 1 and all(frame.forces is None for frame in item.frames):
        raise UsageError(
            "Without forces the old head must be named.",
            where=item.name,
            hint=f"FILE:HEAD with one of {', '.join(known)}",
        )
    return known if named is None else [named]


def bound(item: EarlierSet, potential: Potential, *, direct: bool, device: torch.device) -> EarlierTask:
    """The frames with their old head (of several the one with the smallest force error) and fitted
    references.

    Raises:
        UsageError: forces of the old head that are not finite; the errors of ``possible_heads``.
    """
    names = possible_heads(item, potential.config)
    errors = (
        {} if len(names) == 1 else force_errors(potential, names, item.frames, direct=False, device=device)
    )
    unusable = [name for name, error in errors.items() if not np.isfinite(error)]
    if unusable:
        raise UsageError(
            f"The old head {unusable[0]!r} gives forces that are not finite.",
            where=item.name,
            hint="name the head of these frames: FILE:HEAD",
        )
    name = min(errors, key=errors.__getitem__) if errors else names[0]
    labelled = [frame for frame in item.frames if frame.n_atoms > 1]
    missing = missing_energies(potential, name, labelled, device, max_edges=MAX_EDGES)
    task = Task(name, f"{item.name}:{name}", references=missing)
    return EarlierTask(item.frames, task, direct and potential.config.head(name).direct_forces)


def with_own_titles(tasks: Sequence[EarlierTask], items: Sequence[EarlierSet]) -> tuple[EarlierTask, ...]:
    """Tasks whose titles tell them apart: the whole path for files of one name under one head.

    UsageError if a file is given twice under one head.
    """
    titles = [task.task.title for task in tasks]
    whole = [
        f"{item.path}:{task.task.head}" if titles.count(title) > 1 else title
        for item, task, title in zip(items, tasks, titles, strict=True)
    ]
    twice = [title for title in whole if whole.count(title) > 1]
    if twice:
        raise UsageError(f"{twice[0]} is given twice.", hint="leave it out once")
    return tuple(
        replace(task, task=replace(task.task, name=title)) for task, title in zip(tasks, whole, strict=True)
    )
