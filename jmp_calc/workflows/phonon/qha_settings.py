"""Settings of the quasi-harmonic approximation: volumes, temperatures, supercells."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np

from ...arguments import plain
from ...errors import UsageError
from ..pressures import check_pressure
from ..statics.volumes import VolumeSettings
from .settings import PhononSettings

QhaEos = Literal["vinet", "birch_murnaghan", "murnaghan"]
QhaRelax = Literal["positions", "shape"]
MOST_VOLUMES = 100


@dataclass(frozen=True, kw_only=True)
class QhaSettings(VolumeSettings):
    """How to compute thermal expansion; the fields are the arguments of ``qha`` and explained there."""

    min_volume: float = 0.96
    max_volume: float = 1.08
    eos: QhaEos = "vinet"
    pressure_gpa: float = 0.0
    relax: QhaRelax = "positions"
    supercell: str | tuple[int, ...] = PhononSettings.supercell
    min_length: float = PhononSettings.min_length
    displacement: float = PhononSettings.displacement
    mesh: str | tuple[int, ...] = PhononSettings.mesh
    tmax: float = PhononSettings.tmax
    tstep: float = PhononSettings.tstep
    fmax: float = PhononSettings.fmax
    relax_steps: int = PhononSettings.relax_steps
    allow_unconverged: bool = PhononSettings.allow_unconverged
    symprec: float = PhononSettings.symprec
    imaginary_tolerance_thz: float = PhononSettings.imaginary_tolerance_thz
    born: str | None = None

    def __post_init__(self) -> None:
        plain(self)
        checked = self.of_phonons()
        object.__setattr__(self, "supercell", checked.supercell)
        object.__setattr__(self, "mesh", checked.mesh)
        for name, allowed in (("eos", QhaEos), ("relax", QhaRelax)):
            if getattr(self, name) not in get_args(allowed):
                fact = f"Unknown {name} '{getattr(self, name)}'."
                raise UsageError(fact, hint=f"one of {', '.join(get_args(allowed))}")
        usual = "0.96 and 1.08 are usual, more to the larger side as crystals expand"
        self.check_volumes(most=MOST_VOLUMES, usual=usual)
        if not self.min_volume < 1 < self.max_volume:
            raise UsageError(
                f"Volumes from {self.min_volume} to {self.max_volume} cannot be meant: that of the "
                "structure, 1, must lie between them.",
                hint=usual,
            )
        check_pressure(self.pressure_gpa)
        if self.tmax < 3 * self.tstep:
            raise UsageError(
                f"The highest temperature, tmax, must be at least 3 steps: {self.tmax} and {self.tstep} K; "
                "the expansion is a difference between temperatures."
            )

    def of_phonons(self) -> PhononSettings:
        """The settings of the phonons at each volume."""
        return PhononSettings(
            supercell=self.supercell,
            min_length=self.min_length,
            displacement=self.displacement,
            mesh=self.mesh,
            tmax=self.tmax,
            tstep=self.tstep,
            fmax=self.fmax,
            relax_steps=self.relax_steps,
            symprec=self.symprec,
            imaginary_tolerance_thz=self.imaginary_tolerance_thz,
            born=self.born,
        )

    @property
    def temperatures(self) -> np.ndarray:
        """From 0 to tmax in K, and one more, which the differences need."""
        return np.arange(0.0, self.tmax + 1.5 * self.tstep, self.tstep)

    def to_dict(self) -> dict[str, Any]:
        """All settings by name."""
        return asdict(self)
