"""What is trained on instead of energies and forces: the key and kind of a target, and the form of its
head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from jmp_calc.errors import UsageError
from jmp_calc.model.config import Reduction

from ..data.target_labels import TargetKind


@dataclass(frozen=True)
class TargetTask:
    """The target and the form of its head; what is None is chosen by the training frames."""

    key: str
    """Of the labels: in a file in ``info``, in ``Frame`` that of ``targets``, ``classes`` or ``vectors``."""
    kind: Literal["scalar", "spatial_extent", "class", "vector"] | None = None
    """What the target is; None: class if the labels are text or booleans, else scalar."""
    pooling: Reduction | None = None
    """How atoms are combined; None: sum for an extensive scalar and for vectors, else mean."""
    referenced: bool | None = None
    """Whether values per element are subtracted (least squares); None: for an extensive target with sum."""
    normalise: bool = True
    """Whether mean and standard deviation are taken out."""
    unit: str = "label units"
    """Unit of the target, to be written into files."""
    class_weights: Literal["equal", "balanced"] = "equal"
    """Whether every frame (equal) or every class (balanced) counts alike in the loss of classes."""

    def __post_init__(self) -> None:
        if self.class_weights != "equal" and self.kind not in (None, "class"):
            raise UsageError(
                f"--class-weights has no meaning here: --target trains on a {self.kind}.",
                hint="leave it out, or say --target-kind class",
            )
        if self.kind == "class" and self.unit != "label units":
            raise UsageError(
                "--target-unit has no meaning here: --target trains on a class.", hint="leave it out"
            )

    @property
    def label_kind(self) -> TargetKind | None:
        """How the labels are read; None: as they look."""
        return "scalar" if self.kind == "spatial_extent" else self.kind


def as_task(target: str | TargetTask | None, known: TargetTask | None) -> TargetTask | None:
    """The task of a target that was given by its key alone; what is ``known`` says the rest."""
    if not isinstance(target, str):
        return target
    return known if known is not None and known.key == target else TargetTask(target)
