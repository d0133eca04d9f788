"""Earlier data of a start model: labelled frames under one of its old heads, to be retained or replayed in fine-tuning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from jmp_calc.errors import BadInputError, UsageError

from .binding import missing_energies
from .fingerprints import EXACT, find_matches
from .labels import Frame, LabelKeys, read_labelled
from .old_heads import energy_heads, force_errors, knowing
from .plausibility import refuse_not_finite
from .tasks import Task

if TYPE_CHECKING:
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
    """Its references are fitted to the start model, so that only a change of the energies counts and not their zero."""
    direct: bool
    """Whether the forces are those of the direct head."""


def read_earlier(
    text: str, *, keys: LabelKeys = LabelKeys(), energy_unit: str | None = None, length_unit: str | None = None
) -> EarlierSet:
    """Read ``FILE`` or ``FILE:HEAD``, with keys and units as in ``read_labelled``.

    BadInputError if a frame has no energy or a label that is not finite, or if there is no frame.
    """
    path, head = text, None
    if ":" in text and not Path(text).exists():
        path, head = text.rsplit(":", 1)
    found = read_labelled(path, keys=keys, require=("energy",), energy_unit=energy_unit, length_unit=length_unit)
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
            raise BadInputError(f"{len(matches)} retained frames are trained on as well: {first[0].where} is "
                                f"{first[1].where}.", where=item.name, hint="retain frames that the training never sees")


def bound(item: EarlierSet, potential: Potential, *, direct: bool, device: torch.device) -> EarlierTask:
    """The frames with their old head and fitted references.

    UsageError if the head does not exist, does not know the elements, or cannot be chosen for want of forces.
    """
    elements = {int(z) for frame in item.frames for z in np.unique(frame.numbers)}
    heads = energy_heads(potential.config, direct=False)
    known = knowing(heads, elements)
    name = item.head or _closest(item, [head.name for head in known], potential, device)
    if name not in {head.name for head in known}:
        reason = "does not know all the elements" if name in {head.name for head in heads} else "does not exist"
        raise UsageError(f"The old head {name!r} {reason}.", where=item.name,
                         hint=f"choose one of {', '.join(head.name for head in known) or 'another model'}")
    labelled = [frame for frame in item.frames if frame.n_atoms > 1]
    missing = missing_energies(potential, name, labelled, device, max_edges=MAX_EDGES)
    task = Task(name, f"{item.name}:{name}", references=missing)
    return EarlierTask(item.frames, task, direct and potential.config.head(name).direct_forces)


def _closest(item: EarlierSet, names: Sequence[str], potential: Potential, device: torch.device) -> str:
    if not names:
        raise UsageError("No old head of the start model knows all the elements.", where=item.name,
                         hint="leave the other frames out, or choose another model")
    if len(names) == 1:
        return names[0]
    errors = force_errors(potential, names, item.frames, direct=False, device=device)
    best = min(errors, key=errors.__getitem__)
    if not np.isfinite(errors[best]):
        raise UsageError("Without forces the old head must be named.", where=item.name,
                         hint=f"FILE:HEAD with one of {', '.join(names)}")
    return best
