"""The card in a fine-tuned model file: data, start model, errors, and which weights these are."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jmp_calc.io.summary import file_sha256
from jmp_calc.zoo.container import ModelCard, save_model

from ..config import TrainConfig
from ..data.references import References
from ..data.sources import Sources, sources
from ..run.checkpoint import Progress
from ..validation.metrics import Errors
from .prepare import Prepared
from .start import Start

if TYPE_CHECKING:
    from jmp_calc.model.potential import Potential
    from jmp_calc.zoo.knowledge import Knowledge


@dataclass(frozen=True, eq=False)
class Card:
    """Writes models with their provenance."""

    prepared: Prepared
    start: Start
    data: Mapping[str, object]
    """Name, hash and size of the training data: found once, as nobody can say how long the files stay."""

    @classmethod
    def of(cls, prepared: Prepared, start: Start) -> Card:
        """The card of a run, whose files are where they were read."""
        origin = sources(prepared.data.train)
        found = {
            "name": origin.name,
            **_hashes(origin),
            "frames": len(prepared.train),
            "licence": "the user's own data",
            "use": "fine-tuning",
        }
        return cls(prepared, start, found)

    def write(
        self,
        path: Path,
        potential: Potential,
        weights: str,
        errors: Mapping[str, Errors] = {},
        knowledge: Knowledge | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        """Write ``potential`` as it is, with its errors by part of the data and what is known of its training
        data; ``weights`` says which weights these are."""
        seen = [{**item, "use": item.get("use", "start weights")} for item in self.start.training_data]
        references = self.prepared.references
        save_model(
            path,
            potential,
            ModelCard(
                name=f"{self.start.head.name} on {self.data['name']}",
                created=time.strftime("%Y-%m-%d"),
                licence=self.start.licence,
                source=f"jmp-calc finetune from {self.start.source}",
                training_data=(dict(self.data), *seen),
                metrics={name: found.to_dict() for name, found in errors.items()},
                energy_reference="none"
                if references is None
                else _reference_text(references, estimated=bool(self.start.head.binding)),
                notes=(weights, *notes),
            ),
            knowledge,
        )


def saved_weights(name: str, progress: Progress, config: TrainConfig) -> str:
    """Which weights ``best`` or ``last`` holds, in words."""
    weights, step = (
        (progress.best_weights, progress.best_step) if name == "best" else (progress.weights, progress.step)
    )
    decay = config.optim.ema_decay
    kind = "weights as they are (not averaged)"
    if weights == "averaged":
        kind = f"weights averaged over steps (EMA, decay {decay:g})"
    elif decay is not None:
        kind += f", better on validation than averaged ones (EMA, decay {decay:g}),"
    extreme = "largest on validation" if config.metric == "balanced_accuracy" else "smallest validation error"
    when = f"{extreme} so far ({config.metric})" if name == "best" else "end of the run"
    return f"{kind} after {step} steps: {when}"


def _hashes(origin: Sources) -> dict[str, Any]:
    """The hash of one file, or names and hashes of several; nothing of structures in memory."""
    if len(origin.files) == 1:
        return {"sha256": file_sha256(origin.files[0])}
    files = [{"name": path.name, "sha256": file_sha256(path)} for path in origin.files]
    return {"files": files} if files else {}


def _reference_text(references: References, *, estimated: bool) -> str:
    """What the references are; ``estimated``: whether those from least squares belong to bound atoms, and
    lone atoms stand above them."""
    if references.kind == "isolated_atoms":
        return "isolated atoms of the training data"
    note = "" if references.full_rank else "; only sums over the training compositions are meaningful"
    alone = "; lone atoms stand above it by binding energies of the start head or by cohesive energies"
    return f"least squares over the training data{note}{alone if estimated else ''}"
