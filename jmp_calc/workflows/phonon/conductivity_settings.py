"""Settings of the thermal conductivity: two supercells, a mesh, temperatures."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np

from ...arguments import plain
from ...errors import UsageError
from .settings import MOST, PhononSettings, integers

ConductivityMethod = Literal["rta", "lbte"]


@dataclass(frozen=True, kw_only=True)
class ConductivitySettings:
    """How to compute the thermal conductivity; the fields are the arguments of ``conductivity`` and explained
    there."""

    supercell: str | tuple[int, ...] = "auto"
    min_length: float = 10.0
    fc2_supercell: str | tuple[int, ...] = "auto"
    fc2_min_length: float = PhononSettings.min_length
    displacement: float = 0.03
    pair_cutoff: float | None = None
    mesh: str | tuple[int, ...] = "auto"
    method: ConductivityMethod = "rta"
    isotopes: bool = False
    boundary_um: float | None = None
    tmin: float = 100.0
    tmax: float = 1000.0
    tstep: float = 50.0
    relax: bool = PhononSettings.relax
    fmax: float = PhononSettings.fmax
    relax_steps: int = PhononSettings.relax_steps
    allow_unconverged: bool = PhononSettings.allow_unconverged
    fc_symmetry: bool = PhononSettings.fc_symmetry
    symprec: float = PhononSettings.symprec
    imaginary_tolerance_thz: float = PhononSettings.imaginary_tolerance_thz
    born: str | None = None

    def __post_init__(self) -> None:
        plain(self)
        checked, second = self.of_phonons(), self.of_fc2()
        object.__setattr__(self, "supercell", checked.supercell)
        object.__setattr__(self, "fc2_supercell", second.supercell)
        object.__setattr__(self, "mesh", integers(self.mesh, "mesh", lengths=(3,)))
        if self.method not in get_args(ConductivityMethod):
            known = ", ".join(get_args(ConductivityMethod))
            raise UsageError(f"Unknown method '{self.method}'.", hint=f"one of {known}")
        for name in ("pair_cutoff", "boundary_um"):
            value = getattr(self, name)
            if value is not None and not (np.isfinite(value) and value > 0):
                raise UsageError(f"{name} must be positive, got {value}.")
        if not self.tmin > 0:
            raise UsageError(
                f"The lowest temperature tmin must be above 0 K, got {self.tmin}: without boundaries "
                "and isotopes the conductivity of a crystal has no limit there."
            )
        if not isinstance(self.mesh, str) and math.prod(self.mesh) > MOST["mesh"]:
            raise UsageError(f"The mesh may have {MOST['mesh']} points, got {math.prod(self.mesh)}.")

    def of_phonons(self) -> PhononSettings:
        """Relaxation and the supercells of the third-order force constants, as settings of phonons."""
        return PhononSettings(
            supercell=self.supercell,
            min_length=self.min_length,
            displacement=self.displacement,
            tmin=self.tmin,
            tmax=self.tmax,
            tstep=self.tstep,
            relax=self.relax,
            fmax=self.fmax,
            relax_steps=self.relax_steps,
            allow_unconverged=self.allow_unconverged,
            symprec=self.symprec,
            imaginary_tolerance_thz=self.imaginary_tolerance_thz,
            born=self.born,
        )

    def of_fc2(self) -> PhononSettings:
        """The supercell of the second-order force constants, as settings of phonons."""
        return PhononSettings(supercell=self.fc2_supercell, min_length=self.fc2_min_length)

    @property
    def temperatures(self) -> np.ndarray:
        """From tmin to tmax, K."""
        return np.arange(self.tmin, self.tmax + 1e-9 * self.tmax, self.tstep)

    def to_dict(self) -> dict[str, Any]:
        """All settings by name."""
        return asdict(self)
