"""What the model files of a fine-tuning know at its end: errors, statistics, scale of a committee.

The best model and the last one get the same, each of its own weights.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch

from ..batches.loader import Batches
from ..batches.tasks import Task
from ..data.frame import Frame
from ..run.checkpoint import Progress
from ..validation.domains import with_errors
from ..validation.knowledge import Seen, knowledge_of
from ..validation.metrics import Predictions
from .card import Card, saved_weights
from .committee import with_committee_scale
from .prepare import Prepared
from .start import to_publish

if TYPE_CHECKING:
    from jmp_calc.model.config import HeadConfig
    from jmp_calc.model.potential import Potential


@dataclass(frozen=True, eq=False)
class Model:
    """One of the two models of a run."""

    name: Literal["best", "last"]
    potential: Potential
    predictions: Mapping[str, Predictions]
    """For the frames of ``valid`` and ``test``; the latter where there are any, and it was asked."""

    def held_out(self, prepared: Prepared) -> tuple[Sequence[Frame], Predictions]:
        """The frames that show its errors, those of the test if it was asked, and its predictions."""
        part = "test" if "test" in self.predictions else "valid"
        return getattr(prepared, part), self.predictions[part]


def same_weights(one: Potential, other: Potential) -> bool:
    """Whether all weights of ``one`` are those of ``other``, which may have more heads."""
    state = other.state_dict()
    return all(name in state and torch.equal(value, state[name]) for name, value in one.state_dict().items())


def with_told_theory(potential: Potential, head: HeadConfig) -> Potential:
    """The network with what is said of the labels now, under the new head and its committee: a run that went
    on may have been told another theory than at its beginning."""
    names = {head.name, *head.committee}
    heads = (
        dataclasses.replace(old, level_of_theory=head.level_of_theory, theory=head.theory)
        if old.name in names
        else old
        for old in potential.config.heads
    )
    return potential.with_config(dataclasses.replace(potential.config, heads=tuple(heads)))


def write_models(
    folder: Path,
    models: Sequence[Model],
    card: Card,
    progress: Progress,
    valid: Batches,
    device: torch.device,
    notes: Sequence[Sequence[str]],
) -> None:
    """Write the models for good: errors, statistics of features, and scale of a committee; without heads that
    are not published.

    Args:
        folder: of the run.
        models: best and last; the statistics of two with one potential are made once.
        card: of the run.
        progress: how far the run came.
        valid: validation frames, by which a committee is scaled: all of them, whichever process this is.
        device: of the potentials.
        notes: what the card of each model says beside it.
    """
    prepared, head = card.prepared, card.start.head.name
    seen = [Seen(Task(head), prepared.train, prepared.valid)]
    known = {id(model.potential): model for model in models}
    knowledge = {key: knowledge_of(model.potential, seen, device) for key, model in known.items()}
    for model, said in zip(models, notes, strict=True):
        written = with_told_theory(to_publish(model.potential, prepared.start), card.start.head)
        written = with_errors(written, head, *model.held_out(prepared))
        card.write(
            folder / f"{model.name}.safetensors",
            with_committee_scale(written, head, Batches(valid.data, valid.order, device=device)),
            saved_weights(model.name, progress, prepared.config),
            {name: found.errors() for name, found in model.predictions.items()},
            knowledge[id(model.potential)],
            said,
        )
