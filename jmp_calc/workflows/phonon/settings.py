"""Settings of a phonon calculation: reading supercells and meshes, refusing what cannot be meant."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np

from ...arguments import plain
from ...errors import UsageError

AUTO_MESH_LENGTH_A = 60.0
"""phonopy's mesh length: N = 60 Å · |a*|, 19 points for silicon's primitive cell."""


FrequencyUnit = Literal["THz", "cm-1", "meV"]

MOST = {
    "displacement": 0.5,
    "symprec": 0.1,
    "band_points": 10_000,
    "mesh": 10_000_000,
    "temperatures": 100_000,
}
"""Beyond these, Å and numbers of points, forces are not linear and memory ends; nobody means it."""


@dataclass(frozen=True, kw_only=True)
class PhononSettings:
    """How to compute phonons; the fields are the arguments of ``phonons`` and explained there."""

    supercell: str | tuple[int, ...] = "auto"
    min_length: float = 20.0
    displacement: float = 0.01
    random_displacements: int | str = 0
    seed: int = 0
    mesh: str | tuple[int, ...] = "auto"
    bands: str = "auto"
    band_points: int = 51
    tmin: float = 0.0
    tmax: float = 1000.0
    tstep: float = 10.0
    relax: bool = True
    fmax: float = 1e-4
    relax_steps: int = 500
    allow_unconverged: bool = False
    fc_symmetry: bool = True
    symprec: float = 1e-5
    imaginary_tolerance_thz: float = 0.1
    born: str | None = None
    pdos: bool = False
    thermal_displacements: bool = False
    group_velocities: bool = False
    eigenvectors: bool = False
    follow_imaginary: bool = False
    check_hessian: bool = False
    frequency_unit: FrequencyUnit = "THz"

    def __post_init__(self) -> None:
        plain(self)
        object.__setattr__(self, "supercell", integers(self.supercell, "supercell", lengths=(3, 9)))
        object.__setattr__(self, "mesh", integers(self.mesh, "mesh", lengths=(3,)))
        for name in ("min_length", "displacement", "tstep", "fmax", "symprec", "imaginary_tolerance_thz"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value > 0):
                raise UsageError(f"{name} must be positive, got {value}.")
        if self.symprec > MOST["symprec"]:
            raise UsageError(
                f"The tolerance symprec must be at most {MOST['symprec']} Å, got {self.symprec}."
            )
        if self.displacement > MOST["displacement"]:
            raise UsageError(f"The displacement must be at most 0.5 Å, got {self.displacement}.")
        if not 2 <= self.band_points <= MOST["band_points"]:
            raise UsageError(
                f"band_points must be at least 2 and at most {MOST['band_points']}, got {self.band_points}."
            )
        if not isinstance(self.mesh, str) and math.prod(self.mesh) > MOST["mesh"]:
            raise UsageError(f"The mesh may have {MOST['mesh']} points, got {math.prod(self.mesh)}.")
        if self.frequency_unit not in get_args(FrequencyUnit):
            known = ", ".join(get_args(FrequencyUnit))
            raise UsageError(f"frequency_unit must be one of {known}, got '{self.frequency_unit}'.")
        if self.seed < 0:
            raise UsageError(f"The seed must not be negative, got {self.seed}.")
        object.__setattr__(self, "random_displacements", _count_or_auto(self.random_displacements))
        if self.relax_steps < 1:
            raise UsageError(f"relax_steps must be at least 1, got {self.relax_steps}.")
        if not 0 <= self.tmin < self.tmax:
            raise UsageError(f"Temperatures must satisfy 0 <= tmin < tmax, got {self.tmin} and {self.tmax}.")
        if not (self.tmax - self.tmin) / self.tstep < MOST["temperatures"]:
            raise UsageError(
                f"Temperatures from {self.tmin} to {self.tmax} in steps of {self.tstep} are more than "
                f"{MOST['temperatures']}."
            )

    def to_dict(self) -> dict[str, Any]:
        """All settings by name."""
        return asdict(self)


def _count_or_auto(value: int | str) -> int | str:
    """``"auto"`` as it is, anything else as a whole number; UsageError for what is none."""
    if value == "auto":
        return "auto"
    try:
        number = int(value)
    except ValueError:
        number = -1
    if number < 0 or str(number) != str(value).strip():
        raise UsageError(
            f"random_displacements must be a whole number or auto, got '{value}'.",
            hint="0 displaces one atom at a time",
        )
    return number


def integers(value: str | Sequence[int], name: str, *, lengths: tuple[int, ...]) -> str | tuple[int, ...]:
    """``"2 2 2"`` or a sequence as a tuple of integers, ``"auto"`` as it is; UsageError for anything else."""
    if value == "auto":
        return "auto"
    words = value.replace(",", " ").split() if isinstance(value, str) else list(np.asarray(value).ravel())
    try:
        numbers = tuple(int(word) for word in words)
        exact = all(float(word) == number for word, number in zip(words, numbers, strict=True))
    except (ValueError, TypeError, OverflowError):
        raise UsageError(
            f"{name} '{value}' is not made of whole numbers.", hint=f'write --{name} "2 2 2"'
        ) from None
    counts = " or ".join(str(length) for length in lengths)
    if len(numbers) not in lengths or not exact:
        raise UsageError(
            f"{name} needs {counts} whole numbers, got '{value}'.", hint=f'write --{name} "2 2 2"'
        )
    if len(numbers) == 3 and min(numbers) < 1:
        raise UsageError(f"{name} multiples must be at least 1, got '{value}'.")
    if len(numbers) == 9 and round(np.linalg.det(np.reshape(numbers, (3, 3)))) < 1:
        raise UsageError(f"The {name} matrix must have a positive determinant, got '{value}'.")
    return numbers


def supercell_matrix(
    settings: PhononSettings, cell: np.ndarray, pbc: np.ndarray, periodic: np.ndarray
) -> np.ndarray:
    """The supercell as an integer matrix (3, 3).

    Args:
        settings: "auto" repeats until images are ``min_length`` apart.
        cell: vectors of the unit cell (3, 3), Å.
        pbc: (3,) bool; a supercell cannot repeat the other directions.
        periodic: (3,) bool; directions that "auto" repeats, those of ``pbc`` without vacuum.

    Raises:
        UsageError: a supercell that repeats an open direction.
    """
    if settings.supercell == "auto":
        return np.diag(_auto(cell, np.asarray(periodic, dtype=bool), settings.min_length))
    numbers = np.array(settings.supercell, dtype=int)
    matrix = np.diag(numbers) if len(numbers) == 3 else numbers.reshape(3, 3)
    unit = np.eye(3, dtype=int)
    moved = (matrix != unit).any(axis=1) | (matrix != unit).any(axis=0)
    wrong = moved & ~np.asarray(pbc, dtype=bool)
    if wrong.any():
        fitting = " ".join(str(n) for n in np.where(pbc, np.diag(matrix), 1))
        raise UsageError(
            f"The supercell repeats direction {'abc'[wrong.argmax()]}, in which pbc is False.",
            hint=f'write --supercell "{fitting}"',
        )
    return matrix


def _auto(cell: np.ndarray, pbc: np.ndarray, min_length: float) -> np.ndarray:
    from ase.geometry import minkowski_reduce

    lengths = np.linalg.norm(cell, axis=1)
    numbers = np.where(pbc, np.ceil(min_length / lengths - 1e-9).astype(int), 1)
    for _ in range(50):  # skewed cells: the shortest image distance is below the shortest edge
        reduced, _ = minkowski_reduce(cell * numbers[:, None], pbc)
        if np.linalg.norm(reduced[pbc], axis=1).min() >= min_length - 1e-6:
            break
        numbers[np.argmin(np.where(pbc, numbers * lengths, np.inf))] += 1
    return numbers
