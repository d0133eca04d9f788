"""No head is saved under which nothing holds together, although it was trained on structures that do.

The rule is that of pre-training (``validation/judged.py``). A fine-tuning is of the user's own data: where
the labels say the same (accepted with ``--allow unbound``), the files are written, with a note. Refused ones
are set aside beside their run, which can go on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jmp_calc.errors import ModelError
from jmp_calc.model.elements import by_number

from ..data.cohesive import LEAST_ATOMISATION
from ..data.frame import Frame
from ..validation.judged import judged, unbound
from ..validation.metrics import Predictions
from .final import Model
from .prepare import Prepared

if TYPE_CHECKING:
    from jmp_calc.model.config import HeadConfig, ModelConfig

MODELS = ("best.safetensors", "last.safetensors")
REFUSED = tuple(f"{name}.refused" for name in MODELS)
"""What refused models are called, which no calculator opens by mistake."""


def above_lone_atoms(predictions: Predictions, frames: Sequence[Frame], head: HeadConfig) -> Predictions:
    """Predictions of the frames, in their order, with energies relative to the references of the head."""
    table = np.array(by_number(head.references))
    atoms = np.array([table[frame.numbers].sum() for frame in frames])
    energy, true = predictions.energy - atoms, predictions.energy_true - atoms
    return dataclasses.replace(predictions, energy=energy, energy_true=true)


def why_unbound(
    config: ModelConfig, name: str, frames: Sequence[Frame], predictions: Predictions
) -> tuple[str, bool] | None:
    """Why nothing holds together under the head, and whether the labels say so too; None where all is well,
    or lone atoms have no energy."""
    head = config.head(name)
    if head.kind != "energy" or head.reference_kind == "none" or not config.subtract_lone_atom or not frames:
        return None
    found = judged(above_lone_atoms(predictions, frames, head), [name] * len(frames))[name]
    reason = unbound(found, head)
    return None if reason is None else (reason, found.atomisation_of_labels < LEAST_ATOMISATION)


def binding_notes(
    model: Model, name: str, prepared: Prepared, folder: Path, *, is_first: bool
) -> tuple[str, ...]:
    """What the card says of the head ``name`` if nothing holds together under it.

    Raises:
        ModelError: of the best model, whose data do hold together, and nobody has allowed it; the models of
            the run, which the first process has written, are set aside.
    """
    found = why_unbound(model.potential.config, name, *model.held_out(prepared))
    if found is None:
        return ()
    reason, labels_agree = found
    if labels_agree or "unbound" in prepared.data.allow or model.name == "last":
        return (f"the head {name}: {reason}{', as its labels say' if labels_agree else ''}",)
    for file, aside in zip(MODELS, REFUSED, strict=True):
        if is_first and (folder / file).exists():
            (folder / file).replace(folder / aside)
    raise ModelError(
        f"The head {name!r} is not saved: {reason}.",
        where=str(folder),
        hint="look at the validation errors, and train longer or from another start; "
        "--resume --allow unbound saves it all the same",
    )


def put_back(folder: Path) -> None:
    """Give refused models their names again, for a run that goes on."""
    for name, aside in zip(MODELS, REFUSED, strict=True):
        if (folder / aside).exists() and not (folder / name).exists():
            (folder / aside).replace(folder / name)
