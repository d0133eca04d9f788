"""A task: one data set under one head, with the units in which its errors enter the loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ..data.frame import Frame
from ..data.target_labels import TargetKind


@dataclass(frozen=True)
class Task:
    """What the labels of one data set are compared with, and in which units (``training.md`` sections 2, 3
    and 8).

    JMP's weights are units too: λ_F |ΔF| / r counts forces in units of r / λ_F, |ΔE| / s total energies in
    units of s.
    """

    head: str
    name: str = ""
    """Name of the data set in tables; empty: that of the head."""
    target: str | None = None
    """Key of the labels of a head that gives a scalar, class or vector; None: energies, forces, stress."""
    target_kind: TargetKind = "scalar"
    """Of the target: vectors are in ``Frame.vectors``, classes by number in ``Frame.targets``."""
    references: Mapping[int, float] = field(default_factory=dict)
    """Energy in eV by atomic number that the data set has beyond the head's own references."""
    energy_unit: float = 1.0
    """eV (per atom, if ``energy_per_atom``) that count as an error of 1."""
    energy_per_atom: bool = True
    forces_unit: float = 1.0
    """eV/Å"""
    stress_unit: float | None = 1.0
    """eV/Å^3; None: the virial per atom (stress times volume over atoms) counts in units of ``forces_unit``
    times 1 Å."""
    energy_margin: float = 0.0
    """eV per atom: smaller energy errors do not count (threshold loss, paper Eq. 2)."""
    forces_margin: float = 0.0
    """eV/Å: smaller force errors of an atom do not count."""
    weight: float = 1.0
    """Weight of every structure."""
    cutoff: float | None = None
    """Å of the main graph of this data set where it is not the model's (the pre-training of JMP: 12 and
    8)."""

    @property
    def title(self) -> str:
        """Name of the data set."""
        return self.name or self.head

    def reference_energy(self, frame: Frame) -> float:
        """Sum of the references over a frame, eV."""
        return float(sum(self.references.get(int(z), 0.0) for z in frame.numbers)) if self.references else 0.0

    def energy_scale(self, frame: Frame) -> float:
        """eV of the total energy of a frame that count as an error of 1."""
        return self.energy_unit * (frame.n_atoms if self.energy_per_atom else 1)

    def stress_scale(self, frame: Frame) -> float:
        """eV/Å^3 of a frame that count as an error of 1."""
        if self.stress_unit is not None:
            return self.stress_unit
        volume = float(abs(np.linalg.det(frame.cell)))
        return self.forces_unit * frame.n_atoms / volume if volume > 0 else 1.0
