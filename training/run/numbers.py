"""Numbers of single steps, and their means between validations."""

from __future__ import annotations

import math
from dataclasses import dataclass, field


@dataclass(frozen=True)
class StepNumbers:
    """What one step gave, before the weights move: weighted loss terms and sizes of its gradient."""

    loss: float
    energy: float
    forces: float
    stress: float
    scalar: float
    norm: float
    """Global norm of the gradient before it was clipped."""
    largest: float
    """Largest absolute element of the gradient."""

    @property
    def terms(self) -> tuple[float, ...]:
        """What the running sums keep: the loss, its four terms, and the norm of the gradient."""
        return self.loss, self.energy, self.forces, self.stress, self.scalar, self.norm

    @property
    def loss_is_finite(self) -> bool:
        """Whether the loss and its terms are numbers."""
        return all(math.isfinite(value) for value in self.terms[:-1])

    @property
    def are_finite(self) -> bool:
        """Whether the optimizer may use this step."""
        return self.loss_is_finite and math.isfinite(self.norm) and math.isfinite(self.largest)


@dataclass
class Totals:
    """Running sums of the training loss since the last validation; part of the saved state."""

    steps: int = 0
    sums: list[float] = field(default_factory=lambda: [0.0] * 6)
    """total, energy, forces, stress, scalar, gradient norm"""

    def add(self, numbers: StepNumbers) -> None:
        """Add the numbers of one step."""
        self.steps += 1
        self.sums = [a + b for a, b in zip(self.sums, numbers.terms)]

    def means(self) -> list[float]:
        """Means since the last call; the sums start again."""
        means = [value / max(self.steps, 1) for value in self.sums]
        self.steps, self.sums = 0, [0.0] * 6
        return means
