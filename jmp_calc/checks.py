"""Structure checks: what no model can evaluate is named before anything is computed.

`check_structure` works on plain arrays (training uses it too), `check_atoms` adds what only an ASE Atoms
object carries: constraints, occupancies, a total charge or spin, initial charges and magnetic moments.
"""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import BadStructureError, GuardError, JMPWarning
from .lattice import completed, heights, short_basis
from .unread import check_neutral_singlet, check_whole_sites

if TYPE_CHECKING:
    from ase import Atoms

SAME_PLACE = 0.01
"""Å; atoms closer than this count as one place (the published graphs silently drop such pairs)."""
TOO_CLOSE = 0.3
"""Å; closer than any bond: allowed, but worth a warning."""
FARTHEST = 1e9
"""Å; positions beyond it have no digits left for a bond."""
MANY_ATOMS = 100_000
HOLD_NO_ATOM = frozenset(
    {
        "FixCom",
        "FixBondLength",
        "FixBondLengths",
        "FixInternals",
        "FixLinearTriatomic",
        "FixSymmetry",
        "ExternalForce",
    }
)
"""Constraints of ASE under which every atom may move, and a molecule turn, as with springs between two
atoms."""
VECTOR_LENGTHS = (1e-5, 1e7)
"""Å; other periodic cell vectors are refused, before numbers overflow or lose their digits."""
MOST_IMAGES = 1e7
"""Images of atoms that the search for close pairs makes at most, beside 100 per atom."""
FLAT = 1e-6
"""Volume (area) spanned by the periodic cell vectors over the product of their lengths: below this it is
zero."""

logger = logging.getLogger("jmp_calc")


def check_structure(
    numbers: np.ndarray, positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, *, num_elements: int = 120
) -> None:
    """Raise BadStructureError for a structure that cannot be evaluated; warn where atoms are unphysically
    close.

    numbers (N,), positions (N,3) Å, cell (3,3) Å rows, pbc (3,); atomic numbers up to num_elements are
    accepted.
    """
    numbers, positions, cell = np.asarray(numbers), np.asarray(positions), np.asarray(cell)
    pbc = np.asarray(pbc, dtype=bool)
    if len(numbers) == 0:
        raise BadStructureError(
            "The structure has zero atoms.", hint="check the file or the selection that made it"
        )
    _check_finite(positions, cell)
    _check_numbers(numbers, num_elements)
    _check_cell(cell, pbc)
    closest = closest_pair(positions, cell, pbc, below=TOO_CLOSE)
    if closest is None:
        return
    i, j, distance = closest
    pair = f"between {i} and {j}" if i != j else f"between atom {i} and its own periodic image"
    if distance < SAME_PLACE:
        shown = "0" if distance < 1e-10 else f"{distance:.2g} Å"
        raise BadStructureError(
            f"Distance {shown} {pair}: two atoms at the same place.",
            hint="remove the duplicate or move it apart",
        )
    warnings.warn(
        JMPWarning(f"Distance {distance:.3f} Å {pair} is below {TOO_CLOSE} Å; no model is reliable there."),
        stacklevel=2,
    )


def check_atoms(atoms: Atoms, *, num_elements: int = 120) -> None:
    """check_structure for an ASE Atoms object, and its constraints, occupancies, total charge and spin
    (BadStructureError)."""
    check_structure(atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc, num_elements=num_elements)
    _check_constraints(atoms)
    check_whole_sites(atoms.info, atoms.arrays)
    check_neutral_singlet(atoms.info, atoms.numbers)


def check_sound(atoms: Atoms, *, where: str | None = None) -> None:
    """BadStructureError, with ``where``, for what no calculator, optimizer or symmetry finder can take.

    Close atoms are left for the calculator to warn of, and a charge for it to refuse.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", JMPWarning)
        try:
            check_structure(atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc)
            _check_constraints(atoms)
        except BadStructureError as error:
            raise BadStructureError(error.fact, where=where or error.where, hint=error.hint) from error


def ignored_inputs(atoms: Atoms) -> tuple[str, ...]:
    """Names of non-zero inputs on the Atoms that the models do not read: initial charges, magnetic
    moments."""
    names = (("initial_charges", "initial charges"), ("initial_magmoms", "initial magnetic moments"))
    return tuple(label for key, label in names if key in atoms.arrays and np.any(atoms.arrays[key]))


def check_numbers(*results: Any) -> None:
    """GuardError for an energy, forces or a stress that is NaN or infinite, by which atoms would be moved."""
    if not all(np.isfinite(value).all() for value in results):
        raise GuardError("The potential gave an energy, force or stress that is no number.")


def describe_constraints(atoms: Atoms) -> tuple[str, ...]:
    """One phrase per constraint on the Atoms, e.g. 'FixAtoms on 3 atoms'; forces in results stay raw."""
    phrases = []
    for constraint in atoms.constraints:
        indices = _constraint_indices(constraint, len(atoms))
        count = "" if indices is None else f" on {len(indices)} atom{'s' if len(indices) != 1 else ''}"
        phrases.append(type(constraint).__name__ + count)
    return tuple(phrases)


def holding_constraints(atoms: Atoms) -> list[str]:
    """Classes of the constraints that hold atoms where they are, or along a plane or a line."""
    holding = [one for one in atoms.constraints if type(one).__name__ not in HOLD_NO_ATOM]
    return [type(one).__name__ for one in holding if not _is_spring_of_a_pair(one)]


def _is_spring_of_a_pair(constraint: Any) -> bool:
    return type(constraint).__name__ == "Hookean" and len(getattr(constraint, "indices", ())) == 2


def why_no_stress(cell: np.ndarray, pbc: np.ndarray) -> str | None:
    """Reason why a cell (3, 3) with pbc (3,) has no stress, or None if it has: two periodic directions and a
    volume."""
    count = int(np.sum(pbc))
    if count == 0:
        return "stress is not defined for a structure without periodic directions"
    if count == 1:
        return "stress is computed only when at least two directions are periodic, here it is one"
    lengths = np.linalg.norm(cell, axis=1)
    if np.any(lengths == 0):
        axis = "abc"[int(np.argmin(lengths))]
        return f"the cell has no volume (vector {axis} is zero), and stress is energy per volume"
    if abs(np.linalg.det(cell / lengths[:, None])) < FLAT:
        return "the cell has no volume (its vectors lie in one plane), and stress is energy per volume"
    return None


def closest_pair(
    positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, *, below: float
) -> tuple[int, int, float] | None:
    """Closest two atoms, images included, as i, j and their distance in Å, or None if all are at least
    `below` apart; positions (N, 3) Å, cell (3, 3) Å, pbc (3,)."""
    from scipy.spatial import cKDTree

    inside, origin = _with_images(
        np.asarray(positions, dtype=float), cell, np.asarray(pbc, dtype=bool), below
    )
    n_atoms = len(positions)
    if len(inside) < 2:
        return None
    distances, neighbours = cKDTree(inside).query(inside[:n_atoms], k=2, distance_upper_bound=below)
    # One of the two nearest is the atom itself, in either order when both distances are zero.
    other = np.where(neighbours[:, 0] == np.arange(n_atoms), 1, 0)
    distance = distances[np.arange(n_atoms), other]
    i = int(np.argmin(distance))
    if not np.isfinite(distance[i]):
        return None
    j = int(origin[neighbours[i, other[i]]])
    return min(i, j), max(i, j), float(distance[i])


def _check_finite(positions: np.ndarray, cell: np.ndarray) -> None:
    bad = np.flatnonzero(~np.isfinite(positions).all(axis=1))
    if len(bad):
        raise BadStructureError(
            f"The position of atom {bad[0]} is not finite: {positions[bad[0]].tolist()}.",
            where=f"{len(bad)} of {len(positions)} atoms" if len(bad) > 1 else None,
        )
    bad = np.flatnonzero(~np.isfinite(cell).all(axis=1))
    if len(bad):
        raise BadStructureError(f"Cell vector {'abc'[bad[0]]} is not finite: {cell[bad[0]].tolist()}.")
    if np.abs(positions).max(initial=0.0) > FARTHEST:
        raise BadStructureError(f"A position is beyond {FARTHEST:.0e} Å.", hint="check the units of the file")


def _check_numbers(numbers: np.ndarray, num_elements: int) -> None:
    bad = np.flatnonzero((numbers < 1) | (numbers > num_elements))
    if not len(bad):
        return
    index, number = int(bad[0]), int(numbers[bad[0]])
    if number == 0:
        raise BadStructureError(
            f"Atom {index} is a ghost atom (symbol X, atomic number 0).",
            hint="delete ghost atoms before a calculation",
        )
    raise BadStructureError(f"Atom {index} has atomic number {number}; the model knows 1 to {num_elements}.")


def _check_cell(cell: np.ndarray, pbc: np.ndarray) -> None:
    largest = np.abs(cell).max(axis=1)  # squares of what may be written in a file overflow
    for axis in np.flatnonzero(pbc):
        if largest[axis] == 0:
            raise BadStructureError(
                f"Direction {'abc'[axis]} is periodic but cell vector {'abc'[axis]} is zero.",
                hint="set the cell, or pbc=False for a molecule",
            )
        if not VECTOR_LENGTHS[0] < largest[axis] < VECTOR_LENGTHS[1]:
            raise BadStructureError(
                f"Cell vector {'abc'[axis]} is {largest[axis]:.3g} Å long.",
                hint="check the cell, and that it is in Å; set pbc=False where nothing is periodic",
            )
    if not pbc.any():
        return
    unit = cell[pbc] / np.linalg.norm(cell[pbc], axis=1)[:, None]
    spanned = np.sqrt(max(np.linalg.det(unit @ unit.T), 0.0))
    if spanned < FLAT:
        names = ", ".join("abc"[axis] for axis in np.flatnonzero(pbc))
        raise BadStructureError(
            f"The cell has zero volume: the periodic cell vectors {names} are linearly dependent.",
            hint="check the cell and the periodic directions",
        )


def _constraint_indices(constraint: Any, n_atoms: int) -> np.ndarray | None:
    """Atom indices of an ASE constraint, or None for constraints on the whole structure."""
    index = getattr(constraint, "index", getattr(constraint, "indices", None))
    if index is None or isinstance(index, slice):  # FixCom, FixSubsetCom: a slice fits any number of atoms
        return None
    index = np.atleast_1d(np.asarray(index))
    return np.flatnonzero(index) if index.dtype == bool else index.ravel().astype(int)


def _check_constraints(atoms: Atoms) -> None:
    for constraint in atoms.constraints:
        indices = _constraint_indices(constraint, len(atoms))
        if indices is None:
            continue
        outside = indices[(indices >= len(atoms)) | (indices < -len(atoms))]
        if len(outside):
            raise BadStructureError(
                f"Constraint {type(constraint).__name__} names atom {outside[0]}, the structure has "
                f"{len(atoms)} atoms "
                f"(0 to {len(atoms) - 1}).",
                hint="rebuild the constraint after adding or deleting atoms",
            )


def _with_images(
    positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, margin: float
) -> tuple[np.ndarray, np.ndarray]:
    """Atoms wrapped along periodic axes, followed by all images within `margin` of the wrapped cell, and
    their origin.

    Works in fractional coordinates of a completed cell, so it is exact for skewed cells and cells thinner
    than margin.
    """
    origin = np.arange(len(positions))
    if not pbc.any():
        return positions, origin
    full = cell.astype(float)
    full[pbc] = short_basis(full[pbc]) @ full[pbc]
    full = completed(full, pbc)
    height = heights(full)
    _refuse_tiny_cell(len(positions), height[pbc], margin)
    fractional = positions @ np.linalg.inv(full)
    fractional[:, pbc] -= np.floor(fractional[:, pbc])
    images, n_atoms = fractional, len(positions)
    for axis in np.flatnonzero(pbc):
        reach = margin / height[axis]
        count = int(np.ceil(reach))
        copies, copied_origin = [images], [origin]
        for shift in [n for n in range(-count - 1, count + 2) if n != 0]:
            moved = images[:, axis] + shift
            near = (moved > -reach) & (moved < 1 + reach)
            copy = images[near].copy()
            copy[:, axis] += shift
            copies.append(copy)
            copied_origin.append(origin[near])
        images, origin = np.concatenate(copies), np.concatenate(copied_origin)
    assert np.array_equal(origin[:n_atoms], np.arange(n_atoms))
    return images @ full, origin


def _refuse_tiny_cell(n_atoms: int, height: np.ndarray, margin: float) -> None:
    """BadStructureError where too many images lie within ``margin`` of a cell with these heights (D,), Å."""
    images = float((1.0 + 2.0 * margin / height).prod())
    if not n_atoms * images < MOST_IMAGES + 100.0 * n_atoms:
        raise BadStructureError(
            f"The cell is so small that {images:.2g} images of an atom lie within {margin:g} Å of it.",
            hint="check the cell, and that it is in Å",
        )
