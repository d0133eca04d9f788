"""Which constraints a format of files can hold; what it cannot is told, never lost without a word."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import describe_constraints
from ..errors import JMPWarning

if TYPE_CHECKING:
    from ase import Atoms

_STORED = {"extxyz": ("FixAtoms", "FixCartesian"), "vasp": ("FixAtoms", "FixScaled")}
"""Of extended XYZ a column of what may move along x, y, z; of POSCAR one along the vectors of the cell."""


def unstorable(atoms: Atoms, form: str) -> Atoms:
    """A copy with those constraints alone that a format (as ASE calls it) cannot hold."""
    lost = atoms.copy()
    lost.set_constraint([c for c in atoms.constraints if not _is_storable(c, atoms, form)])
    return lost


def drop_unstorable(frames: Iterable[Atoms], form: str, name: str) -> None:
    """Take away what a format cannot hold, and warn of it once for the file ``name``."""
    phrases: dict[str, None] = {}
    for atoms in frames:
        lost = unstorable(atoms, form)
        phrases |= dict.fromkeys(describe_constraints(lost))
        atoms.set_constraint([c for c in atoms.constraints if _is_storable(c, atoms, form)])
    if phrases:
        warnings.warn(f"{name} cannot hold {', '.join(phrases)} and is without", JMPWarning, stacklevel=3)


def _is_storable(constraint: Any, atoms: Atoms, form: str) -> bool:
    name = type(constraint).__name__
    if form == "vasp" and name in ("FixedPlane", "FixedLine"):
        return _is_along_one_vector(constraint.dir, atoms)
    return form == "traj" or name in _STORED.get(form, ())


def _is_along_one_vector(direction: np.ndarray, atoms: Atoms) -> bool:
    """As ASE decides it before it writes: it refuses all other directions."""
    across = np.abs(np.cross(direction, atoms.cell.array)).max(axis=1)
    return int(np.sum(across < 1e-5)) == 1
