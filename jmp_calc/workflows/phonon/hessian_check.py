"""Finite displacements against automatic differentiation: the same force constants in two ways."""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import JMPWarning, UsageError
from ..common import jmp_calculator
from . import glue
from .band_path import BandPath
from .settings import PhononSettings

if TYPE_CHECKING:
    from ase import Atoms

LARGE_THZ = 0.1
"""A difference that shows in a figure."""


@dataclass(frozen=True)
class HessianCheck:
    """Differences of the frequencies along the band path."""

    largest_thz: float
    rms_thz: float
    qpoint: tuple[float, float, float]
    """Where the difference is largest, fractions of the primitive reciprocal vectors."""
    label: str
    """Name of that point, or ""."""
    band: int

    def __str__(self) -> str:
        place = self.label or "q = ({:.4g}, {:.4g}, {:.4g})".format(*self.qpoint)
        return (
            f"displacements and automatic differentiation differ by up to {self.largest_thz:.2g} THz "
            f"({place}, band {self.band}), {self.rms_thz:.2g} THz on average"
        )

    def to_dict(self) -> dict[str, Any]:
        """Numbers for summary.yaml, units in the names."""
        return asdict(self)


def require_hessian(atoms: Atoms) -> Any:
    """The calculator of a structure; UsageError where it gives no Hessian by automatic differentiation."""
    jmp = jmp_calculator(atoms.calc)
    if not hasattr(jmp, "get_hessian_rows") or jmp.info.forces == "direct":
        raise UsageError(
            f"{type(atoms.calc).__name__} gives no Hessian by automatic differentiation, so there is nothing "
            "to check displacements against.",
            hint="leave --check-hessian out; a JMPCalculator with conservative forces has one",
        )
    return jmp


def check_hessian(phonon: Any, path: BandPath, atoms: Atoms, settings: PhononSettings) -> HessianCheck:
    """Frequencies of the Hessian of the supercell, compared with those of the displacements; warns where they
    differ much.

    Args:
        phonon: phonopy's object with force constants and bands.
        path: of the bands.
        atoms: the boxed unit cell with its calculator.
        settings: whether force constants are symmetrised.
    """
    (supercell,) = glue.as_ase([phonon.supercell], phonon.supercell, atoms)
    rows = require_hessian(atoms).get_hessian_rows(supercell, [int(i) for i in phonon.primitive.p2s_map])
    other = phonon.replicate()
    other.nac_params = phonon.nac_params
    other.force_constants = np.ascontiguousarray(rows.transpose(0, 2, 1, 3))
    if settings.fc_symmetry:
        other.symmetrize_force_constants()
    bands = phonon.band_structure
    other.run_band_structure(bands.qpoints, path_connections=bands.path_connections)
    qpoints = np.concatenate(bands.qpoints)
    apart = np.concatenate(other.band_structure.frequencies) - np.concatenate(bands.frequencies)
    row, band = np.unravel_index(np.abs(apart).argmax(), apart.shape)
    found = HessianCheck(
        largest_thz=float(np.abs(apart).max()),
        rms_thz=float(np.sqrt(np.square(apart).mean())),
        qpoint=tuple(float(x) for x in qpoints[row]),  # type: ignore[arg-type]
        label=path.name_of(qpoints[row]),
        band=int(band),
    )
    if found.largest_thz > LARGE_THZ:
        text = f"{found}: take a smaller --displacement, or a model with a smooth energy (docs/smooth.md)"
        warnings.warn(text, JMPWarning, stacklevel=4)
    return found
