"""One structure with everything its file says, before it is known which entries are labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import BadInputError
from .header import as_floats, typed_value

if TYPE_CHECKING:
    from ase import Atoms

VOIGT = ((0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1))
"""Rows and columns of xx, yy, zz, yz, xz, xy."""

_STRUCTURE = {
    "masses": (1,), "tags": (1,), "momenta": (3,), "initial_charges": (1,), "initial_magmoms": (1, 3),
    "move_mask": (1, 3),
}  # fmt: skip
_WIDTHS = _STRUCTURE | {
    "forces": (3,), "stresses": (6, 9), "energies": (1,), "charges": (1,), "magmoms": (1, 3),
    "born_effective_charges": (9,),
}  # fmt: skip
"""Columns to which ASE gives a meaning, and how many numbers of an atom they have; first those that describe
the structure, then labels."""
_SINGLE = frozenset({"energy", "free_energy", "magmom"})
"""Labels of a structure that are one number."""


@dataclass(frozen=True, eq=False)
class RawFrame:
    """One structure with everything its file says; values of ``info`` may still be text."""

    numbers: np.ndarray
    """(N,) int64"""
    positions: np.ndarray
    """(N, 3) float64, Å (or the file's length unit)"""
    cell: np.ndarray
    """(3, 3) float64, rows are lattice vectors; zeros without a cell"""
    pbc: np.ndarray
    """(3,) bool"""
    index: int
    """Number of the frame in the file, from 0."""
    info: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)
    """Labels of an attached calculator, and in extxyz files the entries that ASE would put there."""
    atoms: Atoms | None = None
    """The ASE structure that was read, where ASE read it: with constraints and calculator."""


@dataclass(eq=False)
class RawStream:
    """The frames of a file one after the other; messages and position are up to date after each of them."""

    frames: Iterator[RawFrame] = field(default_factory=lambda: iter(()))
    messages: list[str] = field(default_factory=list)
    foreign_units: bool = False
    """The layout (rMD17, sGDML) is one that is normally not in eV and Å."""
    fraction: float | None = None
    """Share of the file that was read; None: not known."""


def from_atoms(atoms: Atoms, index: int) -> RawFrame:
    """The frame of an ASE structure; arrays (N, 3) of ``info`` count as arrays too."""
    # calc.results holds what was computed; atoms.get_forces() would zero the forces of fixed atoms.
    results = dict(getattr(atoms.calc, "results", {}) or {})
    arrays = {k: np.asarray(v) for k, v in atoms.arrays.items() if k not in ("numbers", "positions")}
    info = dict(atoms.info)
    for key, value in list(info.items()):
        if isinstance(value, (np.ndarray, list, tuple)) and _shape(value) == (len(atoms), 3):
            arrays.setdefault(key, np.asarray(value))
    return RawFrame(
        np.asarray(atoms.numbers, dtype=np.int64),
        np.asarray(atoms.positions, dtype=float),
        np.asarray(atoms.cell.array, dtype=float),
        np.asarray(atoms.pbc, dtype=bool),
        index,
        info,
        arrays,
        results,
        atoms,
    )


def to_atoms(raw: RawFrame, where: str) -> Atoms:
    """The ASE structure of a frame as ASE would read it: constraints of ``move_mask``, labels in a
    calculator.

    BadInputError, with ``where``, for labels and columns that are not the numbers that ASE takes them for.
    """
    if raw.atoms is not None:
        return raw.atoms
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.io.extxyz import per_atom_properties, per_config_properties

    atoms = Atoms(raw.numbers, raw.positions, cell=raw.cell, pbc=raw.pbc)
    of_atoms = {key: value for key, value in raw.results.items() if key in per_atom_properties}
    of_structure = {key: value for key, value in raw.results.items() if key not in of_atoms}
    results: dict[str, Any] = {}
    for key, value in (raw.info | of_structure).items():
        if key in per_config_properties:
            results[key] = _label(key, value, where)
        else:
            atoms.info[key] = typed_value(value) if isinstance(value, str) else value
    for key, array in (raw.arrays | of_atoms).items():
        name = "charges" if key == "charge" else key
        if len(array) != len(atoms):
            raise BadInputError(f"There are {len(array)} {key} for {len(atoms)} atoms.", where=where)
        if name in per_atom_properties:
            results[name] = atom_column(name, array, where)
        elif key == "move_mask":
            atoms.set_constraint(_constraints(atom_column(key, array, where)))
        elif key in _WIDTHS:
            atoms.set_array(key, atom_column(key, array, where))
        elif key not in atoms.arrays:
            atoms.set_array(key, array)
    if results:
        atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def _shape(value: Any) -> tuple[int, ...]:
    try:
        return np.shape(value)
    except ValueError:  # nested lists of different lengths
        return ()


def _label(key: str, value: Any, where: str) -> Any:
    """A label of a whole structure as numbers; stress in Voigt order."""
    try:
        numbers = as_floats(value)
    except (ValueError, TypeError, RecursionError):
        raise BadInputError(f"The {key} {str(value)[:60]!r} is not numeric.", where=where) from None
    if key == "stress":
        return symmetric_matrix(numbers, key, where)[VOIGT]
    if key in _SINGLE and numbers.size != 1:
        raise BadInputError(f"The {key} has shape {numbers.shape}, not one number.", where=where)
    return float(numbers) if numbers.ndim == 0 else numbers


def symmetric_matrix(value: np.ndarray, label: str, where: str) -> np.ndarray:
    """Symmetric (3, 3) from (3, 3), 9 numbers or Voigt-6 (xx yy zz yz xz xy); BadInputError for others."""
    if value.shape == (6,):
        xx, yy, zz, yz, xz, xy = value
        return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    if value.shape not in ((9,), (3, 3)):
        raise BadInputError(f"The {label} has shape {value.shape}, not (3, 3), (9,) or (6,).", where=where)
    matrix = value.reshape(3, 3)
    asymmetry = np.abs(matrix - matrix.T).max()
    if asymmetry > 0.05 * np.abs(matrix).max() + 1e-3:
        raise BadInputError(f"The {label} is not symmetric (difference {asymmetry:.3g}).", where=where)
    return 0.5 * (matrix + matrix.T)


def atom_column(key: str, array: np.ndarray, where: str, *, like: str | None = None) -> np.ndarray:
    """A column of an atom's numbers to which ASE gives a meaning, or that is ``like`` such a one, (N,) or
    (N, ...); tags as int64.

    BadInputError, with ``where``, for texts and for another number of columns, of what describes the
    structure also for what is not finite, and for tags that are not whole.
    """
    column, widths = np.asarray(array), _WIDTHS[like or key]
    hint = "correct the column, or give it another name"
    if column.dtype.kind not in "fiub":
        text = str(next(iter(column.ravel()), ""))
        raise BadInputError(
            f"The column {key!r} has {text[:40]!r}, which is no number.", where=where, hint=hint
        )
    width = int(np.prod(column.shape[1:]))
    if width not in widths:
        needed = " or ".join(map(str, widths))
        raise BadInputError(
            f"The column {key!r} has {width} numbers for each atom, not {needed}.", where=where, hint=hint
        )
    column = column.reshape(len(column)) if width == 1 else column
    if (like or key) not in _STRUCTURE:
        return column
    whole = column.astype(np.int64) if np.isfinite(column).all() else None
    if whole is None or (key == "tags" and (whole != column).any()):
        kind = "whole" if key == "tags" else "finite"
        raise BadInputError(f"The column {key!r} has numbers that are not {kind}.", where=where, hint=hint)
    return whole if key == "tags" else column


def _constraints(mask: np.ndarray) -> Any:
    """ASE's constraints for the column ``move_mask``: flags (N,), or (N, 3) by direction."""
    from ase.constraints import FixAtoms, FixCartesian

    free = mask.astype(bool)
    if free.ndim == 1:
        return FixAtoms(mask=~free)
    return [FixCartesian(atom, mask=~free[atom]) for atom in range(len(free))]
