"""What the audit can find, and one thing that it found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..data.frame import Frame

Code = Literal[
    "too_few_frames", "no_training_frames", "no_validation_frames", "few_frames", "fewer_than_batch",
    "unseen_element",
    "duplicates", "near_duplicates", "repeated_frames", "contradicting_labels", "not_finite",
    "missing_energy",
    "missing_forces", "missing_stress", "constant_target", "zero_forces", "constant_forces", "net_force",
    "huge_forces",
    "large_forces", "constant_energies", "energy_unit", "energy_per_atom", "energy_zeros", "energy_outliers",
    "forces_disagree", "forces_unrelated", "frames_disagree", "force_outliers", "stress_disagrees",
    "large_stress", "not_neutral", "unbound",
]  # fmt: skip
"""What can be found."""


@dataclass(frozen=True)
class Finding:
    """One thing that the audit found."""

    severity: Literal["error", "warning"]
    code: Code
    message: str
    where: str = ""
    hint: str = ""


def places(frames: Sequence[Frame], chosen: Sequence[int] | np.ndarray) -> str:
    """File and first five numbers of the chosen frames."""
    listed = ", ".join(str(frames[i].index) for i in chosen[:5])
    return f"{frames[chosen[0]].source} frames {listed}" + (", ..." if len(chosen) > 5 else "")
