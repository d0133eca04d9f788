"""What has a volume and elastic constants: a crystal, periodic in three directions, without constraints."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from ...errors import BadStructureError, UsageError
from ...lattice import VACUUM, gaps
from ...units import GPA_PER_EV_A3

if TYPE_CHECKING:
    from ase import Atoms

STRESS_LIMIT_GPA = 0.5
"""A cell under more than this is worth a warning."""


def check_crystal(atoms: Atoms, what: str) -> None:
    """Refuse what is no crystal; ``what`` is computed of one, such as "an equation of state".

    Raises:
        BadStructureError: a molecule, wire or layer, also one in a periodic cell with vacuum.
        UsageError: constraints.
    """
    if not atoms.pbc.all():
        count = {0: "no direction", 1: "one direction", 2: "two directions"}[int(np.sum(atoms.pbc))]
        raise BadStructureError(
            f"This structure is periodic in {count}: {what} can only be of a crystal, which is in three.",
            hint="set pbc to True in all directions if it is one",
        )
    open_widths = gaps(atoms.positions, atoms.cell.array, np.array(atoms.pbc))
    if open_widths.max() >= VACUUM:
        axis = "abc"[int(open_widths.argmax())]
        raise BadStructureError(
            f"This structure has a vacuum of {open_widths.max():.1f} Å along {axis}: {what} would be of its "
            "empty space too.",
            hint="give the crystal without vacuum",
        )
    if atoms.constraints:
        raise UsageError(
            f"For {what} all atoms must be free, the structure has constraints.",
            hint="take them out of the file (selective dynamics), or call atoms.set_constraint()",
        )


def at_volumes(atoms: Atoms, scales: Iterable[float]) -> list[Atoms]:
    """The crystal at volumes relative to its own, all lengths scaled alike, with its calculator."""
    found = []
    for scale in scales:
        copy = atoms.copy()
        copy.set_cell(atoms.cell.array * scale ** (1 / 3), scale_atoms=True)
        copy.calc = atoms.calc
        found.append(copy)
    return found


def largest_stress_gpa(stress: np.ndarray) -> float:
    """Size of the largest principal stress in GPa of a Voigt stress (6,) in eV/Å³."""
    from ase.stress import voigt_6_to_full_3x3_stress

    principal = np.linalg.eigvalsh(voigt_6_to_full_3x3_stress(stress))
    return float(np.abs(principal).max() * GPA_PER_EV_A3)
