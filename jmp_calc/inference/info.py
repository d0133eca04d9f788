"""ModelInfo: what a calculator computes with, as one frozen, printable object."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..graph.policy import GraphPolicy
from ..model.config import DefaultHeads, HeadConfig, reference_text
from ..model.elements import symbols
from ..model.skill import skill_note

if TYPE_CHECKING:
    from ..zoo.container import LoadedModel
    from .head_choice import HeadChoice
    from .settings import Settings


@dataclass(frozen=True)
class ModelInfo:
    """Where a model comes from and how this calculator uses it (units: eV, Å, eV/Å, eV/Å³)."""

    name: str
    path: str
    sha256: str
    licence: str
    source: str
    created: str
    head: str | None
    """None: the first structure decides."""
    head_choice: str
    """How the head came to be chosen, in words; empty: it was named, or is the only one."""
    level_of_theory: str
    elements: tuple[str, ...] | None
    """Symbols the head was trained on; None: not known."""
    heads: tuple[HeadConfig, ...]
    default_head: str | None
    default_heads: DefaultHeads | None
    energy_reference: str
    """What the zero of energy means, in words."""
    has_atomic_reference: bool
    """False: formation, cohesive and adsorption energies cannot be computed from these energies."""
    policy: GraphPolicy
    """The graphs in use, overrides included."""
    weights: str
    forces: str
    dtype: str
    device: str
    training_data: tuple[dict[str, Any], ...]
    metrics: dict[str, Any]
    notes: tuple[str, ...]
    format_version: int | None = None
    """Version of our file format; None for official checkpoints."""
    uncertainty: str | None = None
    """Where standard deviations come from; None: there are none."""
    committee: tuple[str, ...] = ()
    """Further model files that they come from."""

    def _head(self) -> str:
        if self.head is None:
            return f"not chosen yet, the first structure decides: {self.head_choice}"
        return f"{self.head} ({self.level_of_theory})" + (f", {self.head_choice}" if self.head_choice else "")

    def __str__(self) -> str:
        elements = "unknown" if self.elements is None else " ".join(self.elements)
        lines = (
            ("model", self.name),
            ("file", self.path),
            ("sha256", self.sha256),
            ("licence", self.licence),
            ("head", self._head()),
            ("elements", elements),
            ("all heads", ", ".join(head.name for head in self.heads)),
            ("energy zero", self.energy_reference),
            ("graphs", f"{self.policy.name}, cutoff {self.policy.cutoff:g} Å"),
            ("weights", self.weights),
            ("forces", self.forces),
            ("precision", self.dtype),
            ("device", self.device),
        )
        return "\n".join(
            [*(f"{key:<12} {value}" for key, value in lines), *(f"note: {note}" for note in self.notes)]
        )


def model_info(loaded: LoadedModel, policy: GraphPolicy, settings: Settings, device: str) -> ModelInfo:
    """Describe a loaded model as one calculator uses it, but for its head (``with_choice``)."""
    config, card = loaded.potential.config, loaded.card
    return ModelInfo(
        name=card.name,
        path=str(loaded.path),
        sha256=loaded.sha256,
        licence=card.licence,
        source=card.source,
        created=card.created,
        head=None,
        head_choice="",
        level_of_theory="",
        elements=None,
        heads=config.heads,
        default_head=config.default_head,
        default_heads=config.default_heads,
        energy_reference="",
        has_atomic_reference=False,
        policy=policy,
        weights=settings.weights,
        forces=settings.forces,
        dtype=settings.dtype,
        device=device,
        training_data=card.training_data,
        metrics=dict(card.metrics),
        notes=card.notes,
        format_version=loaded.format_version,
        uncertainty=settings.uncertainty,
        committee=settings.committee,
    )


def with_choice(info: ModelInfo, choice: HeadChoice) -> ModelInfo:
    """The same with what the head of the evaluation says, or what is common to those that it may become."""
    heads = choice.possible if choice.head is None else (choice.head,)
    known = [head.elements for head in heads if head.elements is not None]
    return dataclasses.replace(
        info,
        head=None if choice.head is None else choice.head.name,
        head_choice=choice.words if choice.head is None or choice.decided is not None else "",
        level_of_theory="; ".join(dict.fromkeys(head.level_of_theory for head in heads)),
        elements=symbols(set(known[0]).intersection(*known)) if len(known) == len(heads) else None,
        notes=(*info.notes, *(note for head in heads if (note := skill_note(head)) is not None)),
        energy_reference="; ".join(dict.fromkeys(map(reference_text, heads))),
        has_atomic_reference=all(head.reference_kind != "none" for head in heads),
    )
