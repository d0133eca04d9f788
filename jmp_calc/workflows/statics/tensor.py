"""An elastic tensor and what follows from it: stability, averages over directions, Young's modulus.

Voigt notation, engineering shear strains: xx, yy, zz, yz, xz, xy. GPa.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

VOIGT = ("xx", "yy", "zz", "yz", "xz", "xy")
SOFT = 1e-6
"""Of the stiffest strain: a strain that costs less costs nothing."""
DIRECTIONS = 2000
"""Directions over which the extremes of Young's modulus are looked for."""


@dataclass(frozen=True)
class Moduli:
    """Of a polycrystal: bulk and shear modulus of one average, GPa."""

    bulk_gpa: float
    shear_gpa: float


@dataclass(frozen=True, eq=False)
class ElasticTensor:
    """Elastic constants, symmetrised by the crystal's point group."""

    constants_gpa: np.ndarray
    """(6, 6)"""
    fitted_gpa: np.ndarray
    """(6, 6) before they were symmetrised."""
    errors_gpa: np.ndarray
    """(6, 6) standard errors of the slopes of stress against strain."""

    @property
    def symmetry_gap_gpa(self) -> float:
        """Largest change by the symmetrisation, GPa: small where the crystal behaves as symmetric as it
        is."""
        return float(np.abs(self.constants_gpa - self.fitted_gpa).max())

    @property
    def eigenvalues_gpa(self) -> np.ndarray:
        """Stiffnesses (6,) of the six strains that do not mix, ascending; of shear strains with the weights
        that make them independent of the axes (Mandel)."""
        return np.asarray(np.linalg.eigvalsh(self.constants_gpa * np.outer(MANDEL, MANDEL)))

    @property
    def stable(self) -> bool:
        """Whether every strain costs energy (Born); of a crystal without stress."""
        lowest, highest = self.eigenvalues_gpa[[0, -1]]
        return bool(lowest > SOFT * abs(highest))

    @property
    def softest_strain(self) -> np.ndarray:
        """(6,) the strain that costs least, Voigt with engineering shear, its largest component 1."""
        strain = np.linalg.eigh(self.constants_gpa * np.outer(MANDEL, MANDEL))[1][:, 0] * MANDEL
        return np.asarray(strain / strain[np.abs(strain).argmax()])

    @property
    def compliance_per_gpa(self) -> np.ndarray | None:
        """(6, 6) strain per stress; None of an unstable crystal."""
        return np.asarray(np.linalg.inv(self.constants_gpa)) if self.stable else None

    @property
    def voigt(self) -> Moduli:
        """Upper bounds: the same strain everywhere."""
        c = self.constants_gpa
        normal, mixed, shear = np.trace(c[:3, :3]), c[0, 1] + c[0, 2] + c[1, 2], np.trace(c[3:, 3:])
        return Moduli(float((normal + 2 * mixed) / 9), float((normal - mixed + 3 * shear) / 15))

    @property
    def reuss(self) -> Moduli | None:
        """Lower bounds: the same stress everywhere; None of an unstable crystal."""
        s = self.compliance_per_gpa
        if s is None:
            return None
        normal, mixed, shear = np.trace(s[:3, :3]), s[0, 1] + s[0, 2] + s[1, 2], np.trace(s[3:, 3:])
        return Moduli(float(1 / (normal + 2 * mixed)), float(15 / (4 * normal - 4 * mixed + 3 * shear)))

    @property
    def hill(self) -> Moduli | None:
        """Means of both bounds; None of an unstable crystal."""
        one, other = self.voigt, self.reuss
        if other is None:
            return None
        return Moduli((one.bulk_gpa + other.bulk_gpa) / 2, (one.shear_gpa + other.shear_gpa) / 2)

    def young_gpa(self, directions: np.ndarray) -> np.ndarray | None:
        """Young's moduli (n,) along unit vectors (n, 3), GPa; None of an unstable crystal."""
        compliance = self.compliance_per_gpa
        if compliance is None:
            return None
        x, y, z = directions.T
        pull = np.stack([x * x, y * y, z * z, y * z, x * z, x * y])  # the uniaxial stress along each
        return np.asarray(1.0 / np.einsum("in,ij,jn->n", pull, compliance, pull))

    def to_dict(self) -> dict[str, Any]:
        """Numbers for summary.yaml, units in the names."""
        found: dict[str, Any] = {
            "constants_gpa": self.constants_gpa.tolist(),
            "largest_error_gpa": float(self.errors_gpa.max()),
            "symmetry_gap_gpa": self.symmetry_gap_gpa,
            "stable": self.stable,
            "eigenvalues_gpa": self.eigenvalues_gpa.tolist(),
            "softest_strain": np.asarray(self.softest_strain).tolist(),
            "voigt": asdict(self.voigt),
            "reuss": None if self.reuss is None else asdict(self.reuss),
            "hill": None if self.hill is None else asdict(self.hill),
        }
        hill, reuss = self.hill, self.reuss
        young = self.young_gpa(sphere(DIRECTIONS))
        if hill is not None and reuss is not None and young is not None:
            bulk, shear = hill.bulk_gpa, hill.shear_gpa
            anisotropy = 5 * self.voigt.shear_gpa / reuss.shear_gpa + self.voigt.bulk_gpa / reuss.bulk_gpa - 6
            found |= {
                "young_hill_gpa": 9 * bulk * shear / (3 * bulk + shear),
                "poisson_hill": (3 * bulk - 2 * shear) / (2 * (3 * bulk + shear)),
                "young_min_gpa": float(young.min()),
                "young_max_gpa": float(young.max()),
                "universal_anisotropy": anisotropy,
            }
        return found


MANDEL = np.array([1.0, 1.0, 1.0, np.sqrt(2), np.sqrt(2), np.sqrt(2)])
"""Constants times these, row and column, are the matrix of one quadratic form in any axes."""


def symmetrised(constants: np.ndarray, rotations: np.ndarray) -> np.ndarray:
    """Constants (6, 6) averaged over orthogonal matrices (n, 3, 3) of the crystal in Cartesian axes."""
    return np.asarray(np.mean([turned(constants, rotation) for rotation in rotations], axis=0))


def turned(constants: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """Constants (6, 6) of the crystal turned by an orthogonal matrix (3, 3)."""
    from matscipy.elasticity import rotate_elastic_constants

    return np.asarray(rotate_elastic_constants(constants, rotation))


def sphere(count: int) -> np.ndarray:
    """(count, 3) unit vectors, evenly over the sphere (a Fibonacci spiral)."""
    number = np.arange(count) + 0.5
    z, turn = 1 - 2 * number / count, np.pi * (1 + np.sqrt(5)) * number
    radius = np.sqrt(1 - z * z)
    return np.stack([radius * np.cos(turn), radius * np.sin(turn), z], axis=1)
