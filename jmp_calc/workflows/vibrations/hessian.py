"""The Hessian of a structure: by automatic differentiation where the calculator can, else from forces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from ...errors import UsageError
from ...hessian import Hessian
from ..batches import displaced_forces
from ..common import jmp_calculator
from .settings import VibSettings

if TYPE_CHECKING:
    from ase import Atoms


def way_of(atoms: Atoms, settings: VibSettings) -> Literal["autograd", "finite"]:
    """How the Hessian will be computed.

    Raises:
        UsageError: automatic differentiation was asked for, and the calculator cannot.
    """
    jmp = jmp_calculator(atoms.calc)
    able = jmp is not None and jmp.info.forces != "direct"
    if settings.method == "autograd" and not able:
        raise UsageError(
            f"{type(atoms.calc).__name__} gives no Hessian by automatic differentiation.",
            hint="a JMPCalculator with conservative forces does; choose method 'finite'",
        )
    return "autograd" if able and settings.method != "finite" else "finite"


def hessian_of(atoms: Atoms, chosen: NDArray[np.int64], settings: VibSettings, quiet: bool) -> Hessian:
    """Hessian of the ``chosen`` atoms (n,).

    Raises:
        UsageError: as ``way_of``. BadInputError: forces that are not finite. Interrupted: after SIGINT or
            SIGTERM.
    """
    if way_of(atoms, settings) == "autograd":
        found: Hessian = jmp_calculator(atoms.calc).get_hessian(atoms, chosen.tolist())
        return found
    step = settings.displacement
    moved = [
        _moved(atoms, atom, axis, sign * step) for atom in chosen for axis in range(3) for sign in (1, -1)
    ]
    forces = displaced_forces(moved, bar="vib", what="displaced structure", quiet=quiet)[:, chosen].reshape(
        len(moved), -1
    )
    return Hessian.symmetrised((forces[1::2] - forces[::2]) / (2 * step), chosen)


def _moved(atoms: Atoms, atom: int, axis: int, step: float) -> Atoms:
    copy = atoms.copy()
    copy.positions[atom, axis] += step
    copy.calc = atoms.calc
    return copy
