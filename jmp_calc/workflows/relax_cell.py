"""What a relaxation may do to a crystal: the strains that are free, the symmetry that is kept."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import JMPWarning, UsageError
from ..lattice import VACUUM, gaps
from ..units import GPA_PER_EV_A3
from .common import has_stress
from .relax_settings import RelaxSettings

if TYPE_CHECKING:
    from ase import Atoms


def fix_symmetry(atoms: Atoms, symprec: float) -> None:
    """Add ASE's FixSymmetry, which also removes noise of up to ``symprec`` Å from the start structure;
    UsageError for what is no crystal, or has no symmetry within that."""
    if not _is_crystal(atoms):
        raise UsageError("fix_symmetry needs a crystal (periodic in three directions).", hint="leave it out")
    if _symmetry(atoms, symprec) is None:
        raise UsageError(
            f"No symmetry is found within {symprec:g} Å.", hint="0.01 is usual for symprec (--symprec)"
        )
    from ase.constraints import FixSymmetry

    atoms.set_constraint([*atoms.constraints, FixSymmetry(atoms, symprec=symprec)])


def space_group(atoms: Atoms, symprec: float) -> str | None:
    """Symbol and number, "Fm-3m (225)", of a crystal; None of anything else, or where spglib finds none."""
    found = _symmetry(atoms, symprec)
    return None if found is None else f"{found.international} ({found.number})"


def point_group(atoms: Atoms, symprec: float) -> np.ndarray:
    """Orthogonal matrices (n, 3, 3) of the point group of a crystal, in Cartesian axes; the identity alone
    where no symmetry is found."""
    found = _symmetry(atoms, symprec)
    if found is None:
        return np.eye(3)[None]
    cell = atoms.cell.array.T
    return _orthogonal(cell @ np.unique(found.rotations, axis=0) @ np.linalg.inv(cell))


def standard_axes(atoms: Atoms, symprec: float) -> np.ndarray:
    """Orthogonal matrix (3, 3) that turns a crystal into spglib's standard axes: of cubic ones the edges of
    the cube, else a along x, b in the xy plane; the identity where no symmetry is found."""
    found = _symmetry(atoms, symprec)
    return np.eye(3) if found is None else _orthogonal(np.asarray(found.std_rotation_matrix))


def _orthogonal(matrices: np.ndarray) -> np.ndarray:
    """The orthogonal matrices (..., 3, 3) nearest to some that are so within symprec only."""
    left, _, right = np.linalg.svd(matrices)
    return np.asarray(left @ right)


def _symmetry(atoms: Atoms, symprec: float) -> Any:
    """spglib's data set of a crystal; None of anything else, or where it finds none."""
    if not _is_crystal(atoms):
        return None
    import spglib

    crystal = (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of how it will raise its errors one day
        try:
            return spglib.get_symmetry_dataset(crystal, symprec=symprec)
        except Exception:  # its own error, which older versions do not have: they give None
            return None


def cell_filter(atoms: Atoms, settings: RelaxSettings) -> Any:
    """ASE's FrechetCellFilter with the strains that ``settings.cell`` allows; UsageError without a lattice or
    a stress."""
    from ase.filters import FrechetCellFilter

    hint = "use cell='none' (--opt-cell none)"
    if not atoms.pbc.any():
        raise UsageError("This structure has no lattice, so there is no cell to relax.", hint=hint)
    if atoms.cell.rank < 3:
        axis = int(np.argmin(atoms.cell.lengths()))
        raise UsageError(
            f"The cell has no vector along {'abc'[axis]}: it has no volume, and so no stress to relax.",
            hint=f"give it one: atoms.center(vacuum=10, axis={axis}), or use cell='none' (--opt-cell none)",
        )
    if not fills_space(atoms) and (settings.cell in ("volume", "shape") or settings.pressure_gpa):
        raise UsageError(
            "Volume and pressure mean nothing for a structure with vacuum.",
            hint="use cell='full' and no pressure (--opt-cell full)",
        )
    if not has_stress(atoms):
        raise UsageError("The calculator gives no stress for this structure.", hint=hint)
    mask = free_strains(atoms, settings)
    _warn_of_kept_vacuum(atoms)
    pressure = settings.pressure_gpa / GPA_PER_EV_A3
    if settings.cell == "volume":
        return FrechetCellFilter(atoms, hydrostatic_strain=True, scalar_pressure=pressure)
    if settings.cell == "shape":
        return FrechetCellFilter(atoms, constant_volume=True)
    return FrechetCellFilter(atoms, mask=mask.tolist(), scalar_pressure=pressure)


def turned_by(start: np.ndarray, cell: np.ndarray) -> float:
    """Largest change (degrees) of an angle between the vectors of a cell, (3, 3) in Å."""
    from ase.cell import Cell

    return float(np.abs(Cell(start).angles() - Cell(cell).angles()).max())


def free_strains(atoms: Atoms, settings: RelaxSettings) -> np.ndarray:
    """Voigt mask (xx yy zz yz xz xy) of the strains that ``settings.cell`` allows, shape (6,)."""
    mask = _strain_mask(atoms)
    if settings.cell == "lengths":
        mask[3:] = False
    return mask


def _is_crystal(atoms: Atoms) -> bool:
    return bool(atoms.pbc.all()) and atoms.cell.rank == 3


def fills_space(atoms: Atoms) -> bool:
    """Whether a structure repeats in three directions without vacuum, so that its cell has a pressure."""
    return bool(_repeats(atoms).all())


def _warn_of_kept_vacuum(atoms: Atoms) -> None:
    """JMPWarning for a periodic direction that does not relax, because it has vacuum."""
    kept = np.array(atoms.pbc) & ~_repeats(atoms)
    if kept.any() and _axes_of(atoms, _repeats(atoms)) is not None:
        along = " and ".join("abc"[axis] for axis in np.flatnonzero(kept))
        text = f"the cell has more than {VACUUM:g} Å of vacuum along {along}, which is kept: this structure"
        text += " is taken for a slab or wire (for a crystal, start with its atoms nearer to each other)"
        warnings.warn(text, JMPWarning, stacklevel=4)


def _repeats(atoms: Atoms) -> np.ndarray:
    """(3,) bool: directions that are periodic and have no vacuum across them."""
    found = np.array(atoms.pbc)
    if found.any():
        found[found] = gaps(atoms.positions, atoms.cell.array, np.array(atoms.pbc)) < VACUUM
    return found


def _strain_mask(atoms: Atoms) -> np.ndarray:
    """Voigt mask of strains inside the directions that repeat, shape (6,): of a slab in its plane, also in a
    periodic box; where these do not lie along Cartesian planes, inside the periodic ones."""
    free = _axes_of(atoms, _repeats(atoms))
    if free is None:
        free = _axes_of(atoms, np.array(atoms.pbc))
    if free is None:
        raise UsageError(
            "The periodic directions of this slab or wire do not lie along Cartesian axes or planes.",
            hint="rotate it so that the vacuum is along x, y or z",
        )
    x, y, z = free
    return np.array([x, y, z, y and z, x and z, x and y])


def _axes_of(atoms: Atoms, directions: np.ndarray) -> np.ndarray | None:
    """(3,) bool: Cartesian axes that some vectors of the cell (directions, (3,) bool) span; None where they
    span others, or there are none."""
    parts = np.abs(atoms.cell.array[directions]) > 1e-8 * np.abs(atoms.cell.array).max()
    free = np.asarray(parts.any(axis=0))
    return free if directions.any() and free.sum() == directions.sum() else None
