"""Which heads are fit to be shipped, from their predictions on held-out frames.

Pre-training leaves out what is not; a fine-tuning refuses a head under which nothing holds together, and
tells the errors of all others (``finetuning/bound.py``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from jmp_calc.model.config import HeadConfig
from jmp_calc.model.skill import LARGEST_SHARE, LEAST_CORRELATION, SKILL_FRAMES

from ..data.cohesive import LEAST_ATOMISATION, hardly_bound
from .metrics import Predictions

NOTHING = 1e-6
"""eV: what a lone atom has beside its reference, but for rounding."""


@dataclass(frozen=True)
class Judged:
    """How one head does on held-out frames."""

    frames: int
    """With forces."""
    forces_mae: float
    """eV/Å, by component, as the two below; NaN without forces."""
    mean_force: float
    correlation: float
    """NaN where predictions or labels do not vary."""
    atomisation: float
    """eV/atom: mean energy of the lone atoms above the predicted one, without structures of a lone atom; NaN
    without energies."""
    atomisation_of_labels: float
    """The same above the energies of the labels."""

    @property
    def unskilled(self) -> str | None:
        """Why the head is not shipped, if it is not."""
        if self.frames < SKILL_FRAMES:
            return None
        share = self.forces_mae / self.mean_force if self.mean_force > 0 else 0.0
        if share > LARGEST_SHARE:
            return (
                f"its force error is {share:.0%} of the mean force ({1e3 * self.forces_mae:.0f} of "
                f"{1e3 * self.mean_force:.0f} meV/Å)"
            )
        if self.mean_force > 0 and not self.correlation >= LEAST_CORRELATION:
            return f"its forces have a correlation of {self.correlation:.2f} with the true ones"
        return None


def unbound(found: Judged, head: HeadConfig) -> str | None:
    """Why nothing holds together under this head, if nothing does; noble gases and their like need not."""
    if np.isnan(found.atomisation_of_labels) or found.atomisation >= LEAST_ATOMISATION:
        return None
    if np.isnan(found.atomisation):
        return "its energies are not finite"
    if head.elements and hardly_bound(head.elements):
        return None
    return (
        f"its mean atomisation energy is {found.atomisation:.2f} eV/atom, less than {LEAST_ATOMISATION}: "
        "nothing holds together"
    )


def judged(predictions: Predictions, heads: Sequence[str]) -> dict[str, Judged]:
    """Every head on its own frames, from predictions whose energies are relative to lone atoms, and the head
    of every structure."""
    own = np.asarray(heads)
    return {name: _of(predictions, own == name) for name in dict.fromkeys(heads)}


def _of(predictions: Predictions, chosen: np.ndarray) -> Judged:
    """One head: mask (S,) of its structures."""
    atoms = chosen[predictions.structure] & ~np.isnan(predictions.forces_true).any(axis=1)
    forces, true = predictions.forces[atoms].ravel(), predictions.forces_true[atoms].ravel()
    varying = len(true) > 1 and forces.std() > 0 and true.std() > 0
    lone = (predictions.n_atoms == 1) & (np.abs(predictions.energy) < NOTHING)
    energies = chosen & ~np.isnan(predictions.energy_true) & ~lone
    atoms_of = predictions.n_atoms[energies]
    return Judged(
        len(np.unique(predictions.structure[atoms])),
        float(np.abs(forces - true).mean()) if len(true) else np.nan,
        float(np.abs(true).mean()) if len(true) else np.nan,
        float(np.corrcoef(forces, true)[0, 1]) if varying else np.nan,
        float(np.mean(-predictions.energy[energies] / atoms_of)) if len(atoms_of) else np.nan,
        float(np.mean(-predictions.energy_true[energies] / atoms_of)) if len(atoms_of) else np.nan,
    )


def left_out(found: Mapping[str, Judged], heads: Sequence[HeadConfig], *, lone_atoms: bool) -> dict[str, str]:
    """Heads that are not shipped, and why: without skill, or (where lone atoms have a meaning) with nothing
    that holds atoms together."""
    reasons: dict[str, str] = {}
    for head in heads:
        if head.name in found and head.kind == "energy":
            item = found[head.name]
            reason = item.unskilled or (unbound(item, head) if lone_atoms else None)
            if reason is not None:
                reasons[head.name] = reason
    return reasons
