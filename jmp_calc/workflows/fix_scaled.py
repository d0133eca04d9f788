"""Atoms that move along some vectors of the cell alone (selective dynamics of POSCAR), in any cell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from ase.constraints import FixScaled as OfASE

if TYPE_CHECKING:
    from ase import Atoms


class FixScaled(OfASE):
    """Steps, forces and momenta projected on what the free vectors of the cell span.

    ASE's projection of forces and momenta is of other directions than that of positions where the vectors
    are not perpendicular: forces are left, or vanish where they should not. Here fractional coordinates are
    kept, and both are orthogonal projections, so that no work is done by what is held.
    """

    def adjust_positions(self, atoms: Atoms, new: np.ndarray) -> None:
        """Take away the part of the steps that would change a fixed coordinate."""
        old = atoms.positions[self.index]
        new[self.index] = old + (new[self.index] - old) @ self._projector(atoms)

    def adjust_forces(self, atoms: Atoms, forces: np.ndarray) -> None:
        """Forces (n_atoms, 3), eV/Å, along the free vectors."""
        forces[self.index] = forces[self.index] @ self._projector(atoms)

    def _projector(self, atoms: Atoms) -> np.ndarray:
        """(3, 3), symmetric."""
        free = atoms.cell.complete().array[~self.mask]
        return np.asarray(np.linalg.pinv(free) @ free) if len(free) else np.zeros((3, 3))


def mended(constraint: Any) -> Any:
    """Ours instead of ASE's FixScaled; other constraints as they are."""
    if type(constraint) is not OfASE:
        return constraint
    return FixScaled(constraint.index, tuple(constraint.mask))
