"""How the frequencies follow the volume: Grüneisen parameters of the modes, from phonons at three volumes."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

STILL_THZ = 0.05
"""Modes below this are translations or noise: their parameter means nothing."""


@dataclass(frozen=True, eq=False)
class ModeGruneisen:
    """γ = -d ln ω / d ln V of the modes on a mesh."""

    frequencies_thz: np.ndarray
    """(n_qpoints, n_bands) at the middle volume."""
    gamma: np.ndarray
    """(n_qpoints, n_bands); NaN for modes that do not move or are imaginary."""
    weights: np.ndarray
    """(n_qpoints,) of the irreducible q-points."""
    volume_a3: float
    """The middle volume, of the primitive cell."""

    @property
    def mean(self) -> float:
        """Average over all modes, as at high temperature."""
        weights = np.broadcast_to(self.weights[:, None], self.gamma.shape)
        known = np.isfinite(self.gamma)
        return float(np.average(self.gamma[known], weights=weights[known]))

    def to_dict(self) -> dict[str, Any]:
        """Numbers for summary.yaml, units in the names."""
        return {
            "mean": self.mean,
            "lowest": float(np.nanmin(self.gamma)),
            "highest": float(np.nanmax(self.gamma)),
            "volume_a3": self.volume_a3,
        }


def run_gruneisen(phonons: Sequence[Any], mesh: Sequence[int], lines: Sequence[np.ndarray]) -> Any:
    """phonopy's object with mesh and path done.

    Args:
        phonons: phonopy objects with force constants of the smaller, middle and larger volume.
        mesh: numbers of points.
        lines: q-points of the path, piece by piece, each (n, 3).
    """
    from phonopy import PhonopyGruneisen

    smaller, middle, larger = phonons
    found = PhonopyGruneisen(middle, larger, smaller)
    with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
        warnings.filterwarnings("ignore", message=".*(point-group|point group|grid).*")
        found.set_mesh(list(mesh), is_gamma_center=True)
        found.set_band_structure(lines)
    return found


def mode_gruneisen(found: Any) -> ModeGruneisen:
    """What ``run_gruneisen`` gives, as numbers."""
    _, weights, frequencies, _, gamma = found.get_mesh()
    return ModeGruneisen(
        frequencies_thz=np.array(frequencies),
        gamma=np.where(np.array(frequencies) > STILL_THZ, gamma, np.nan),
        weights=np.array(weights),
        volume_a3=float(found.get_phonon().primitive.volume),
    )
