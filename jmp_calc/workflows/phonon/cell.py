"""Where a structure repeats, and the box that phonopy, which knows crystals only, gets for layers and wires.

Open directions are those without periodicity and those across a wide vacuum. Along the first kind atoms may
lie anywhere, also outside the cell, and the cell vector may be zero: ``boxed`` makes a cell around them.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from ...errors import BadInputError, BadStructureError, JMPWarning, UsageError
from ...units import GPA_PER_EV_A3
from ..common import has_stress

if TYPE_CHECKING:
    from ase import Atoms

VACUUM_A = 8.0
"""A gap this wide across the whole cell, Å, is vacuum: no bond and hardly any dispersion reaches over it."""
BOX_MARGIN_A = 20.0
"""Vacuum beside that of the structure's own thickness in the box of a layer or wire, Å."""
CONTACT_A = 3.4
"""Thickness of a layer of carbon, Å: what a layer or wire has beyond the centres of its outermost atoms."""
STRESS_LIMIT_GPA = 0.5
"""A cell under more than this is worth a warning."""


def check_lattice(atoms: Atoms) -> None:
    """Refuse what has no phonons or cannot be treated.

    Raises:
        BadStructureError: a molecule.
        UsageError: constraints, atoms without mass.
    """
    if not atoms.pbc.any():
        raise BadStructureError(
            "This structure has no lattice (pbc is False in all directions), so it has no phonons.",
            hint="for a molecule: jmp-calc vib, or jmp_calc.vib(atoms)",
        )
    masses = atoms.get_masses()
    if not (np.isfinite(masses) & (masses > 0)).all():
        raise UsageError("Every atom needs a positive mass.", where=f"atom {int(np.argmin(masses))}")
    if atoms.constraints:
        raise UsageError(
            "Phonons need free atoms, the structure has constraints.",
            hint="take them out of the file (selective dynamics), or call atoms.set_constraint()",
        )


def right_handed(atoms: Atoms) -> Atoms:
    """A copy that phonopy can take: of a crystal with left-handed vectors all three are reversed, which is
    the same crystal, at the same place, with the same supercells."""
    turned = atoms.copy()
    turned.calc = atoms.calc
    if atoms.pbc.all() and atoms.cell.handedness < 0:
        turned.set_cell(-atoms.cell.array)
    return turned


def repeating(atoms: Atoms) -> np.ndarray:
    """(3,) bool: periodic directions without vacuum; those of ``pbc`` where vacuum is on all sides."""
    found = np.array(atoms.pbc)
    for axis in np.flatnonzero(found):
        height, thickness = _height_and_thickness(atoms, axis)
        found[axis] = height - thickness < VACUUM_A
    return found if found.any() else np.array(atoms.pbc)


def _height_and_thickness(atoms: Atoms, axis: np.intp) -> tuple[float, float]:
    """Distance between the lattice planes that a cell vector connects, and that without the widest gap, Å."""
    cell = atoms.cell.complete()
    height = 1.0 / float(np.linalg.norm(cell.reciprocal()[axis]))
    places = np.sort(cell.scaled_positions(atoms.positions)[:, axis] % 1.0)
    gap = float(np.diff([*places, places[0] + 1.0]).max())
    return height, height * (1.0 - gap)


def boxed(atoms: Atoms) -> Atoms:
    """A copy that phonopy can take: along non-periodic directions, the structure in the middle of a wide box;
    right-handed.

    The new vectors are perpendicular to the periodic ones, which stay; so do all distances. No translation
    but those of the periodic vectors maps the box onto itself, as the vacuum is wider than the structure.
    """
    box, is_open = right_handed(atoms), ~np.array(atoms.pbc)
    if not is_open.any():
        return box
    cell, axes = atoms.cell.array.copy(), _open_axes(atoms)
    along = atoms.positions @ axes.T
    low, high = along.min(axis=0), along.max(axis=0)
    length = 2.0 * float(np.ptp(along, axis=0).max()) + BOX_MARGIN_A
    cell[is_open] = length * axes
    box.set_cell(cell)
    box.positions += (0.5 * length - 0.5 * (low + high)) @ axes
    return box


def _open_axes(atoms: Atoms) -> np.ndarray:
    """(n_open, 3) unit vectors perpendicular to the periodic vectors and each other, along the cell's own
    open vectors as far as that goes; the cell becomes right-handed."""
    cell, is_open = atoms.cell.array, ~np.array(atoms.pbc)
    basis = list(np.linalg.qr(cell[~is_open].T)[0].T)
    axes: list[np.ndarray] = []
    for candidate in [*cell[is_open], *np.eye(3)]:
        rest = candidate - np.sum([(candidate @ axis) * axis for axis in basis], axis=0)
        if len(axes) < is_open.sum() and np.linalg.norm(rest) > 0.1 * max(
            float(np.linalg.norm(candidate)), 1e-3
        ):
            axes.append(rest / np.linalg.norm(rest))
            basis.append(axes[-1])
    turned = cell.copy()
    turned[is_open] = axes
    if np.linalg.det(turned) < 0:
        axes[-1] = -axes[-1]
    return np.array(axes)


def residual_stress(atoms: Atoms, periodic: np.ndarray) -> np.ndarray | None:
    """(3, 3) stress along the ``periodic`` directions of a boxed structure, GPa; None: not to be had.

    Of layers and wires it is that of their own volume, with CONTACT_A beyond the outermost atoms, not of the
    vacuum.

    Raises:
        BadInputError: a stress that is not finite.
    """
    if not has_stress(atoms):
        return None
    axes = np.linalg.qr(atoms.cell.array[periodic].T)[0]
    stress = axes @ axes.T @ atoms.get_stress(voigt=False) @ axes @ axes.T
    for axis in np.flatnonzero(~periodic):
        height, thickness = _height_and_thickness(atoms, axis)
        stress *= height / min(thickness + CONTACT_A, height)
    if not np.isfinite(stress).all():
        raise BadInputError("The stress of the cell is not finite.", hint="check the structure")
    return np.asarray(stress * GPA_PER_EV_A3)


def largest_stress(stress: np.ndarray) -> float:
    """The principal stress (3, 3) that is largest in size, with ASE's sign: positive where the cell is
    stretched."""
    principal = np.linalg.eigvalsh(stress)
    return float(principal[np.abs(principal).argmax()])


def warn_of_strain(stress: np.ndarray | None) -> None:
    """JMPWarning for a cell under more than STRESS_LIMIT_GPA; ``stress`` (3, 3) in GPa."""
    if stress is None or abs(largest_stress(stress)) <= STRESS_LIMIT_GPA:
        return
    largest = largest_stress(stress)
    state = "stretched" if largest > 0 else "compressed"
    text = (
        f"the cell is strained: {abs(largest):.2g} GPa along its most {state} direction; the phonons are "
        "those of this cell, so relax it first (relax --opt-cell full) unless that is meant"
    )
    warnings.warn(text, JMPWarning, stacklevel=4)
