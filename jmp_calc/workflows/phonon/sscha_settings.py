"""Settings of temperature-dependent phonons: temperature, samples, iterations."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ...arguments import plain
from ...errors import UsageError
from .settings import FrequencyUnit, PhononSettings

MOST = {"snapshots": 100_000, "iterations": 1000, "temperature_k": 100_000.0}


@dataclass(frozen=True, kw_only=True)
class SschaSettings:
    """How to compute phonons at a temperature; the fields are the arguments of ``sscha`` and explained
    there."""

    temperature_k: float = 300.0
    snapshots: int = 100
    iterations: int = 10
    transient: int = 4
    tolerance_thz: float = 0.1
    seed: int = 0
    supercell: str | tuple[int, ...] = PhononSettings.supercell
    min_length: float = 12.0
    displacement: float = PhononSettings.displacement
    mesh: str | tuple[int, ...] = PhononSettings.mesh
    bands: str = PhononSettings.bands
    band_points: int = PhononSettings.band_points
    relax: bool = PhononSettings.relax
    fmax: float = PhononSettings.fmax
    relax_steps: int = PhononSettings.relax_steps
    allow_unconverged: bool = PhononSettings.allow_unconverged
    symprec: float = PhononSettings.symprec
    imaginary_tolerance_thz: float = PhononSettings.imaginary_tolerance_thz
    born: str | None = None
    frequency_unit: FrequencyUnit = PhononSettings.frequency_unit

    def __post_init__(self) -> None:
        plain(self)
        checked = self.of_phonons()
        object.__setattr__(self, "supercell", checked.supercell)
        object.__setattr__(self, "mesh", checked.mesh)
        if not 0 <= self.temperature_k <= MOST["temperature_k"]:
            raise UsageError(f"The temperature must be from 0 to 100000 K, got {self.temperature_k}.")
        if not 2 <= self.snapshots <= MOST["snapshots"]:
            raise UsageError(f"The snapshots must be from 2 to {MOST['snapshots']}, got {self.snapshots}.")
        if not 2 <= self.iterations <= MOST["iterations"]:
            raise UsageError(f"The iterations must be from 2 to {MOST['iterations']}, got {self.iterations}.")
        if not 0 <= self.transient <= self.iterations - 2:
            raise UsageError(
                f"The transient must be from 0 to {self.iterations - 2}, got {self.transient}: two "
                "iterations have to be left to compare.",
                hint="more --iterations, or a smaller --transient",
            )
        if not (np.isfinite(self.tolerance_thz) and self.tolerance_thz > 0):
            raise UsageError(f"tolerance_thz must be positive, got {self.tolerance_thz}.")

    def of_phonons(self) -> PhononSettings:
        """The settings of the phonons that the iterations start from."""
        return PhononSettings(
            supercell=self.supercell,
            min_length=self.min_length,
            displacement=self.displacement,
            mesh=self.mesh,
            bands=self.bands,
            band_points=self.band_points,
            relax=self.relax,
            fmax=self.fmax,
            relax_steps=self.relax_steps,
            allow_unconverged=self.allow_unconverged,
            symprec=self.symprec,
            imaginary_tolerance_thz=self.imaginary_tolerance_thz,
            born=self.born,
            seed=self.seed,
            frequency_unit=self.frequency_unit,
        )

    def to_dict(self) -> dict[str, Any]:
        """All settings by name."""
        return asdict(self)
