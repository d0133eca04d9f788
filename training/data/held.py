"""Which atoms a calculation held in place: errors of forces are those of the free atoms
(``training.md`` section 9.3)."""

from __future__ import annotations

import numpy as np

from jmp_calc.io.raw_frame import RawFrame, atom_column

_CONSTRAINTS = ("FixAtoms", "FixCartesian", "FixScaled")
"""Of ASE: what extended XYZ and POSCAR can say."""


def held_atoms(raw: RawFrame, where: str) -> np.ndarray | None:
    """Mask (N,) of the atoms that could not move along x, y or z; None where nothing says so.

    The column ``move_mask`` decides, else ``fixed``, else constraints of ASE.

    BadInputError, with ``where``, for columns that are no flags.
    """
    if (movable := raw.arrays.get("move_mask")) is not None:
        return np.asarray(~_flags("move_mask", movable, where).all(axis=1))
    if (fixed := raw.arrays.get("fixed")) is not None:
        return np.asarray(_flags("fixed", fixed, where).any(axis=1))
    constraints = [] if raw.atoms is None else raw.atoms.constraints
    indices = [c.get_indices() for c in constraints if type(c).__name__ in _CONSTRAINTS]
    if not indices:
        return None
    held = np.zeros(len(raw.numbers), dtype=bool)
    held[np.concatenate(indices)] = True
    return held


def _flags(name: str, column: np.ndarray, where: str) -> np.ndarray:
    """(N, 1) or (N, 3) bool."""
    flags = atom_column(name, column, where, like="move_mask") != 0
    return flags if flags.ndim == 2 else flags[:, None]
