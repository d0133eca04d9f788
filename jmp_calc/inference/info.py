"""ModelInfo: what a calculator computes with, as one frozen, printable object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..graph.policy import GraphPolicy
from ..model.config import REFERENCE_TEXT, HeadConfig
from ..model.elements import symbols

if TYPE_CHECKING:
    from ..zoo.container import LoadedModel
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
    head: str
    level_of_theory: str
    elements: tuple[str, ...] | None
    """Symbols the head was trained on; None: not known."""
    heads: tuple[HeadConfig, ...]
    default_head: str | None
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

    def __str__(self) -> str:
        elements = "unknown" if self.elements is None else " ".join(self.elements)
        lines = (
            ("model", self.name),
            ("file", self.path),
            ("sha256", self.sha256),
            ("licence", self.licence),
            ("head", f"{self.head} ({self.level_of_theory})"),
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


def model_info(
    loaded: LoadedModel, head: HeadConfig, policy: GraphPolicy, settings: Settings, device: str
) -> ModelInfo:
    """Describe a loaded model as one calculator uses it."""
    config, card = loaded.potential.config, loaded.card
    return ModelInfo(
        name=card.name,
        path=str(loaded.path),
        sha256=loaded.sha256,
        licence=card.licence,
        source=card.source,
        created=card.created,
        head=head.name,
        level_of_theory=head.level_of_theory,
        elements=None if head.elements is None else symbols(head.elements),
        heads=config.heads,
        default_head=config.default_head,
        energy_reference=REFERENCE_TEXT[head.reference_kind],
        has_atomic_reference=head.reference_kind != "none",
        policy=policy,
        weights=settings.weights,
        forces=settings.forces,
        dtype=settings.dtype,
        device=device,
        training_data=card.training_data,
        metrics=dict(card.metrics),
        notes=card.notes,
        format_version=loaded.format_version,
    )
