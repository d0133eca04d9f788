"""What a Hessian is, and of which atoms; without torch, for any calculator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .errors import UsageError


@dataclass(frozen=True)
class Hessian:
    """Second derivatives of the energy of a structure by the positions of n of its atoms."""

    matrix: NDArray[np.float64]
    """(n, 3, n, 3), symmetric, eV/Å²; what ase.vibrations.VibrationsData takes."""
    indices: NDArray[np.int64]
    """(n,), the atoms, in the order of the matrix."""
    asymmetry: float
    """Largest difference between an element and its mirror before the two were averaged, eV/Å²: rounding,
    unless something is wrong."""

    @property
    def square(self) -> NDArray[np.float64]:
        """The matrix as (3n, 3n)."""
        size = 3 * len(self.indices)
        return self.matrix.reshape(size, size)

    @classmethod
    def symmetrised(cls, matrix: NDArray[np.float64], indices: NDArray[np.int64]) -> Hessian:
        """From any estimate (n, 3, n, 3) or (3n, 3n) of the second derivatives, eV/Å²."""
        size = 3 * len(indices)
        raw = np.asarray(matrix, dtype=np.float64).reshape(size, size)
        shape = (len(indices), 3, len(indices), 3)
        return cls((0.5 * (raw + raw.T)).reshape(shape), indices, float(np.abs(raw - raw.T).max(initial=0.0)))


def chosen_atoms(indices: Sequence[int] | NDArray[np.int64] | None, n_atoms: int) -> NDArray[np.int64]:
    """Numbers of atoms, counted from 0 (negative ones from the end), or all for None; shape (n,).

    Raises:
        UsageError: no atom, one that is not there, or one that is named twice.
    """
    if indices is None:
        return np.arange(n_atoms)
    given = np.asarray(indices)
    if given.ndim != 1 or not len(given) or given.dtype.kind not in "iu":
        raise UsageError(
            f"Indices must be a list of numbers of atoms, got {indices!r}.", hint="for example [0, 1, 4]"
        )
    wrong = given[(given < -n_atoms) | (given >= n_atoms)]
    if len(wrong):
        raise UsageError(
            f"There is no atom {wrong[0]}.", hint=f"the structure has {n_atoms} atoms, counted from 0"
        )
    chosen = given.astype(np.int64) % n_atoms
    if len(np.unique(chosen)) < len(chosen):
        raise UsageError("An atom is named twice in the indices.", hint="name every atom once")
    return chosen
