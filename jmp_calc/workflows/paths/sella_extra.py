"""Sella, which searches of transition states need and nothing else does."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ...machine.packages import require

if TYPE_CHECKING:
    from ase import Atoms

INSTALL = 'pip install "jmp-calc[sella]"'


def require_sella() -> None:
    """UsageError with the line to install it where Sella is missing."""
    require("sella", "Transition states are searched with Sella, which is not installed.", INSTALL)


def saddle_optimizer(atoms: Atoms, hessian: Callable[[Atoms], np.ndarray] | None, *, internal: bool) -> Any:
    """Sella's optimizer for a saddle of first order (an ASE optimizer) that moves ``atoms``; ``hessian``
    gives all second derivatives (3n, 3n) in eV/Å², None leaves them to Sella's iterative diagonalisation."""
    from sella import Sella

    # Sella takes rotations out of everything without periodicity, also where fixed atoms hold it.
    turns = not (atoms.pbc.any() or atoms.constraints)
    return Sella(atoms, order=1, internal=internal, hessian_function=hessian, proj_rot=turns, logfile=None)
